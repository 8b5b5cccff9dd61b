/* SPDX-License-Identifier: BSD-3-Clause */
/* Helpers, local functions and frames, in every engine and in the burst entry. */
#include <stddef.h>

#include "engines.h"

static uint64_t seen[5];
static unsigned stack_misaligned;

static uint64_t record_args(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	/* The caller's rsp at the call: the return address and rbp lie below it. */
	stack_misaligned |= (uintptr_t)__builtin_frame_address(0) & 15;
	seen[0] = r1;
	seen[1] = r2;
	seen[2] = r3;
	seen[3] = r4;
	seen[4] = r5;
	return 0xfedcba9876543210;
}

static uint64_t add(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	(void)r3;
	(void)r4;
	(void)r5;
	return r1 + r2;
}

#define ANY5 {DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR, \
	      DPCAP_VM_ARG_SCALAR}
/* Ids in no order, with gaps. */
static const struct dpcap_vm_helper helpers[] = {
	{.id = 900, .name = "record_args", .function = record_args, .args = ANY5},
	{.id = 3, .name = "add", .function = add, .args = {DPCAP_VM_ARG_SCALAR, DPCAP_VM_ARG_SCALAR}},
};

static const struct dpcap_vm_burst_layout layout = RECORD_LAYOUT(0);

static void check_burst(const char *what, struct dpcap_vm_prog *prog, uint64_t wanted, uint64_t meta)
{
	struct record records[3] = {{.len = 1, .wirelen = 5}, {.len = 2, .wirelen = 5},
				    {.len = 3, .wirelen = 5}};
	void *pointers[] = {&records[0], &records[1], &records[2]};
	dpcap_vm_burst_fn entry;

	if (dpcap_vm_jit_burst(prog, &layout) == -ENOTSUP)
		return;
	entry = dpcap_vm_burst_entry(prog);
	check_equal(what, entry(pointers, 3, meta), wanted ? 7 : 0);
	check_equal(what, entry(pointers, 0, meta), 0);
}

/* The program is given wirelen 5 and meta 6. */
static void check_program(const char *what, const struct dpcap_insn *insns, uint32_t n,
			  uint64_t wanted)
{
	const struct dpcap_vm_load_attr attr = {.insns = insns,
						.n_insns = n,
						.helpers = helpers,
						.n_helpers = N_ELEMENTS(helpers)};
	struct engines engines;
	char log[4096];
	size_t i;

	if (engines_load(&engines, &attr, log, sizeof(log)) != 0) {
		fprintf(stderr, "%s: refused: %s\n", what, log);
		vmtest_failures++;
		return;
	}
	check_equal(what, dpcap_vm_interp(engines.progs[0], NULL, 0, 5, 6), wanted);
	for (i = 0; i < N_CPU_VARIANTS; i++)
		if (engines.entries[i])
			check_equal(what, engines.entries[i](NULL, 0, 5, 6), wanted);
	check_burst(what, engines.progs[0], wanted, 6);
	engines_free(&engines);
}

#define CHECK(what, wanted, ...)                                                                   \
	do {                                                                                       \
		const struct dpcap_insn program[] = {__VA_ARGS__};                                 \
		check_program(what, program, N_ELEMENTS(program), wanted);                         \
	} while (0)

