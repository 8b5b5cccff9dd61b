/* SPDX-License-Identifier: BSD-3-Clause */
/* What is refused before the verifier looks at it, and with which words. */
#include <errno.h>

#include "vmtest.h"

struct refused {
	const char *reason;
	struct dpcap_insn insns[4];
	uint32_t n_insns;
};

#define REFUSED(text, ...)                                                                         \
	{.reason = (text),                                                                         \
	 .insns = {__VA_ARGS__},                                                                   \
	 .n_insns = N_ELEMENTS(((struct dpcap_insn[]){__VA_ARGS__}))}

static void check_refused(const struct refused *test)
{
	const struct dpcap_vm_load_attr attr = {.insns = test->insns, .n_insns = test->n_insns};
	struct dpcap_vm_prog *prog;
	char log[256];
	int ret = dpcap_vm_load(&attr, &prog, log, sizeof(log));

	check_equal(test->reason, (uint64_t)ret, (uint64_t)-EINVAL);
	if (strncmp(log, test->reason, strlen(test->reason)) != 0) {
		fprintf(stderr, "wanted: %s\n   got: %s\n", test->reason, log);
		vmtest_failures++;
	}
}

static void check_all_refused(void)
{
	const struct refused cases[] = {
		REFUSED("instruction 0: unknown opcode 0xff", INSN(0xff, 0, 0, 0, 0), EXIT()),
		REFUSED("instruction 0: unknown opcode 0x20", INSN(BPF_LD | 0x20, 0, 0, 0, 0), EXIT()),
		REFUSED("instruction 0: unknown opcode 0x37 with offset 2",
			INSN(BPF_ALU64 | BPF_DIV, 0, 0, 2, 1), EXIT()),
		REFUSED("instruction 0: unknown opcode 0xbc with offset 32",
			INSN(BPF_ALU | BPF_X | BPF_MOV, 0, 1, 32, 0), EXIT()),
		REFUSED("instruction 0: unknown opcode 0xb7 with offset 8",
			INSN(BPF_ALU64 | BPF_K | BPF_MOV, 0, 0, 8, 0), EXIT()),
		REFUSED("instruction 0: unknown opcode 0xd4 with offset 0 and imm 8", LE(0, 8), EXIT()),
		REFUSED("instruction 0: unknown opcode 0x99", LDXSX(BPF_DW, 0, 1, 0), EXIT()),
		REFUSED("instruction 0: unknown opcode 0xcb", ATOMIC(BPF_H, BPF_ADD, 1, 0, 2), EXIT()),
		REFUSED("instruction 0: unknown opcode 0xdb with offset 0 and imm 224",
			ATOMIC(BPF_DW, 0xe0, 1, 0, 2), EXIT()),
		REFUSED("instruction 0: unknown opcode 0x86", INSN(BPF_JMP32 | BPF_CALL, 0, 0, 0, 0), EXIT()),
		REFUSED("instruction 0: bad destination register 11", MOV_K(11, 0), EXIT()),
		REFUSED("instruction 0: bad source register 12", MOV_X(0, 12), EXIT()),
		REFUSED("instruction 0: bad source register 1", INSN(BPF_ALU64 | BPF_MOV, 0, 1, 0, 0),
			EXIT()),
		REFUSED("instruction 0: r10 is read-only", ALU64_K(BPF_ADD, 10, 8), EXIT()),
		REFUSED("instruction 0: r10 is read-only",
			ATOMIC(BPF_DW, BPF_ADD | BPF_FETCH, 1, 0, 10), EXIT()),
		REFUSED("instruction 0: offset 4 where none is used",
			INSN(BPF_ALU64 | BPF_ADD, 0, 0, 4, 1), EXIT()),
		REFUSED("instruction 0: imm 4 where none is used",
			INSN(BPF_ALU64 | BPF_X | BPF_ADD, 0, 1, 0, 4), EXIT()),
		REFUSED("instruction 1: the second half of a 64-bit immediate load is missing", EXIT(),
			INSN(BPF_OPCODE_LDDW, 0, 0, 0, 0)),
		REFUSED("instruction 1: bad second half", INSN(BPF_OPCODE_LDDW, 0, 0, 0, 0), EXIT()),
		REFUSED("instruction 0: 64-bit immediate load of unknown kind 1",
			INSN(BPF_OPCODE_LDDW, 0, 1, 0, 0), INSN(0, 0, 0, 0, 0), EXIT()),
		REFUSED("instruction 0: offset 0 is outside the 0 bytes", LDDW_RODATA(0, 0), EXIT()),
		REFUSED("instruction 0: there is no map 0",
			INSN(BPF_OPCODE_LDDW, 0, BPF_LDDW_MAP_BY_INDEX, 0, 0), INSN(0, 0, 0, 0, 0), EXIT()),
		REFUSED("instruction 0: there is no map 2",
			INSN(BPF_OPCODE_LDDW, 0, BPF_LDDW_MAP_VALUE_BY_INDEX, 0, 3), INSN(0, 0, 0, 0, 0),
			EXIT()),
		REFUSED("instruction 0: jumps out of the program, to instruction -1", JA(-2), EXIT()),
		REFUSED("instruction 0: jumps out of the program, to instruction 2", JA(1), EXIT()),
		REFUSED("instruction 0: jumps out of the program, to instruction 2147483648",
			GOTOL(INT32_MAX), EXIT()),
		REFUSED("instruction 2: is jumped to, inside a 64-bit immediate load", JA(1), LDDW(0, 1),
			EXIT()),
		REFUSED("instruction 0: there is no helper 7", CALL(7), EXIT()),
		REFUSED("instruction 0: call of unknown kind 2", INSN(BPF_OPCODE_CALL, 0, 2, 0, 0), EXIT()),
		REFUSED("instruction 0: calls out of the program", CALL_LOCAL(1), EXIT()),
		REFUSED("instruction 1: jumps into another function, to instruction 2", CALL_LOCAL(1),
			JMP_K(BPF_JEQ, 0, 0, 0), EXIT()),
		REFUSED("instruction 1: execution runs into the next function", CALL_LOCAL(1), MOV_K(0, 0),
			EXIT()),
		REFUSED("instruction 0: execution runs past the end", MOV_K(0, 0)),
	};
	size_t i;

	for (i = 0; i < N_ELEMENTS(cases); i++)
		check_refused(&cases[i]);
}

