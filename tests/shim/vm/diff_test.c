/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random valid programs in all engines: results and memory agree, and a burst entry
 * says of each record what the single entry says.
 *
 *	vm_diff_test [--count N] [--seed FIRST]
 */
#include <errno.h>
#include <stddef.h>

#include "engines.h"
#include "options.h"
#include "progen.h"

#define DEFAULT_COUNT 2000
#define RUNS_EACH 4

static const struct dpcap_vm_burst_layout layouts[] = {RECORD_LAYOUT(0), RECORD_LAYOUT(1)};

static uint64_t mix(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	return r1 * 3 ^ r2 * 5 ^ r3 * 7 ^ r4 * 11 ^ r5 * 13;
}

static const struct dpcap_vm_helper helper = {
	.id = GEN_HELPER_ID,
	.name = "mix",
	.function = mix,
	.args = {DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR,
		 DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR},
};

static struct gen gen;
static uint64_t n_refused;

static void fail(uint64_t seed, const char *what)
{
	uint32_t i;

	fprintf(stderr, "seed %" PRIu64 ": %s differs. The program:\n", seed, what);
	for (i = 0; i < gen.n; i++)
		fprintf(stderr, "%02x %02x %6d %11d\n", gen.insns[i].opcode, gen.insns[i].regs,
			gen.insns[i].offset, gen.insns[i].imm);
	exit(1);
}

static void fill(uint8_t *mem, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		mem[i] = (uint8_t)gen_value(&gen);
}

static void run_single(const struct engines *engines, uint64_t seed)
{
	_Alignas(8) uint8_t input[GEN_MEM_SIZE], expected[GEN_MEM_SIZE], mem[GEN_MEM_SIZE];
	uint64_t wirelen = gen_value(&gen), meta = gen_value(&gen), result;
	size_t i;

	fill(input, sizeof(input));
	memcpy(expected, input, sizeof(input));
	result = dpcap_vm_interp(engines->progs[0], expected, GEN_MEM_SIZE, wirelen, meta);
	for (i = 0; i < N_CPU_VARIANTS; i++) {
		if (!engines->entries[i])
			continue;
		memcpy(mem, input, sizeof(mem));
		if (engines->entries[i](mem, GEN_MEM_SIZE, wirelen, meta) != result)
			fail(seed, "the JIT's result");
		if (memcmp(mem, expected, sizeof(mem)) != 0)
			fail(seed, "the JIT's memory");
	}
}

static void run_burst(const struct engines *engines, uint64_t seed)
{
	uint8_t mem[DPCAP_VM_MAX_BURST + GEN_MEM_SIZE];
	struct record records[DPCAP_VM_MAX_BURST];
	void *pointers[DPCAP_VM_MAX_BURST];
	uint32_t n = gen_below(&gen, DPCAP_VM_MAX_BURST + 1), i;
	uint64_t meta = gen_value(&gen), expected = 0;

	fill(mem, sizeof(mem));
	for (i = 0; i < n; i++) {
		struct record *record = &records[i];

		record->base = (uintptr_t)mem;
		record->offset = (uint16_t)gen_below(&gen, DPCAP_VM_MAX_BURST);
		record->len = (uint16_t)(GEN_MEM_SIZE - (gen_below(&gen, 4) == 0));
		record->wirelen = (uint32_t)gen_value(&gen);
		pointers[i] = record;
		if (dpcap_vm_interp(engines->progs[0], mem + record->offset, record->len,
				    record->wirelen, meta) != 0)
			expected |= 1ull << i;
	}
	for (i = 0; i < N_CPU_VARIANTS; i++) {
		dpcap_vm_burst_fn entry;

		USE_CPU_VARIANT(i);
		if (dpcap_vm_jit_burst(engines->progs[i], &layouts[seed & 1]) == -ENOTSUP)
			continue;
		entry = dpcap_vm_burst_entry(engines->progs[i]);
		if (entry(pointers, n, meta) != expected)
			fail(seed, "the burst entry's result");
	}
	USE_CPU_VARIANT(0);
}

static void run_program(uint64_t seed)
{
	static const uint8_t rodata[GEN_RODATA_SIZE] = "0123456789abcdefghijklmnopqrstuvwxyz";
	struct dpcap_vm_load_attr attr = {
		.insns = gen.insns,
		.helpers = &helper,
		.n_helpers = 1,
		.rodata = rodata,
		.rodata_size = sizeof(rodata),
	};
	struct engines engines;
	char log[4096];
	int i;

	attr.n_insns = gen_program(&gen, seed);
	attr.type = gen.type;
	attr.mem_size = gen.type == DPCAP_VM_MEMORY ? GEN_MEM_SIZE : 0;
	if (engines_load(&engines, &attr, log, sizeof(log)) != 0) {
		if (n_refused++ == 0)
			fprintf(stderr, "seed %" PRIu64 " refused: %s\n", seed, log);
		return;
	}
	for (i = 0; i < RUNS_EACH; i++) {
		run_single(&engines, seed);
		if (gen.type == DPCAP_VM_PACKET)
			run_burst(&engines, seed);
	}
	engines_free(&engines);
}

int main(int argc, char **argv)
{
	uint64_t count = option(argc, argv, "--count", DEFAULT_COUNT);
	uint64_t seed = option(argc, argv, "--seed", 1), i;

	gen.tables = true;
	for (i = 0; i < count; i++)
		run_program(seed + i);
	printf("%" PRIu64 " programs, %" PRIu64 " of them refused\n", count, n_refused);
	/* All are valid by construction. */
	return n_refused != 0;
}