static void check_helpers(void)
{
	CHECK("helper's result", 0xfedcba9876543210, MOV_K(1, 1), MOV_K(2, 2), MOV_K(3, 3),
	      MOV_K(4, 4), MOV_K(5, -5), CALL(900), EXIT());
	check_equal("r1", seen[0], 1);
	check_equal("r2", seen[1], 2);
	check_equal("r3", seen[2], 3);
	check_equal("r4", seen[3], 4);
	check_equal("r5", seen[4], (uint64_t)-5);
	CHECK("r6 to r9 stay", 1 + 6 + 7 + 8 + 9, MOV_K(6, 6), MOV_K(7, 7), MOV_K(8, 8), MOV_K(9, 9),
	      MOV_K(1, 0), MOV_K(2, 1), CALL(3), ALU64_X(BPF_ADD, 0, 6), ALU64_X(BPF_ADD, 0, 7),
	      ALU64_X(BPF_ADD, 0, 8), ALU64_X(BPF_ADD, 0, 9), EXIT());
	CHECK("a saved register and a frame", 77, MOV_K(6, 70), ST(BPF_DW, 10, -8, 7), MOV_X(1, 6),
	      LDX(BPF_DW, 2, 10, -8), CALL(3), EXIT());
	CHECK("arguments of the program", 11, MOV_X(1, 3), MOV_X(2, 4), CALL(3), EXIT());
	CHECK("rejects", 0, MOV_K(1, 0), MOV_K(2, 0), CALL(3), EXIT());
	CHECK("aligned with one, two, three saved registers", 0xfedcba9876543210, MOV_K(6, 0),
	      MOV_X(1, 6), MOV_X(2, 6), MOV_X(3, 6), MOV_X(4, 6), MOV_X(5, 6), CALL(900), EXIT());
	CHECK("aligned in a local function", 0xfedcba9876543210, MOV_K(6, 1), MOV_K(7, 1),
	      CALL_LOCAL(1), EXIT(), MOV_K(1, 0), MOV_K(2, 0), MOV_K(3, 0), MOV_K(4, 0),
	      MOV_K(5, 0), ST(BPF_DW, 10, -24, 0), CALL(900), EXIT());
	check_equal("stack alignment at a call", stack_misaligned, 0);
}

static void check_callx(void)
{
	CHECK("callx by a register that is no argument", 42, MOV_K(6, 3), MOV_K(1, 40), MOV_K(2, 2),
	      CALLX(6), EXIT());
	CHECK("callx by r0", 42, MOV_K(0, 3), MOV_K(1, 40), MOV_K(2, 2), CALLX(0), EXIT());
	CHECK("callx by an argument", 5, MOV_K(1, 3), MOV_K(2, 2), CALLX(1), EXIT());
	CHECK("callx keeps all arguments", 0xfedcba9876543210, MOV_K(1, 11), MOV_K(2, 12),
	      MOV_K(3, 13), MOV_K(4, 14), MOV_K(5, 15), MOV_K(7, 900), CALLX(7), EXIT());
	check_equal("callx r1", seen[0], 11);
	check_equal("callx r5", seen[4], 15);
	check_equal("stack alignment at callx", stack_misaligned, 0);
}

static void check_local(void)
{
	CHECK("arguments and result", 12345, MOV_K(1, 1), MOV_K(2, 2), MOV_K(3, 3), MOV_K(4, 4),
	      MOV_K(5, 5), CALL_LOCAL(1), EXIT(),
	      /* f: */ MOV_X(0, 1), ALU64_K(BPF_MUL, 0, 10), ALU64_X(BPF_ADD, 0, 2),
	      ALU64_K(BPF_MUL, 0, 10), ALU64_X(BPF_ADD, 0, 3), ALU64_K(BPF_MUL, 0, 10),
	      ALU64_X(BPF_ADD, 0, 4), ALU64_K(BPF_MUL, 0, 10), ALU64_X(BPF_ADD, 0, 5), EXIT());
	CHECK("the caller's registers and stack stay", 6 + 7 + 8 + 9 + 100, MOV_K(6, 6), MOV_K(7, 7),
	      MOV_K(8, 8), MOV_K(9, 9), ST(BPF_DW, 10, -8, 100), CALL_LOCAL(7), MOV_X(0, 6),
	      ALU64_X(BPF_ADD, 0, 7), ALU64_X(BPF_ADD, 0, 8), ALU64_X(BPF_ADD, 0, 9),
	      LDX(BPF_DW, 1, 10, -8), ALU64_X(BPF_ADD, 0, 1), EXIT(),
	      /* f: */ MOV_K(0, 0), MOV_K(6, 0), MOV_K(7, 0), MOV_K(8, 0), MOV_K(9, 0),
	      ST(BPF_DW, 10, -8, 1), ST(BPF_DW, 10, -512, 1), EXIT());
	CHECK("a function writes to its caller's stack", 77, ST(BPF_DW, 10, -8, 0), MOV_X(1, 10),
	      ALU64_K(BPF_ADD, 1, -8), CALL_LOCAL(2), LDX(BPF_DW, 0, 10, -8), EXIT(),
	      /* f: */ ST(BPF_DW, 1, 0, 77), MOV_K(0, 0), EXIT());
	CHECK("jumps back to the start of a function", 10, MOV_K(1, 5), MOV_K(0, 0), CALL_LOCAL(1),
	      EXIT(),
	      /* f: */ MOV_K(0, 10), EXIT());
}

