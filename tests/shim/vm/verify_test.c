/* SPDX-License-Identifier: BSD-3-Clause */
/* What the verifier accepts, what it refuses, and the reason that it gives. */
#include "vmtest.h"

struct verify_case {
	const char *name;
	const char *refused; /* part of the reason; NULL: accepted */
	struct dpcap_insn insns[40];
	enum dpcap_vm_prog_type type;
	uint64_t mem_size;
	uint32_t rodata_size;
};

#define PROGRAM(...) .insns = {__VA_ARGS__}

/* Ways in which a packet access is proved, and the same ways one byte short. */
static const struct verify_case packet_cases[] = {
	{"load without a check", "packet access at 12..13 not proved: length is only known to be >= 0",
	 PROGRAM(LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length < constant", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 14, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length < constant, one short", "packet access at 12..13 not proved",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 13, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length <= constant", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLE, 2, 13, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length > constant", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JGT, 2, 13, 1), EXIT(), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length > constant, the wrong way", "not proved",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JGT, 2, 13, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length >= constant, signed", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JSGE, 2, 14, 1), EXIT(), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length of 32 bits", NULL,
	 PROGRAM(MOV_K(0, 0), JMP32_K(BPF_JLT, 2, 14, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"constant > length", NULL,
	 PROGRAM(MOV_K(0, 0), MOV_K(5, 14), JMP_X(BPF_JGT, 5, 2, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"constant >= length, one short", "not proved",
	 PROGRAM(MOV_K(0, 0), MOV_K(5, 12), JMP_X(BPF_JGE, 5, 2, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length minus constant", NULL,
	 PROGRAM(MOV_K(0, 0), MOV_X(5, 2), ALU64_K(BPF_SUB, 5, 14), JMP_K(BPF_JSLT, 5, 0, 1),
		 LDX(BPF_H, 0, 1, 12), EXIT())},
	{"length minus constant, unsigned", "not proved",
	 PROGRAM(MOV_K(0, 0), MOV_X(5, 2), ALU64_K(BPF_SUB, 5, 14), JMP_K(BPF_JLT, 5, 0, 1),
		 LDX(BPF_H, 0, 1, 12), EXIT())},
	{"constant minus length", NULL,
	 PROGRAM(MOV_K(0, 0), MOV_K(5, 14), ALU64_X(BPF_SUB, 5, 2), JMP_K(BPF_JSGT, 5, 0, 1),
		 LDX(BPF_H, 0, 1, 12), EXIT())},
	{"before the packet", "may be before the start",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 14, 1), LDX(BPF_H, 0, 1, -1), EXIT())},
	{"equal length", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JNE, 2, 14, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"unequal length 0", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JEQ, 2, 0, 1), LDX(BPF_B, 0, 1, 0), EXIT())},
	{"unequal length 0, two bytes", "length is only known to be >= 1",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JEQ, 2, 0, 1), LDX(BPF_H, 0, 1, 0), EXIT())},
	{"a mask of bits tells that one is set", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JSET, 2, 0x40, 1), EXIT(), LDX(BPF_DW, 0, 1, 56), EXIT())},
	{"wire length proves nothing", "not proved",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 3, 14, 1), LDX(BPF_H, 0, 1, 12), EXIT())},
	{"store", "read-only",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 14, 1), ST(BPF_B, 1, 0, 1), EXIT())},
	{"atomic operation", "read-only",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 14, 1), ATOMIC(BPF_W, BPF_ADD, 1, 0, 0), EXIT())},

	/* Variable offsets. r5: 4 * (first byte & 15). */
