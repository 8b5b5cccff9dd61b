/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A buffer of x86-64 machine code with labels. Jumps take no room in it until the
 * code is laid out: then each gets the shortest form that reaches its target.
 */
#ifndef DPCAP_VM_ASM_X86_64_H
#define DPCAP_VM_ASM_X86_64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Conditions, as in the low four bits of jcc's opcode. */
enum x64_cond {
	CC_C = 0x2, /* below, unsigned <: the carry flag */
	CC_AE = 0x3,
	CC_E = 0x4,
	CC_NE = 0x5,
	CC_BE = 0x6,
	CC_A = 0x7,
	CC_S = 0x8, /* negative */
	CC_NS = 0x9,
	CC_L = 0xc, /* signed < */
	CC_GE = 0xd,
	CC_LE = 0xe,
	CC_G = 0xf,
};

enum x64_jump_kind {
	JUMP_ALWAYS,
	JUMP_COND,
	JUMP_CALL,
	JUMP_ALIGN, /* no jump: padding up to a multiple of 16 bytes */
};

struct x64_jump {
	uint32_t at; /* offset in the buffer */
	uint32_t label;
	uint8_t kind;
	uint8_t cond;
	uint8_t size; /* bytes, when laid out */
};

struct x64_label {
	uint32_t at;	  /* offset in the buffer */
	uint32_t n_jumps; /* jumps in front of it */
};

struct x64_asm {
	uint8_t *code;
	uint32_t used;
	uint32_t size;
	struct x64_jump *jumps;
	uint32_t n_jumps;
	uint32_t max_jumps;
	struct x64_label *labels;
	uint32_t n_labels;
	uint32_t max_labels;
	uint32_t *offsets; /* of every jump in the laid out code, and of its end */
	bool no_memory;
};

/* Bytes that may be written after x64_reserve() without another look. */
#define X64_RESERVE 256

/* Start with n labels, numbered from 0. */
void x64_start(struct x64_asm *as, uint32_t n_labels);
void x64_end(struct x64_asm *as);

/* Make room for X64_RESERVE bytes and some jumps; false: no memory. */
bool x64_reserve(struct x64_asm *as);

/* More labels; the number of the first. */
uint32_t x64_new_labels(struct x64_asm *as, uint32_t n);
static inline uint32_t x64_new_label(struct x64_asm *as)
{
	return x64_new_labels(as, 1);
}

/* The label stands here. */
void x64_place(struct x64_asm *as, uint32_t label);

/* Some jump leads to the label. */
bool x64_label_used(const struct x64_asm *as, uint32_t label);

/* jmp label */
void x64_jmp(struct x64_asm *as, uint32_t label);
/* jcc label */
void x64_jcc(struct x64_asm *as, enum x64_cond cond, uint32_t label);
/* call label */
void x64_call_label(struct x64_asm *as, uint32_t label);
/* Let what follows start at a multiple of 16 bytes. */
void x64_align(struct x64_asm *as);

/* Choose the size of every jump. Returns the size of the code, 0: no memory. */
uint32_t x64_layout(struct x64_asm *as);
/* Write the code laid out. */
void x64_write(const struct x64_asm *as, uint8_t *code);
/* Where a label ended up. */
uint32_t x64_label_offset(const struct x64_asm *as, uint32_t label);

#endif /* DPCAP_VM_ASM_X86_64_H */