/* Every frame writes its own stack; the innermost of the eight is as deep as it goes. */
static void check_depth(void)
{
	struct dpcap_insn program[64];
	uint32_t n = 0;
	int i;

	for (i = 0; i < 7; i++) {
		program[n++] = ST(BPF_DW, 10, -512, i + 1);
		program[n++] = MOV_X(6, 10);
		program[n++] = CALL_LOCAL(4);
		program[n++] = LDX(BPF_DW, 1, 6, -512);
		program[n++] = ALU64_X(BPF_ADD, 0, 1);
		program[n++] = MOV_X(6, 6);
		program[n++] = EXIT();
	}
	program[n++] = ST(BPF_DW, 10, -512, 100);
	program[n++] = LDX(BPF_DW, 0, 10, -512);
	program[n++] = EXIT();
	check_program("eight frames", program, n, 1 + 2 + 3 + 4 + 5 + 6 + 7 + 100);
}

static void check_stack(void)
{
	CHECK("within the red zone", 3, ST(BPF_DW, 10, -128, 1), ST(BPF_DW, 10, -8, 2),
	      LDX(BPF_DW, 0, 10, -128), LDX(BPF_DW, 1, 10, -8), ALU64_X(BPF_ADD, 0, 1), EXIT());
	CHECK("beyond the red zone", 3, ST(BPF_DW, 10, -136, 1), ST(BPF_DW, 10, -8, 2),
	      LDX(BPF_DW, 0, 10, -136), LDX(BPF_DW, 1, 10, -8), ALU64_X(BPF_ADD, 0, 1), EXIT());
	CHECK("through a copy of r10", 9, MOV_X(6, 10), ALU64_K(BPF_ADD, 6, -512), ST(BPF_DW, 6, 0, 9),
	      LDX(BPF_DW, 0, 10, -512), EXIT());
	CHECK("the address of the end", 0, MOV_X(0, 10), MOV_X(1, 10), ALU64_X(BPF_SUB, 0, 1), EXIT());
	CHECK("all registers and division", 6 + 7 + 8 + 9 + 2 + 5 + 6, MOV_K(6, 6), MOV_K(7, 7),
	      MOV_K(8, 8), MOV_K(9, 9), MOV_K(0, 100), MOV_K(1, 49), MOV_K(2, 0), MOV_K(5, 0),
	      ALU64_X(BPF_DIV, 0, 1), ALU64_X(BPF_ADD, 0, 6), ALU64_X(BPF_ADD, 0, 7),
	      ALU64_X(BPF_ADD, 0, 8), ALU64_X(BPF_ADD, 0, 9), ALU64_X(BPF_ADD, 0, 3),
	      ALU64_X(BPF_ADD, 0, 4), ALU64_X(BPF_ADD, 0, 2), ALU64_X(BPF_ADD, 0, 5), EXIT());
}

/* Memory of a known size, or a context, is not what records have. */
static void check_burst_type(void)
{
	const struct dpcap_insn insns[] = {LDX(BPF_DW, 0, 1, 56), EXIT()};
	const struct dpcap_vm_load_attr attr = {
		.insns = insns, .n_insns = 2, .type = DPCAP_VM_MEMORY, .mem_size = 64};
	struct dpcap_vm_prog *prog = must_load("burst of memory", &attr);
	int ret = dpcap_vm_jit_burst(prog, &layout);

	if (ret != -ENOTSUP)
		check_equal("burst of memory", (uint64_t)ret, (uint64_t)-EINVAL);
	dpcap_vm_free(prog);
}

int main(void)
{
	check_burst_type();
	check_helpers();
	check_callx();
	check_local();
	check_depth();
	check_stack();
	return vmtest_failures != 0;
}
