/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs written out in C, and checks that say what differs. */
#ifndef DPCAP_TESTS_VMTEST_H
#define DPCAP_TESTS_VMTEST_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dpcap_vm.h"
#include "isa.h"

#define INSN(op, dst, src, off, immediate)                                                         \
	((struct dpcap_insn){.opcode = (uint8_t)(op),                                              \
			     .regs = (uint8_t)((src) << 4 | (dst)),                                \
			     .offset = (int16_t)(off),                                             \
			     .imm = (int32_t)(immediate)})

#define ALU64_K(op, dst, imm) INSN(BPF_ALU64 | BPF_K | (op), dst, 0, 0, imm)
#define ALU64_X(op, dst, src) INSN(BPF_ALU64 | BPF_X | (op), dst, src, 0, 0)
#define ALU32_K(op, dst, imm) INSN(BPF_ALU | BPF_K | (op), dst, 0, 0, imm)
#define ALU32_X(op, dst, src) INSN(BPF_ALU | BPF_X | (op), dst, src, 0, 0)
#define MOV_K(dst, imm) ALU64_K(BPF_MOV, dst, imm)
#define MOV_X(dst, src) ALU64_X(BPF_MOV, dst, src)
#define JMP_K(op, dst, imm, off) INSN(BPF_JMP | BPF_K | (op), dst, 0, off, imm)
#define JMP_X(op, dst, src, off) INSN(BPF_JMP | BPF_X | (op), dst, src, off, 0)
#define JMP32_K(op, dst, imm, off) INSN(BPF_JMP32 | BPF_K | (op), dst, 0, off, imm)
#define JMP32_X(op, dst, src, off) INSN(BPF_JMP32 | BPF_X | (op), dst, src, off, 0)
#define JA(off) INSN(BPF_JMP | BPF_JA, 0, 0, off, 0)
#define GOTOL(imm) INSN(BPF_JMP32 | BPF_JA, 0, 0, 0, imm)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define LDXSX(size, dst, src, off) INSN(BPF_LDX | BPF_MEMSX | (size), dst, src, off, 0)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define STX(size, dst, off, src) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define ATOMIC(size, op, dst, off, src) INSN(BPF_STX | BPF_ATOMIC | (size), dst, src, off, op)
#define LE(dst, bits) INSN(BPF_ALU | BPF_K | BPF_END, dst, 0, 0, bits)
#define BE(dst, bits) INSN(BPF_ALU | BPF_X | BPF_END, dst, 0, 0, bits)
#define BSWAP(dst, bits) INSN(BPF_ALU64 | BPF_K | BPF_END, dst, 0, 0, bits)
#define CALL(id) INSN(BPF_OPCODE_CALL, 0, BPF_CALL_HELPER, 0, id)
#define CALL_LOCAL(imm) INSN(BPF_OPCODE_CALL, 0, BPF_CALL_LOCAL, 0, imm)
#define CALLX(dst) INSN(BPF_OPCODE_CALLX, dst, 0, 0, 0)
#define EXIT() INSN(BPF_OPCODE_EXIT, 0, 0, 0, 0)
/* Two slots. */
#define LDDW(dst, value)                                                                           \
	INSN(BPF_OPCODE_LDDW, dst, 0, 0, (uint32_t)(value)),                                       \
		INSN(0, 0, 0, 0, (uint32_t)((uint64_t)(value) >> 32))
#define LDDW_RODATA(dst, offset)                                                                   \
	INSN(BPF_OPCODE_LDDW, dst, BPF_LDDW_MAP_VALUE_BY_INDEX, 0, 0), INSN(0, 0, 0, 0, offset)

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static int vmtest_failures;

__attribute__((unused)) static void check_equal(const char *what, uint64_t got, uint64_t wanted)
{
	if (got == wanted)
		return;
	fprintf(stderr, "%s: got 0x%" PRIx64 ", wanted 0x%" PRIx64 "\n", what, got, wanted);
	vmtest_failures++;
}

/* A loaded program; the test ends if it is refused. */
__attribute__((unused)) static struct dpcap_vm_prog *must_load(const char *what,
								const struct dpcap_vm_load_attr *attr)
{
	struct dpcap_vm_prog *prog;
	char log[4096];
	int ret = dpcap_vm_load(attr, &prog, log, sizeof(log));

	if (ret != 0) {
		fprintf(stderr, "%s: refused (%d): %s\n", what, ret, log);
		exit(1);
	}
	return prog;
}

#endif /* DPCAP_TESTS_VMTEST_H */
