/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether what the verifier says of a program is true. An accepted program is run by
 * the reference interpreter, which checks each access, the number of instructions, and
 * that before each instruction every register is what the verifier said it can be;
 * then by the interpreter and the JIT on memory that ends at a guard page, with the
 * same result.
 */
#ifndef DPCAP_TESTS_SOUNDNESS_H
#define DPCAP_TESTS_SOUNDNESS_H

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "randprog.h"
#include "refvm.h"
#include "verifier.h"

#define SOUNDNESS_RODATA 128
#define SOUNDNESS_MAX_LEN 300

/* All that a register was said to be at one place. */
struct soundness_claim {
	bool seen, unusable;
	bool scalar, pointer;
	uint8_t region;
	bool several; /* pointers into different memory: not compared */
	uint32_t object;
	struct scalar number, offset;
};

struct soundness {
	struct dpcap_vm_prog *prog;
	struct soundness_claim claims[RANDPROG_MAX_INSNS + 32][BPF_N_REGS];
	bool reached[RANDPROG_MAX_INSNS + 32];
	uint64_t accepted, refused;
};

static void soundness_claim_reg(struct soundness_claim *claim, const struct reg *reg)
{
	if (reg->type == REG_SCALAR) {
		claim->number = claim->scalar ? scalar_union(&claim->number, &reg->value) : reg->value;
		claim->scalar = true;
	} else if (reg->type == REG_POINTER) {
		if (claim->pointer && (claim->region != reg->region || claim->object != reg->object))
			claim->several = true;
		claim->offset = claim->pointer ? scalar_union(&claim->offset, &reg->value) : reg->value;
		claim->region = reg->region;
		claim->object = reg->object;
		claim->pointer = true;
	} else {
		claim->unusable = true;
	}
	claim->seen = true;
}

static void soundness_observe(void *arg, uint32_t pc, const struct state *state)
{
	struct soundness *s = arg;

	if (!state) {
		memset(s->claims, 0, sizeof(s->claims));
		memset(s->reached, 0, sizeof(s->reached));
		return;
	}
	s->reached[pc] = true;
	for (int i = 0; i < BPF_N_REGS; i++)
		soundness_claim_reg(&s->claims[pc][i], &state->frames[state->n_frames - 1]->regs[i]);
}

static uint64_t soundness_base(const struct refvm *vm, const struct soundness_claim *claim)
{
	switch (claim->region) {
	case REGION_RODATA:
		return (uintptr_t)vm->rodata.base;
	case REGION_STACK:
		return refvm_frame(vm, claim->object);
	default:
		return (uintptr_t)vm->memory.base;
	}
}

/* Before each instruction of a real run. */
static void soundness_compare(struct refvm *vm, void *arg)
{
	static char error[256];
	const struct soundness *s = arg;

	if (!s->reached[vm->pc]) {
		vm->error = "gets where the verifier did not";
		return;
	}
	for (int i = 0; i < BPF_N_REGS; i++) {
		const struct soundness_claim *claim = &s->claims[vm->pc][i];
		uint64_t value = vm->regs[i];

		if (claim->unusable || claim->several ||
		    (claim->scalar && scalar_contains(&claim->number, value)) ||
		    (claim->pointer &&
		     scalar_contains(&claim->offset, value - soundness_base(vm, claim))))
			continue;
		snprintf(error, sizeof(error), "r%d = %#" PRIx64 " is not what the verifier claims at insn %u",
			 i, value, vm->pc);
		vm->error = error;
		return;
	}
}

/* Two pages of which the second faults; the memory ends where it begins. */
static uint8_t *soundness_guarded(void)
{
	static uint8_t *end;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!end) {
		uint8_t *pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_READ | PROT_WRITE))
			abort();
		end = pages + 2 * page;
	}
	return end;
}

__attribute__((noreturn))
static void soundness_fail(const struct dpcap_vm_prog *prog, const char *what, uint64_t len)
{
	fprintf(stderr, "%s (%" PRIu64 " bytes of memory)\n", what, len);
	for (uint32_t pc = 0; pc < prog->n_insns; pc++) {
		char text[96];

		insn_format(&prog->insns[pc], text, sizeof(text));
		if (!prog->aux[pc].second_slot)
			fprintf(stderr, "%3u: %s\n", pc, text);
	}
	abort();
}