#define IHL MOV_K(0, 0), JMP_K(BPF_JLT, 2, 1, 14), LDX(BPF_B, 5, 1, 0), \
	    ALU64_K(BPF_AND, 5, 15), ALU64_K(BPF_LSH, 5, 2)
	{"offset + 4 > length", NULL,
	 PROGRAM(IHL, MOV_X(6, 5), ALU64_K(BPF_ADD, 6, 4), JMP_X(BPF_JGT, 6, 2, 9), MOV_X(7, 1),
		 ALU64_X(BPF_ADD, 7, 5), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(), EXIT(), EXIT(), EXIT(),
		 EXIT(), EXIT(), EXIT())},
	{"offset + 3 > length", "length is only known to be >= offset + 3",
	 PROGRAM(IHL, MOV_X(6, 5), ALU64_K(BPF_ADD, 6, 3), JMP_X(BPF_JGT, 6, 2, 9), MOV_X(7, 1),
		 ALU64_X(BPF_ADD, 7, 5), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(), EXIT(), EXIT(), EXIT(),
		 EXIT(), EXIT(), EXIT())},
	{"length < offset + 4, w registers", NULL,
	 PROGRAM(IHL, ALU32_X(BPF_MOV, 6, 5), ALU32_K(BPF_ADD, 6, 4), JMP32_X(BPF_JLT, 2, 6, 9),
		 MOV_X(7, 1), ALU64_X(BPF_ADD, 7, 5), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(), EXIT(),
		 EXIT(), EXIT(), EXIT(), EXIT(), EXIT())},
	{"offset > length - 4", NULL,
	 PROGRAM(IHL, MOV_X(6, 2), ALU64_K(BPF_SUB, 6, 4), JMP_X(BPF_JSGT, 5, 6, 9), MOV_X(7, 1),
		 ALU64_X(BPF_ADD, 7, 5), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(), EXIT(), EXIT(), EXIT(),
		 EXIT(), EXIT(), EXIT())},
	{"offset > length - 4 that wrapped", "not proved",
	 PROGRAM(IHL, MOV_X(6, 2), ALU64_K(BPF_SUB, 6, 4), JMP_X(BPF_JGT, 5, 6, 9), MOV_X(7, 1),
		 ALU64_X(BPF_ADD, 7, 5), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(), EXIT(), EXIT(), EXIT(),
		 EXIT(), EXIT(), EXIT())},
	{"length - offset < 4", NULL,
	 PROGRAM(IHL, MOV_X(6, 2), ALU64_X(BPF_SUB, 6, 5), JMP_K(BPF_JSLT, 6, 4, 9), MOV_X(7, 1),
		 ALU64_X(BPF_ADD, 7, 5), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(), EXIT(), EXIT(), EXIT(),
		 EXIT(), EXIT(), EXIT())},
	{"pointer + 4 > end", NULL,
	 PROGRAM(IHL, MOV_X(7, 1), ALU64_X(BPF_ADD, 7, 5), ALU64_X(BPF_ADD, 2, 1), MOV_X(8, 7),
		 ALU64_K(BPF_ADD, 8, 4), JMP_X(BPF_JGT, 8, 2, 7), LDX(BPF_W, 0, 7, 0), JA(5), EXIT(),
		 EXIT(), EXIT(), EXIT(), EXIT(), EXIT(), EXIT())},
	{"pointer + 4 > end, in callee-saved copies", NULL,
	 PROGRAM(IHL, MOV_X(7, 1), ALU64_X(BPF_ADD, 7, 5), ALU64_X(BPF_ADD, 2, 1), MOV_X(8, 7),
		 MOV_X(9, 7), ALU64_K(BPF_ADD, 8, 4), JMP_X(BPF_JLT, 2, 8, 7), LDX(BPF_W, 0, 9, 0),
		 JA(5), EXIT(), EXIT(), EXIT(), EXIT(), EXIT(), EXIT(), EXIT())},
	{"pointer + 4 >= end, reads 5", "not proved",
	 PROGRAM(IHL, MOV_X(7, 1), ALU64_X(BPF_ADD, 7, 5), ALU64_X(BPF_ADD, 2, 1), MOV_X(8, 7),
		 ALU64_K(BPF_ADD, 8, 4), JMP_X(BPF_JGE, 8, 2, 7), LDX(BPF_W, 0, 7, 2), JA(5), EXIT(),
		 EXIT(), EXIT(), EXIT(), EXIT(), EXIT(), EXIT())},
	{"offset clamped without a branch", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 34, 10), LDX(BPF_B, 5, 1, 0), ALU64_K(BPF_AND, 5, 15),
		 ALU64_K(BPF_LSH, 5, 2), MOV_X(6, 5), ALU64_K(BPF_ADD, 6, 3), ALU64_X(BPF_SUB, 6, 2),
		 ALU64_K(BPF_ARSH, 6, 63), ALU64_X(BPF_AND, 5, 6), ALU64_X(BPF_ADD, 5, 1),
		 LDX(BPF_W, 0, 5, 0), EXIT())},
	{"offset clamped one short", "not proved",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 34, 10), LDX(BPF_B, 5, 1, 0), ALU64_K(BPF_AND, 5, 15),
		 ALU64_K(BPF_LSH, 5, 2), MOV_X(6, 5), ALU64_K(BPF_ADD, 6, 2), ALU64_X(BPF_SUB, 6, 2),
		 ALU64_K(BPF_ARSH, 6, 63), ALU64_X(BPF_AND, 5, 6), ALU64_X(BPF_ADD, 5, 1),
		 LDX(BPF_W, 0, 5, 0), EXIT())},
	{"offset clamped to 0 of an empty packet", "not proved",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 1, 10), LDX(BPF_B, 5, 1, 0), ALU64_K(BPF_AND, 5, 15),
		 ALU64_K(BPF_LSH, 5, 2), MOV_X(6, 5), ALU64_K(BPF_ADD, 6, 3), ALU64_X(BPF_SUB, 6, 2),
		 ALU64_K(BPF_ARSH, 6, 63), ALU64_X(BPF_AND, 5, 6), ALU64_X(BPF_ADD, 5, 1),
		 LDX(BPF_W, 0, 5, 0), EXIT())},
	{"clamped by the inverted mask", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 34, 11), LDX(BPF_B, 5, 1, 0), ALU64_K(BPF_AND, 5, 15),
		 ALU64_K(BPF_LSH, 5, 2), MOV_X(6, 2), ALU64_X(BPF_SUB, 6, 5), ALU64_K(BPF_SUB, 6, 4),
		 ALU64_K(BPF_ARSH, 6, 63), ALU64_K(BPF_XOR, 6, -1), ALU64_X(BPF_AND, 5, 6),
		 ALU64_X(BPF_ADD, 5, 1), LDX(BPF_W, 0, 5, 0), EXIT())},
	{"one of two offsets, by a mask", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 58, 6), LDX(BPF_W, 5, 1, 0), ALU64_K(BPF_SUB, 5, 9),
		 ALU64_K(BPF_ARSH, 5, 63), ALU64_K(BPF_AND, 5, -20), ALU64_X(BPF_ADD, 5, 1),
		 LDX(BPF_W, 0, 5, 54), EXIT())},
	{"a join of two checked offsets", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 14, 10), LDX(BPF_H, 5, 1, 12), MOV_K(6, 14),
		 JMP_K(BPF_JNE, 5, 129, 1), MOV_K(6, 18), MOV_X(7, 6), ALU64_K(BPF_ADD, 7, 20),
		 JMP_X(BPF_JGT, 7, 2, 3), ALU64_X(BPF_ADD, 6, 1), LDX(BPF_W, 0, 6, 16), EXIT(), EXIT())},
	{"a join of differently checked offsets", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 34, 9), LDX(BPF_H, 5, 1, 12), MOV_K(6, 14),
		 JMP_K(BPF_JNE, 5, 129, 2), JMP_K(BPF_JLT, 2, 54, 5), MOV_K(6, 34), ALU64_X(BPF_ADD, 6, 1),
		 LDX(BPF_W, 0, 6, 16), EXIT(), EXIT(), EXIT())},
	{"a pointer moved without bounds", "without bounds",
	 PROGRAM(MOV_K(0, 0), ALU64_X(BPF_ADD, 1, 3), EXIT())},
};