static void check_sizes(void)
{
	static struct dpcap_insn insns[DPCAP_VM_MAX_INSNS + 1];
	struct dpcap_vm_load_attr attr = {.insns = insns};
	struct dpcap_vm_prog *prog;
	char log[16];
	uint32_t i;

	for (i = 0; i < DPCAP_VM_MAX_INSNS; i++)
		insns[i] = MOV_K(0, 1);
	insns[DPCAP_VM_MAX_INSNS - 1] = EXIT();
	insns[DPCAP_VM_MAX_INSNS] = EXIT();
	check_equal("empty", (uint64_t)dpcap_vm_load(&attr, &prog, NULL, 0), (uint64_t)-EINVAL);
	attr.n_insns = DPCAP_VM_MAX_INSNS + 1;
	check_equal("too long", (uint64_t)dpcap_vm_load(&attr, &prog, log, sizeof(log)),
		    (uint64_t)-E2BIG);
	check_equal("log is cut", strlen(log), sizeof(log) - 1);
	attr.n_insns = DPCAP_VM_MAX_INSNS;
	prog = must_load("longest", &attr);
	check_equal("longest", dpcap_vm_interp(prog, NULL, 0, 0, 0), 1);
	dpcap_vm_free(prog);
}

int main(void)
{
	check_all_refused();
	check_sizes();
	return vmtest_failures != 0;
}
