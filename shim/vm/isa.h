/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The instruction set: RFC 9669, "BPF Instruction Set Architecture (ISA)".
 * Names are the RFC's, with the BPF_ prefix that eBPF developers know.
 * Not part of the API.
 */
#ifndef DPCAP_VM_ISA_H
#define DPCAP_VM_ISA_H

#include <stdbool.h>
#include <stdint.h>

#include "dpcap_vm.h"

/* Section 4.1: the class is the low three bits of the opcode. */
enum {
	BPF_LD = 0x0,
	BPF_LDX = 0x1,
	BPF_ST = 0x2,
	BPF_STX = 0x3,
	BPF_ALU = 0x4, /* 32 bit */
	BPF_JMP = 0x5,
	BPF_JMP32 = 0x6,
	BPF_ALU64 = 0x7,
};

/* Sections 4.2 and 4.3: arithmetic and jumps take a register or imm. */
enum {
	BPF_K = 0x0,
	BPF_X = 0x8,
};

/* Section 4.1, table 4: arithmetic codes, the high four bits. */
enum {
	BPF_ADD = 0x00,
	BPF_SUB = 0x10,
	BPF_MUL = 0x20,
	BPF_DIV = 0x30, /* offset 1: SDIV */
	BPF_OR = 0x40,
	BPF_AND = 0x50,
	BPF_LSH = 0x60,
	BPF_RSH = 0x70,
	BPF_NEG = 0x80,
	BPF_MOD = 0x90, /* offset 1: SMOD */
	BPF_XOR = 0xa0,
	BPF_MOV = 0xb0, /* offset 8, 16, 32: MOVSX */
	BPF_ARSH = 0xc0,
	BPF_END = 0xd0, /* ALU: TO_LE (K), TO_BE (X); ALU64: unconditional swap (K) */
};

/* Section 4.3, table 6: jump codes, the high four bits. */
enum {
	BPF_JA = 0x00, /* JMP: by offset; JMP32: by imm (gotol) */
	BPF_JEQ = 0x10,
	BPF_JGT = 0x20,
	BPF_JGE = 0x30,
	BPF_JSET = 0x40,
	BPF_JNE = 0x50,
	BPF_JSGT = 0x60,
	BPF_JSGE = 0x70,
	BPF_CALL = 0x80,
	BPF_EXIT = 0x90,
	BPF_JLT = 0xa0,
	BPF_JLE = 0xb0,
	BPF_JSLT = 0xc0,
	BPF_JSLE = 0xd0,
};

/* What a call calls: the source register of BPF_CALL with imm. */
enum {
	BPF_CALL_HELPER = 0, /* helper imm */
	BPF_CALL_LOCAL = 1,  /* function at imm, relative to the next instruction */
};

/* Section 5: loads and stores, size and mode. */
enum {
	BPF_W = 0x00,
	BPF_H = 0x08,
	BPF_B = 0x10,
	BPF_DW = 0x18,
};

enum {
	BPF_IMM = 0x00,
	BPF_MEM = 0x60,
	BPF_MEMSX = 0x80,
	BPF_ATOMIC = 0xc0,
};

/* Section 5.3: the imm of an atomic operation. */
enum {
	BPF_FETCH = 0x01,
	BPF_ATOMIC_XCHG = 0xe1,
	BPF_ATOMIC_CMPXCHG = 0xf1,
};

/* Section 5.4: the source of a 64-bit immediate load. */
enum {
	BPF_LDDW_IMM = 0,
	BPF_LDDW_MAP_BY_FD = 1,
	BPF_LDDW_MAP_VALUE_BY_FD = 2,
	BPF_LDDW_VARIABLE = 3,
	BPF_LDDW_CODE = 4,
	BPF_LDDW_MAP_BY_INDEX = 5,
	BPF_LDDW_MAP_VALUE_BY_INDEX = 6, /* index 0: the program's read-only tables */
};

/* r10: the end of the stack frame, read-only. */
#define BPF_REG_FP 10
#define BPF_N_REGS 11

#define BPF_OPCODE_LDDW (BPF_LD | BPF_DW | BPF_IMM)
#define BPF_OPCODE_EXIT (BPF_JMP | BPF_EXIT)
#define BPF_OPCODE_CALL (BPF_JMP | BPF_CALL)
#define BPF_OPCODE_CALLX (BPF_JMP | BPF_CALL | BPF_X)

static inline uint8_t insn_class(const struct dpcap_insn *insn)
{
	return insn->opcode & 0x07;
}

/* The operation of an arithmetic or jump instruction. */
static inline uint8_t insn_code(const struct dpcap_insn *insn)
{
	return insn->opcode & 0xf0;
}

/* The operand is a register. */
static inline bool insn_is_x(const struct dpcap_insn *insn)
{
	return insn->opcode & BPF_X;
}

static inline uint8_t insn_mode(const struct dpcap_insn *insn)
{
	return insn->opcode & 0xe0;
}

/* Bytes that a load or a store moves. */
static inline uint32_t insn_mem_size(const struct dpcap_insn *insn)
{
	static const uint8_t bytes[] = {4, 2, 1, 8};

	return bytes[(insn->opcode >> 3) & 3];
}

static inline uint8_t insn_dst(const struct dpcap_insn *insn)
{
	return insn->regs & 0x0f;
}

static inline uint8_t insn_src(const struct dpcap_insn *insn)
{
	return insn->regs >> 4;
}

/* The value of a 64-bit immediate load, which takes two slots. */
static inline uint64_t insn_imm64(const struct dpcap_insn *insn)
{
	return (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
}

#endif /* DPCAP_VM_ISA_H */