/* Anything but packets. */
static const struct verify_case cases[] = {
	{"constant result", NULL, PROGRAM(MOV_K(0, 1), EXIT())},
	{"no result", "r0 is not initialised", PROGRAM(EXIT())},
	{"uninitialised register", "r6 is not initialised", PROGRAM(MOV_X(0, 6), EXIT())},
	{"packet pointer as result", "returns a pointer", PROGRAM(MOV_X(0, 1), EXIT())},
	{"stack pointer as result", "returns a pointer", PROGRAM(MOV_X(0, 10), EXIT())},
	{"32-bit arithmetic on a pointer", "32-bit arithmetic",
	 PROGRAM(ALU32_K(BPF_ADD, 1, 1), MOV_K(0, 0), EXIT())},
	{"half of a pointer copied", "a part of a pointer",
	 PROGRAM(ALU32_X(BPF_MOV, 0, 1), EXIT())},
	{"product of a pointer", "only adding", PROGRAM(ALU64_K(BPF_MUL, 1, 2), MOV_K(0, 0), EXIT())},
	{"sum of pointers", "only adding", PROGRAM(ALU64_X(BPF_ADD, 1, 10), MOV_K(0, 0), EXIT())},
	{"pointer taken from a number", "only adding",
	 PROGRAM(ALU64_X(BPF_SUB, 2, 1), MOV_K(0, 0), EXIT())},
	{"load from a number", "r2 is a number", PROGRAM(LDX(BPF_B, 0, 2, 0), EXIT())},
	{"distance of pointers of different memory", "different memory",
	 PROGRAM(ALU64_X(BPF_SUB, 1, 10), MOV_K(0, 0), EXIT())},

	{"stack", NULL, PROGRAM(ST(BPF_DW, 10, -8, 7), LDX(BPF_DW, 0, 10, -8), EXIT())},
	{"stack, never written", "stack bytes -8..-1 are not initialised",
	 PROGRAM(LDX(BPF_DW, 0, 10, -8), EXIT())},
	{"stack, half written", "not initialised",
	 PROGRAM(ST(BPF_W, 10, -8, 7), LDX(BPF_DW, 0, 10, -8), EXIT())},
	{"stack, written in halves", NULL,
	 PROGRAM(ST(BPF_W, 10, -8, 7), ST(BPF_W, 10, -4, 7), LDX(BPF_DW, 0, 10, -8), EXIT())},
	{"stack, across slots", NULL,
	 PROGRAM(ST(BPF_DW, 10, -12, 7), LDX(BPF_W, 0, 10, -10), EXIT())},
	{"stack, above", "not within -512..-1",
	 PROGRAM(ST(BPF_DW, 10, 0, 7), MOV_K(0, 0), EXIT())},
	{"stack, its last byte and beyond", "not within -512..-1",
	 PROGRAM(ST(BPF_H, 10, -1, 7), MOV_K(0, 0), EXIT())},
	{"stack, lowest", NULL, PROGRAM(ST(BPF_DW, 10, -512, 7), MOV_K(0, 0), EXIT())},
	{"stack, below", "not within -512..-1",
	 PROGRAM(ST(BPF_DW, 10, -513, 7), MOV_K(0, 0), EXIT())},
	{"a saved pointer", NULL,
	 PROGRAM(MOV_K(0, 0), STX(BPF_DW, 10, -8, 1), LDX(BPF_DW, 3, 10, -8), JMP_K(BPF_JLT, 2, 1, 1),
		 LDX(BPF_B, 0, 3, 0), EXIT())},
	{"a part of a saved pointer", "part of a saved pointer",
	 PROGRAM(STX(BPF_DW, 10, -8, 1), LDX(BPF_W, 0, 10, -8), EXIT())},
	{"a part of a saved pointer overwritten", "not initialised",
	 PROGRAM(STX(BPF_DW, 10, -8, 1), ST(BPF_B, 10, -8, 0), LDX(BPF_DW, 0, 10, -8), EXIT())},
	{"a pointer saved across slots", "aligned stack slot",
	 PROGRAM(STX(BPF_DW, 10, -12, 1), MOV_K(0, 0), EXIT())},
	{"half of a pointer saved", "aligned stack slot",
	 PROGRAM(STX(BPF_W, 10, -8, 1), MOV_K(0, 0), EXIT())},
	{"a saved length still proves", NULL,
	 PROGRAM(MOV_K(0, 0), STX(BPF_DW, 10, -8, 2), MOV_K(2, 0), LDX(BPF_DW, 3, 10, -8),
		 JMP_K(BPF_JLT, 3, 1, 1), LDX(BPF_B, 0, 1, 0), EXIT())},
	{"variable stack offset", NULL,
	 PROGRAM(ST(BPF_DW, 10, -16, 1), ST(BPF_DW, 10, -8, 2), ALU64_K(BPF_AND, 2, 8),
		 ALU64_X(BPF_ADD, 2, 10), LDX(BPF_DW, 0, 2, -16), EXIT())},
	{"variable stack offset, partly written", "not initialised",
	 PROGRAM(ST(BPF_DW, 10, -16, 1), ALU64_K(BPF_AND, 2, 8), ALU64_X(BPF_ADD, 2, 10),
		 LDX(BPF_DW, 0, 2, -16), EXIT())},
	{"variable stack offset does not initialise", "not initialised",
	 PROGRAM(ALU64_K(BPF_AND, 2, 8), ALU64_X(BPF_ADD, 2, 10), ST(BPF_DW, 2, -16, 1),
		 LDX(BPF_DW, 0, 10, -16), EXIT())},
	{"variable stack offset makes a saved pointer unreadable", "not initialised",
	 PROGRAM(STX(BPF_DW, 10, -16, 1), ALU64_K(BPF_AND, 2, 8), ALU64_X(BPF_ADD, 2, 10),
		 ST(BPF_DW, 2, -16, 1), LDX(BPF_DW, 0, 10, -16), EXIT())},

	{"memory", NULL, PROGRAM(LDX(BPF_DW, 0, 1, 8), STX(BPF_DW, 1, 0, 0), EXIT()), DPCAP_VM_MEMORY, 16},
	{"memory, end", "memory access at 9..16 is not within its 16 bytes",
	 PROGRAM(LDX(BPF_DW, 0, 1, 9), EXIT()), DPCAP_VM_MEMORY, 16},
	{"memory, start", "memory access at -1..6", PROGRAM(LDX(BPF_DW, 0, 1, -1), EXIT()),
	 DPCAP_VM_MEMORY, 16},
	{"memory of no bytes", "is not within its 0 bytes", PROGRAM(LDX(BPF_B, 0, 1, 0), EXIT()),
	 DPCAP_VM_MEMORY, 0},
	{"a pointer stored into memory", "stored outside the stack",
	 PROGRAM(STX(BPF_DW, 1, 0, 10), MOV_K(0, 0), EXIT()), DPCAP_VM_MEMORY, 16},
	{"misaligned atomic operation", "not aligned",
	 PROGRAM(MOV_K(0, 1), ATOMIC(BPF_DW, BPF_ADD, 1, 4, 0), EXIT()), DPCAP_VM_MEMORY, 16},
	{"atomic operation", NULL,
	 PROGRAM(MOV_K(0, 1), ATOMIC(BPF_DW, BPF_ADD | BPF_FETCH, 1, 8, 0), EXIT()), DPCAP_VM_MEMORY,
	 16},

	{"table", NULL, PROGRAM(LDDW_RODATA(3, 8), LDX(BPF_DW, 0, 3, 0), EXIT()), .rodata_size = 16},
	{"table, end", "table access at 9..16", PROGRAM(LDDW_RODATA(3, 8), LDX(BPF_DW, 0, 3, 1), EXIT()),
	 .rodata_size = 16},
	{"table, store", "read-only", PROGRAM(LDDW_RODATA(3, 8), ST(BPF_B, 3, 0, 1), MOV_K(0, 0), EXIT()),
	 .rodata_size = 16},
	{"table by a hash", NULL,
	 PROGRAM(ALU64_K(BPF_MUL, 3, 0x12345), ALU32_X(BPF_MOV, 3, 3), ALU64_K(BPF_RSH, 3, 28),
		 ALU64_K(BPF_LSH, 3, 2), LDDW_RODATA(4, 0), ALU64_X(BPF_ADD, 4, 3), LDX(BPF_W, 0, 4, 0),
		 EXIT()),
	 .rodata_size = 64},
	{"table by a hash, one entry short", "table access at 0..63",
	 PROGRAM(ALU64_K(BPF_MUL, 3, 0x12345), ALU32_X(BPF_MOV, 3, 3), ALU64_K(BPF_RSH, 3, 28),
		 ALU64_K(BPF_LSH, 3, 2), LDDW_RODATA(4, 0), ALU64_X(BPF_ADD, 4, 3), LDX(BPF_W, 0, 4, 0),
		 EXIT()),
	 .rodata_size = 60},

	{"bounded loop", NULL,
	 PROGRAM(MOV_K(0, 0), ALU64_K(BPF_ADD, 0, 1), JMP_K(BPF_JLT, 0, 100, -2), EXIT())},
	{"loop bounded by an unknown number", NULL,
	 PROGRAM(MOV_K(0, 0), ALU64_K(BPF_AND, 3, 63), JMP_X(BPF_JGE, 0, 3, 2), ALU64_K(BPF_ADD, 0, 1),
		 JA(-3), EXIT())},
	{"endless loop", "not proved to end", PROGRAM(MOV_K(0, 0), JA(-1), EXIT())},
	{"endless loop to the start", "not proved to end",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JNE, 3, 5, -2), EXIT())},
	{"loop that counts the wrong way", "not proved to end",
	 PROGRAM(MOV_K(0, 5), ALU64_K(BPF_ADD, 0, 0), JMP_K(BPF_JLT, 0, 100, -2), EXIT())},
	{"loop over too many", "not proved to end within",
	 PROGRAM(MOV_K(0, 0), ALU64_K(BPF_ADD, 0, 1), JMP_K(BPF_JLT, 0, 10000000, -2), EXIT())},
	{"loop over packet bytes", NULL,
	 PROGRAM(MOV_K(0, 0), MOV_K(5, 0), JMP_X(BPF_JGE, 5, 2, 6), MOV_X(6, 1), ALU64_X(BPF_ADD, 6, 5),
		 LDX(BPF_B, 7, 6, 0), ALU64_X(BPF_ADD, 0, 7), ALU64_K(BPF_ADD, 5, 1),
		 JMP_K(BPF_JLT, 5, 100, -7), EXIT())},
	{"nested loops", NULL,
	 PROGRAM(MOV_K(0, 0), MOV_K(5, 0), ALU64_K(BPF_ADD, 0, 1), ALU64_K(BPF_ADD, 5, 1),
		 JMP_K(BPF_JLT, 5, 10, -3), JMP_K(BPF_JLT, 0, 100, -5), EXIT())},

	{"local call", NULL,
	 PROGRAM(CALL_LOCAL(1), EXIT(), MOV_K(0, 3), EXIT())},
	{"local call clobbers r1", "r1 is not initialised",
	 PROGRAM(CALL_LOCAL(2), MOV_X(0, 1), EXIT(), MOV_K(0, 3), EXIT())},
	{"local call keeps r6", NULL,
	 PROGRAM(MOV_K(6, 1), CALL_LOCAL(2), MOV_X(0, 6), EXIT(), MOV_K(0, 3), MOV_K(6, 3), EXIT())},
	{"callee does not see r6", "r6 is not initialised",
	 PROGRAM(MOV_K(6, 1), CALL_LOCAL(1), EXIT(), MOV_X(0, 6), EXIT())},
	{"no result of a local call", "r0 is not initialised",
	 PROGRAM(CALL_LOCAL(1), EXIT(), MOV_K(1, 3), EXIT())},
	{"recursion", "nested more than 8 deep", PROGRAM(CALL_LOCAL(1), EXIT(), CALL_LOCAL(-1), EXIT())},
	{"pointer to the callee's stack returned", "own stack",
	 PROGRAM(CALL_LOCAL(2), LDX(BPF_DW, 0, 0, -8), EXIT(), ST(BPF_DW, 10, -8, 1), MOV_X(0, 10),
		 EXIT())},
	{"pointer to the callee's stack saved", "outlive",
	 PROGRAM(MOV_X(1, 10), CALL_LOCAL(2), LDX(BPF_DW, 0, 10, -8), EXIT(), STX(BPF_DW, 1, -8, 10),
		 MOV_K(0, 0), EXIT())},
	{"callee writes the caller's stack", NULL,
	 PROGRAM(MOV_X(1, 10), CALL_LOCAL(2), LDX(BPF_DW, 0, 10, -8), EXIT(), ST(BPF_DW, 1, -8, 3),
		 MOV_K(0, 0), EXIT())},
	{"length checked by the callee", NULL,
	 PROGRAM(MOV_X(6, 1), CALL_LOCAL(3), JMP_K(BPF_JEQ, 0, 0, 1), LDX(BPF_B, 0, 6, 33), EXIT(),
		 MOV_K(0, 0), JMP_K(BPF_JLT, 2, 34, 1), MOV_K(0, 1), EXIT())},

	{"different kinds of value, each in order", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JEQ, 3, 0, 1), MOV_X(2, 1), ALU64_K(BPF_ADD, 2, 1), MOV_K(0, 0),
		 EXIT())},
	{"kinds of value told apart by a flag", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JLT, 2, 1, 6), MOV_K(5, 0), JMP_K(BPF_JEQ, 3, 0, 2), MOV_X(5, 1),
		 MOV_K(0, 1), JMP_K(BPF_JEQ, 0, 0, 1), LDX(BPF_B, 0, 5, 0), EXIT())},
};

