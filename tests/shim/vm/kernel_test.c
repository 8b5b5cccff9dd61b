/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random valid programs in our engines and in the Linux kernel's: interpreter, JIT and
 * BPF_PROG_TEST_RUN (bpf(2)) agree on r0 and on the memory.
 *
 *	vm_kernel_test [--count N] [--seed FIRST] [--verbose 1]
 *
 * Ctrl-C ends it early, with its figures. Exits with 77 (skipped) where bpf(2) is not
 * allowed.
 */
#include <signal.h>
#include <unistd.h>

#include "engines.h"
#include "kernel.h"
#include "options.h"
#include "progen.h"

#define DEFAULT_COUNT 2000
#define RUNS_EACH 3
#define SKIPPED 77

static struct gen gen;
static volatile sig_atomic_t stopped;
static bool verbose;
static uint64_t n_kernel_refused, n_refused, n_runs;

/* Where the local function of the generated program starts; its end without one. */
static uint32_t function_start(void)
{
	uint32_t at = gen.calls[0];

	return gen.n_calls == 0 ? gen.n : at + 1 + (uint32_t)gen.insns[at].imm;
}

/*
 * Linux (6.18 at least) does not carry precision through an atomic operation that fetches
 * a known number from the stack: it then takes states for equal that differ there, and
 * removes code that runs. Such an operation goes to the memory, or fetches nothing.
 */
static void spare_kernel_stack(struct dpcap_insn *insn, bool in_function)
{
	if (gen.type == DPCAP_VM_MEMORY && !in_function) {
		insn->regs = (uint8_t)((insn->regs & 0xf0) | 9);
		insn->offset = (int16_t)(insn->offset + GEN_STACK_SIZE);
	} else {
		insn->imm = BPF_ADD;
	}
}

/*
 * The kernel refuses what is useless: to divide by the number 0, to shift by more than
 * there is, and accesses to the stack that are not aligned. Its helper 7 is random.
 */
static void please_kernel(void)
{
	uint32_t function = function_start(), i;

	for (i = 0; i < gen.n; i++) {
		struct dpcap_insn *insn = &gen.insns[i];
		uint8_t class = insn_class(insn), code = insn_code(insn);
		bool alu = class == BPF_ALU || class == BPF_ALU64;
		bool on_stack;

		if (insn->opcode == BPF_OPCODE_LDDW) {
			i++;
		} else if (insn->opcode == BPF_OPCODE_CALL && insn_src(insn) == BPF_CALL_HELPER) {
			*insn = MOV_X(0, 1 + i % 5);
		} else if (alu && !insn_is_x(insn) && (code == BPF_DIV || code == BPF_MOD)) {
			insn->imm += insn->imm == 0;
		} else if (alu && !insn_is_x(insn) &&
			   (code == BPF_LSH || code == BPF_RSH || code == BPF_ARSH)) {
			insn->imm &= class == BPF_ALU ? 31 : 63;
		} else if (class == BPF_LDX || class == BPF_ST || class == BPF_STX) {
			uint8_t base = class == BPF_LDX ? insn_src(insn) : insn_dst(insn);

			/*
			 * Linux 6.18 leaves the upper half of r0 now and then where a 32-bit
			 * cmpxchg succeeds (seed 100104118); RFC 9669 section 5.3 clears it.
			 */
			if (insn->opcode == (BPF_STX | BPF_ATOMIC | BPF_W) &&
			    insn->imm == BPF_ATOMIC_CMPXCHG) {
				insn->opcode = BPF_STX | BPF_ATOMIC | BPF_DW;
				insn->offset &= (int16_t)~7;
			}
			on_stack = base == BPF_REG_FP || (base == 9 && i >= function);
			if (on_stack)
				insn->offset &= (int16_t)~(insn_mem_size(insn) - 1);
			if (on_stack && class == BPF_STX && insn_mode(insn) == BPF_ATOMIC &&
			    (insn->imm & BPF_FETCH))
				spare_kernel_stack(insn, i >= function);
		}
	}
}