/* One input, all engines. */
static void soundness_run(struct soundness *s, uint64_t len, const uint8_t *content, uint64_t meta)
{
	const struct dpcap_vm_prog *prog = s->prog;
	static struct refvm vm;
	uint8_t *memory = soundness_guarded() - len, after[SOUNDNESS_MAX_LEN];
	uint64_t wanted, got, wirelen = meta ^ (meta << 13);
	bool ok;

	memcpy(memory, content, len);
	vm.prog = prog;
	vm.memory = (struct refvm_region){memory, len, prog->type == DPCAP_VM_MEMORY};
	vm.rodata = (struct refvm_region){prog->rodata, prog->rodata_size, false};
	vm.max_steps = DPCAP_VM_MAX_STEPS;
	vm.observer = soundness_compare;
	vm.observer_arg = s;
	ok = refvm_run(&vm, wirelen, meta, &wanted);
	if (!ok)
		soundness_fail(prog, vm.error, len);
	memcpy(after, memory, len);

	memcpy(memory, content, len);
	got = dpcap_vm_interp(prog, memory, len, wirelen, meta);
	if (got != wanted || memcmp(after, memory, len))
		soundness_fail(prog, "the interpreter differs", len);
	if (!dpcap_vm_jit_entry(prog))
		return;
	memcpy(memory, content, len);
	got = dpcap_vm_jit_entry(prog)(memory, len, wirelen, meta);
	if (got != wanted || memcmp(after, memory, len))
		soundness_fail(prog, "the JIT differs", len);
}

/* Make a program of the bytes; if it is accepted, run it. */
__attribute__((unused))
static bool soundness_check(struct soundness *s, const uint8_t *bytes, size_t n_bytes)
{
	static struct randprog p;
	uint8_t rodata[SOUNDNESS_RODATA], content[SOUNDNESS_MAX_LEN];
	enum dpcap_vm_prog_type type = n_bytes && bytes[0] & 1 ? DPCAP_VM_MEMORY : DPCAP_VM_PACKET;
	struct dpcap_vm_load_attr attr = {
		.type = type,
		.mem_size = 64,
		.rodata = rodata,
		.rodata_size = SOUNDNESS_RODATA,
	};
	uint64_t meta = 0x9e3779b97f4a7c15;
	struct dpcap_vm_log log = {0};
	char text[2048];

	if (!n_bytes)
		return false;
	for (size_t i = 0; i < sizeof(rodata); i++)
		rodata[i] = (uint8_t)(i * 37);
	randprog_make(&p, bytes + 1, n_bytes - 1, type);
	attr.insns = p.insns;
	attr.n_insns = p.n;
	if (dpcap_vm_load(&attr, &s->prog, text, sizeof(text))) {
		if (getenv("VERBOSE"))
			fprintf(stderr, "%s", text);
		s->refused++;
		return false;
	}
	s->accepted++;
	if (verify_observed(s->prog, &log, soundness_observe, s))
		soundness_fail(s->prog, "verified only the first time", 0);
	if (dpcap_vm_jit(s->prog) == -ENOMEM)
		abort();
	for (uint64_t i = 0; i < sizeof(content); i++)
		content[i] = bytes[i * 7 % n_bytes] ^ (uint8_t)(i < 16 ? 0 : i);
	for (uint64_t i = 0; i < 40; i++) {
		/* Every short length, then longer ones. */
		uint64_t len = i < 24 ? i : 24 + (i - 24) * 5 + (bytes[i % n_bytes] & 3);

		meta = meta * 0x5851f42d4c957f2d + (bytes[i % n_bytes] & 3);
		content[len % sizeof(content)] ^= (uint8_t)(meta >> 56);
		soundness_run(s, type == DPCAP_VM_MEMORY ? attr.mem_size : len, content,
			      len & 1 ? meta : meta >> (meta & 63));
	}
	if (type == DPCAP_VM_PACKET)
		soundness_run(s, SOUNDNESS_MAX_LEN, content, meta);
	dpcap_vm_free(s->prog);
	s->prog = NULL;
	return true;
}

#endif /* DPCAP_TESTS_SOUNDNESS_H */