/* The program ends behind its last instruction that is not 0. */
static uint32_t count_insns(const struct verify_case *test)
{
	uint32_t n = N_ELEMENTS(test->insns);

	while (n > 1 && test->insns[n - 1].opcode == 0)
		n--;
	return n;
}

static void run_case(const struct verify_case *test)
{
	static const uint8_t rodata[64];
	struct dpcap_vm_load_attr attr = {
		.insns = test->insns,
		.n_insns = count_insns(test),
		.type = test->type,
		.mem_size = test->mem_size,
		.rodata = rodata,
		.rodata_size = test->rodata_size,
	};
	struct dpcap_vm_prog *prog = NULL;
	char log[4096];
	int rc = dpcap_vm_load(&attr, &prog, log, sizeof(log));

	dpcap_vm_free(prog);
	if (getenv("VERBOSE"))
		printf("%s: %s\n", test->name, rc ? log : "accepted");
	if (rc && !test->refused) {
		fprintf(stderr, "%s: refused: %s\n", test->name, log);
		vmtest_failures++;
	} else if (test->refused && !rc) {
		fprintf(stderr, "%s: accepted\n", test->name);
		vmtest_failures++;
	} else if (test->refused && !strstr(log, test->refused)) {
		fprintf(stderr, "%s: refused for another reason: %s\n", test->name, log);
		vmtest_failures++;
	}
}

int main(void)
{
	for (size_t i = 0; i < N_ELEMENTS(packet_cases); i++)
		run_case(&packet_cases[i]);
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		run_case(&cases[i]);
	return vmtest_failures != 0;
}