static void fail(uint64_t seed, const char *what, uint64_t got, uint64_t expected)
{
	uint32_t i;

	fprintf(stderr, "seed %" PRIu64 ": %s: %#" PRIx64 ", interpreter: %#" PRIx64 ". The program:\n",
		seed, what, got, expected);
	for (i = 0; i < gen.n; i++) {
		uint64_t slot;

		memcpy(&slot, &gen.insns[i], sizeof(slot));
		fprintf(stderr, ".quad 0x%016" PRIx64 "\n", slot);
	}
	exit(1);
}

static void compare(uint64_t seed, const char *what, uint64_t result, const uint8_t *mem,
		    uint64_t expected, const uint8_t *expected_mem)
{
	uint32_t i;

	if (result != expected)
		fail(seed, what, result, expected);
	for (i = 0; i < GEN_MEM_SIZE; i++)
		if (mem[i] != expected_mem[i])
			fail(seed, "memory", i << 8 | mem[i], i << 8 | expected_mem[i]);
}

static void run(const struct engines *engines, int kernel, uint64_t seed)
{
	_Alignas(8) uint8_t input[GEN_MEM_SIZE], expected[GEN_MEM_SIZE], mem[GEN_MEM_SIZE];
	uint64_t result, kernel_result;
	size_t i;

	for (i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)gen_value(&gen);
	memcpy(expected, input, sizeof(expected));
	result = dpcap_vm_interp(engines->progs[0], expected, GEN_MEM_SIZE, 0, 0);
	for (i = 0; i < N_CPU_VARIANTS; i++) {
		if (!engines->entries[i])
			continue;
		memcpy(mem, input, sizeof(mem));
		compare(seed, "JIT", engines->entries[i](mem, GEN_MEM_SIZE, 0, 0), mem, result,
			expected);
	}
	if (kernel < 0)
		return;
	memcpy(mem, input, sizeof(mem));
	kernel_result = kernel_run(kernel, mem);
	compare(seed, "kernel", kernel_result, mem, result, expected);
	n_runs++;
}

static void run_program(uint64_t seed)
{
	struct dpcap_vm_load_attr attr = {
		.insns = gen.insns,
	};
	static char log[1 << 16];
	struct engines engines;
	int kernel, i;

	attr.n_insns = gen_program(&gen, seed);
	attr.type = gen.type;
	attr.mem_size = gen.type == DPCAP_VM_MEMORY ? GEN_MEM_SIZE : 0;
	please_kernel();
	if (engines_load(&engines, &attr, log, sizeof(log)) != 0) {
		if (n_refused++ == 0 || verbose)
			fprintf(stderr, "seed %" PRIu64 " refused: %s\n", seed, log);
		return;
	}
	kernel = kernel_load(gen.insns, gen.n, NULL, 0);
	if (kernel < 0) {
		n_kernel_refused++;
		if (verbose) {
			kernel_load(gen.insns, gen.n, log, sizeof(log));
			fprintf(stderr, "seed %" PRIu64 " refused by the kernel: %s\n", seed, log);
		}
	}
	for (i = 0; i < RUNS_EACH; i++)
		run(&engines, kernel, seed);
	if (kernel >= 0)
		close(kernel);
	engines_free(&engines);
}

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

int main(int argc, char **argv)
{
	uint64_t count = option(argc, argv, "--count", DEFAULT_COUNT);
	uint64_t seed = option(argc, argv, "--seed", 1), i;

	verbose = option(argc, argv, "--verbose", 0);
	if (!kernel_open(GEN_MEM_SIZE))
		return SKIPPED;
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	for (i = 0; i < count && !stopped; i++)
		run_program(seed + i);
	count = i;
	printf("%" PRIu64 " programs: %" PRIu64 " ran in the kernel too (%" PRIu64
	       " runs compared), %" PRIu64 " refused by its verifier, %" PRIu64 " by ours\n",
	       count, count - n_kernel_refused - n_refused, n_runs, n_kernel_refused, n_refused);
	/* A comparison with nothing compared is none. */
	return n_refused != 0 || n_kernel_refused > count / 2;
}
