/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One emitter for each machine instruction that the JIT uses, with its assembly in
 * Intel syntax. Encodings: Intel SDM volume 2.
 *
 *   [66 | f3 | f0] [REX: 0100WRXB] opcode [ModRM: mod:2 reg:3 rm:3] [SIB] [disp] [imm]
 *
 * Room is made beforehand, by x64_reserve().
 */
#ifndef DPCAP_VM_EMIT_X86_64_H
#define DPCAP_VM_EMIT_X86_64_H

#include <string.h>

#include "asm_x86_64.h"

enum x64_reg {
	RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI,
	R8, R9, R10, R11, R12, R13, R14, R15,
	NO_REG = 0xff,
};

/* Width of an operation in bits; 32-bit results are zero-extended by the machine. */
enum x64_width {
	W32 = 0,
	W64 = 1,
};

/* A memory operand: [base + index * (1 << scale) + disp]. */
struct x64_mem {
	uint8_t base;
	uint8_t index; /* NO_REG: none; never RSP */
	uint8_t scale;
	int32_t disp;
};

static inline struct x64_mem x64_at(uint8_t base, int32_t disp)
{
	return (struct x64_mem){.base = base, .index = NO_REG, .disp = disp};
}

static inline struct x64_mem x64_at_index(uint8_t base, uint8_t index, uint8_t scale, int32_t disp)
{
	return (struct x64_mem){.base = base, .index = index, .scale = scale, .disp = disp};
}

/* The operations that share one pattern of encoding: opcode and /digit of the imm forms. */
enum x64_alu {
	X_ADD = 0,
	X_OR = 1,
	X_ADC = 2,
	X_SBB = 3,
	X_AND = 4,
	X_SUB = 5,
	X_XOR = 6,
	X_CMP = 7,
};

enum x64_shift {
	X_ROL = 0,
	X_SHL = 4,
	X_SHR = 5,
	X_SAR = 7,
};

/* Unary operations of opcode f7. */
enum x64_unary {
	X_NOT = 2,
	X_NEG = 3,
	X_DIV = 6,
	X_IDIV = 7,
};

static inline void x64_byte(struct x64_asm *as, uint8_t byte)
{
	as->code[as->used++] = byte;
}

static inline void x64_imm32(struct x64_asm *as, int32_t imm)
{
	memcpy(as->code + as->used, &imm, sizeof(imm));
	as->used += sizeof(imm);
}

static inline bool x64_fits8(int64_t value)
{
	return value >= INT8_MIN && value <= INT8_MAX;
}

static inline bool x64_fits32(int64_t value)
{
	return value >= INT32_MIN && value <= INT32_MAX;
}

/* REX prefix, where one is needed. force: a byte register that needs it (spl to dil). */
static inline void x64_rex(struct x64_asm *as, enum x64_width w, uint8_t reg, uint8_t index,
			   uint8_t rm, bool force)
{
	uint8_t rex = (uint8_t)(w << 3 | (reg >> 3 & 1) << 2 | (rm >> 3 & 1));

	if (index != NO_REG)
		rex |= (uint8_t)((index >> 3 & 1) << 1);
	if (rex != 0 || force)
		x64_byte(as, 0x40 | rex);
}

static inline void x64_modrm_reg(struct x64_asm *as, uint8_t reg, uint8_t rm)
{
	x64_byte(as, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

static inline void x64_modrm_mem(struct x64_asm *as, uint8_t reg, struct x64_mem mem)
{
	bool sib = mem.index != NO_REG || (mem.base & 7) == RSP;
	/* rbp and r13 as a base without a displacement would mean something else. */
	bool none = mem.disp == 0 && (mem.base & 7) != RBP;
	uint8_t mod = none ? 0 : x64_fits8(mem.disp) ? 1 : 2;

	x64_byte(as, (uint8_t)(mod << 6 | (reg & 7) << 3 | (sib ? RSP : mem.base & 7)));
	if (sib)
		x64_byte(as, (uint8_t)(mem.scale << 6 |
				       (mem.index == NO_REG ? RSP : mem.index & 7) << 3 |
				       (mem.base & 7)));
	if (mod == 1)
		x64_byte(as, (uint8_t)mem.disp);
	else if (mod == 2)
		x64_imm32(as, mem.disp);
}

/* opcode reg, rm: both registers. */
static inline void x64_op_rr(struct x64_asm *as, enum x64_width w, uint8_t opcode, uint8_t reg,
			     uint8_t rm)
{
	x64_rex(as, w, reg, NO_REG, rm, false);
	x64_byte(as, opcode);
	x64_modrm_reg(as, reg, rm);
}

/* The same with a two-byte opcode 0f xx. */
static inline void x64_op0f_rr(struct x64_asm *as, enum x64_width w, uint8_t opcode, uint8_t reg,
			       uint8_t rm, bool byte_reg)
{
	x64_rex(as, w, reg, NO_REG, rm, byte_reg && rm >= RSP);
	x64_byte(as, 0x0f);
	x64_byte(as, opcode);
	x64_modrm_reg(as, reg, rm);
}

/* opcode reg, [mem] */
static inline void x64_op_rm(struct x64_asm *as, enum x64_width w, uint8_t opcode, uint8_t reg,
			     struct x64_mem mem)
{
	x64_rex(as, w, reg, mem.index, mem.base, false);
	x64_byte(as, opcode);
	x64_modrm_mem(as, reg, mem);
}

static inline void x64_op0f_rm(struct x64_asm *as, enum x64_width w, uint8_t opcode, uint8_t reg,
			       struct x64_mem mem)
{
	x64_rex(as, w, reg, mem.index, mem.base, false);
	x64_byte(as, 0x0f);
	x64_byte(as, opcode);
	x64_modrm_mem(as, reg, mem);
}

/*
 * VEX prefix of three bytes: c4 [R X B map:5] [W vvvv L pp].
 * Our instructions are of maps 2 (0f 38), length 0.
 */
static inline void x64_vex_rr(struct x64_asm *as, enum x64_width w, uint8_t pp, uint8_t opcode,
			      uint8_t reg, uint8_t vvvv, uint8_t rm)
{
	x64_byte(as, 0xc4);
	x64_byte(as, (uint8_t)((~reg >> 3 & 1) << 7 | 1 << 6 | (~rm >> 3 & 1) << 5 | 2));
	x64_byte(as, (uint8_t)(w << 7 | (~vvvv & 15) << 3 | pp));
	x64_byte(as, opcode);
	x64_modrm_reg(as, reg, rm);
}

/* mov dst, src */
static inline void x64_mov(struct x64_asm *as, enum x64_width w, uint8_t dst, uint8_t src)
{
	x64_op_rr(as, w, 0x89, src, dst);
}

/* xor dst, dst | mov dst32, imm32 | mov dst, simm32 | mov dst, imm64: the shortest. Changes flags. */
static inline void x64_mov_imm(struct x64_asm *as, uint8_t dst, uint64_t value)
{
	if (value == 0) {
		x64_op_rr(as, W32, 0x31, dst, dst);
	} else if (value <= UINT32_MAX) {
		x64_rex(as, W32, 0, NO_REG, dst, false);
		x64_byte(as, 0xb8 | (dst & 7));
		x64_imm32(as, (int32_t)(uint32_t)value);
	} else if (x64_fits32((int64_t)value)) {
		x64_rex(as, W64, 0, NO_REG, dst, false);
		x64_byte(as, 0xc7);
		x64_modrm_reg(as, 0, dst);
		x64_imm32(as, (int32_t)value);
	} else {
		x64_rex(as, W64, 0, NO_REG, dst, false);
		x64_byte(as, 0xb8 | (dst & 7));
		memcpy(as->code + as->used, &value, sizeof(value));
		as->used += sizeof(value);
	}
}

/* add|or|adc|sbb|and|sub|xor|cmp dst, src */
static inline void x64_alu(struct x64_asm *as, enum x64_width w, enum x64_alu op, uint8_t dst,
			   uint8_t src)
{
	x64_op_rr(as, w, (uint8_t)(op << 3 | 1), src, dst);
}

/* add|or|adc|sbb|and|sub|xor|cmp dst, imm (imm8 sign-extended where it fits, the short form for eax) */
static inline void x64_alu_imm(struct x64_asm *as, enum x64_width w, enum x64_alu op, uint8_t dst,
			       int32_t imm)
{
	x64_rex(as, w, 0, NO_REG, dst, false);
	if (x64_fits8(imm)) {
		x64_byte(as, 0x83);
		x64_modrm_reg(as, op, dst);
		x64_byte(as, (uint8_t)imm);
	} else if (dst == RAX) {
		x64_byte(as, (uint8_t)(op << 3 | 5));
		x64_imm32(as, imm);
	} else {
		x64_byte(as, 0x81);
		x64_modrm_reg(as, op, dst);
		x64_imm32(as, imm);
	}
}

/* add|or|adc|sbb|and|sub|xor|cmp dst, [mem] */
static inline void x64_alu_mem(struct x64_asm *as, enum x64_width w, enum x64_alu op, uint8_t dst,
			       struct x64_mem mem)
{
	x64_op_rm(as, w, (uint8_t)(op << 3 | 3), dst, mem);
}

/* cmc */
static inline void x64_cmc(struct x64_asm *as)
{
	x64_byte(as, 0xf5);
}

/* test a, b */
static inline void x64_test(struct x64_asm *as, enum x64_width w, uint8_t a, uint8_t b)
{
	x64_op_rr(as, w, 0x85, b, a);
}

/* test a, imm32 (sign-extended) | test a8, imm8 */
static inline void x64_test_imm(struct x64_asm *as, enum x64_width w, uint8_t a, int32_t imm)
{
	if (imm >= 0 && imm <= UINT8_MAX) {
		x64_rex(as, W32, 0, NO_REG, a, a >= RSP);
		if (a == RAX) {
			x64_byte(as, 0xa8);
		} else {
			x64_byte(as, 0xf6);
			x64_modrm_reg(as, 0, a);
		}
		x64_byte(as, (uint8_t)imm);
		return;
	}
	/* Without the sign bit the upper half of the mask is zero. */
	x64_rex(as, imm < 0 ? w : W32, 0, NO_REG, a, false);
	if (a == RAX) {
		x64_byte(as, 0xa9);
	} else {
		x64_byte(as, 0xf7);
		x64_modrm_reg(as, 0, a);
	}
	x64_imm32(as, imm);
}

/* not|neg reg; div|idiv reg (of rdx:rax) */
static inline void x64_unary(struct x64_asm *as, enum x64_width w, enum x64_unary op, uint8_t reg)
{
	x64_op_rr(as, w, 0xf7, op, reg);
}

/* cdq | cqo */
static inline void x64_cqo(struct x64_asm *as, enum x64_width w)
{
	x64_rex(as, w, 0, NO_REG, 0, false);
	x64_byte(as, 0x99);
}

/* imul dst, src */
static inline void x64_imul(struct x64_asm *as, enum x64_width w, uint8_t dst, uint8_t src)
{
	x64_op0f_rr(as, w, 0xaf, dst, src, false);
}

/* imul dst, src, imm (imm8 sign-extended where it fits) */
static inline void x64_imul_imm(struct x64_asm *as, enum x64_width w, uint8_t dst, uint8_t src,
				int32_t imm)
{
	x64_op_rr(as, w, x64_fits8(imm) ? 0x6b : 0x69, dst, src);
	if (x64_fits8(imm))
		x64_byte(as, (uint8_t)imm);
	else
		x64_imm32(as, imm);
}

/* rol|shl|shr|sar dst, imm8 (by one: the short form) */
static inline void x64_shift_imm(struct x64_asm *as, enum x64_width w, enum x64_shift op,
				 uint8_t dst, uint8_t count)
{
	x64_op_rr(as, w, count == 1 ? 0xd1 : 0xc1, op, dst);
	if (count != 1)
		x64_byte(as, count);
}

/* shl|shr|sar dst, cl */
static inline void x64_shift_cl(struct x64_asm *as, enum x64_width w, enum x64_shift op,
				uint8_t dst)
{
	x64_op_rr(as, w, 0xd3, op, dst);
}

/* shlx|shrx|sarx dst, src, count (BMI2; leaves the flags alone) */
static inline void x64_shiftx(struct x64_asm *as, enum x64_width w, enum x64_shift op, uint8_t dst,
			      uint8_t src, uint8_t count)
{
	uint8_t pp = op == X_SHL ? 1 : op == X_SHR ? 3 : 2;

	x64_vex_rr(as, w, pp, 0xf7, dst, count, src);
}

/* andn dst, a, b: dst = ~a & b (BMI1) */
static inline void x64_andn(struct x64_asm *as, enum x64_width w, uint8_t dst, uint8_t a, uint8_t b)
{
	x64_vex_rr(as, w, 0, 0xf2, dst, a, b);
}

/* rol reg16, 8: swaps the two low bytes */
static inline void x64_swap16(struct x64_asm *as, uint8_t reg)
{
	x64_byte(as, 0x66);
	x64_shift_imm(as, W32, X_ROL, reg, 8);
}

/* bswap reg */
static inline void x64_bswap(struct x64_asm *as, enum x64_width w, uint8_t reg)
{
	x64_rex(as, w, 0, NO_REG, reg, false);
	x64_byte(as, 0x0f);
	x64_byte(as, 0xc8 | (reg & 7));
}

/* movzx dst32, src8 | movzx dst32, src16 | mov dst32, src32 */
static inline void x64_zero_extend(struct x64_asm *as, uint8_t bits, uint8_t dst, uint8_t src)
{
	if (bits == 32)
		x64_mov(as, W32, dst, src);
	else
		x64_op0f_rr(as, W32, bits == 8 ? 0xb6 : 0xb7, dst, src, bits == 8);
}

/* movsx dst, src8 | movsx dst, src16 | movsxd dst, src32 */
static inline void x64_sign_extend(struct x64_asm *as, enum x64_width w, uint8_t bits, uint8_t dst,
				   uint8_t src)
{
	if (bits == 32)
		x64_op_rr(as, w, 0x63, dst, src);
	else
		x64_op0f_rr(as, w, bits == 8 ? 0xbe : 0xbf, dst, src, bits == 8);
}

/* movzx dst32, byte|word [mem] | mov dst32, [mem] | mov dst, [mem] */
static inline void x64_load(struct x64_asm *as, uint8_t bytes, uint8_t dst, struct x64_mem mem)
{
	if (bytes <= 2)
		x64_op0f_rm(as, W32, bytes == 1 ? 0xb6 : 0xb7, dst, mem);
	else
		x64_op_rm(as, bytes == 8 ? W64 : W32, 0x8b, dst, mem);
}

/* movsx dst, byte|word [mem] | movsxd dst, dword [mem] */
static inline void x64_load_signed(struct x64_asm *as, uint8_t bytes, uint8_t dst,
				   struct x64_mem mem)
{
	if (bytes == 4)
		x64_op_rm(as, W64, 0x63, dst, mem);
	else
		x64_op0f_rm(as, W64, bytes == 1 ? 0xbe : 0xbf, dst, mem);
}

/* movbe dst, dword|qword [mem] */
static inline void x64_load_be(struct x64_asm *as, uint8_t bytes, uint8_t dst, struct x64_mem mem)
{
	x64_rex(as, bytes == 8 ? W64 : W32, dst, mem.index, mem.base, false);
	x64_byte(as, 0x0f);
	x64_byte(as, 0x38);
	x64_byte(as, 0xf0);
	x64_modrm_mem(as, dst, mem);
}

/* mov byte|word|dword|qword [mem], src */
static inline void x64_store(struct x64_asm *as, uint8_t bytes, struct x64_mem mem, uint8_t src)
{
	if (bytes == 2)
		x64_byte(as, 0x66);
	x64_rex(as, bytes == 8 ? W64 : W32, src, mem.index, mem.base, bytes == 1 && src >= RSP);
	x64_byte(as, bytes == 1 ? 0x88 : 0x89);
	x64_modrm_mem(as, src, mem);
}

/* mov byte|word|dword|qword [mem], imm (sign-extended) */
static inline void x64_store_imm(struct x64_asm *as, uint8_t bytes, struct x64_mem mem, int32_t imm)
{
	if (bytes == 2)
		x64_byte(as, 0x66);
	x64_rex(as, bytes == 8 ? W64 : W32, 0, mem.index, mem.base, false);
	x64_byte(as, bytes == 1 ? 0xc6 : 0xc7);
	x64_modrm_mem(as, 0, mem);
	if (bytes <= 2) {
		x64_byte(as, (uint8_t)imm);
		if (bytes == 2)
			x64_byte(as, (uint8_t)(imm >> 8));
	} else {
		x64_imm32(as, imm);
	}
}

/* lock add|or|and|xor [mem], src */
static inline void x64_lock_alu(struct x64_asm *as, enum x64_width w, enum x64_alu op,
				struct x64_mem mem, uint8_t src)
{
	x64_byte(as, 0xf0);
	x64_op_rm(as, w, (uint8_t)(op << 3 | 1), src, mem);
}

/* lock xadd [mem], src */
static inline void x64_lock_xadd(struct x64_asm *as, enum x64_width w, struct x64_mem mem,
				 uint8_t src)
{
	x64_byte(as, 0xf0);
	x64_op0f_rm(as, w, 0xc1, src, mem);
}

/* lock cmpxchg [mem], src (compares with rax) */
static inline void x64_lock_cmpxchg(struct x64_asm *as, enum x64_width w, struct x64_mem mem,
				    uint8_t src)
{
	x64_byte(as, 0xf0);
	x64_op0f_rm(as, w, 0xb1, src, mem);
}

/* xchg [mem], src (locked by itself) */
static inline void x64_xchg(struct x64_asm *as, enum x64_width w, struct x64_mem mem, uint8_t src)
{
	x64_op_rm(as, w, 0x87, src, mem);
}

/* lea dst, [mem] */
static inline void x64_lea(struct x64_asm *as, enum x64_width w, uint8_t dst, struct x64_mem mem)
{
	x64_op_rm(as, w, 0x8d, dst, mem);
}

/* prefetcht0 [mem] */
static inline void x64_prefetch(struct x64_asm *as, struct x64_mem mem)
{
	x64_op0f_rm(as, W32, 0x18, 1, mem);
}

/* push reg */
static inline void x64_push(struct x64_asm *as, uint8_t reg)
{
	x64_rex(as, W32, 0, NO_REG, reg, false);
	x64_byte(as, 0x50 | (reg & 7));
}

/* pop reg */
static inline void x64_pop(struct x64_asm *as, uint8_t reg)
{
	x64_rex(as, W32, 0, NO_REG, reg, false);
	x64_byte(as, 0x58 | (reg & 7));
}

/* call reg */
static inline void x64_call_reg(struct x64_asm *as, uint8_t reg)
{
	x64_op_rr(as, W32, 0xff, 2, reg);
}

/* call [mem] */
static inline void x64_call_mem(struct x64_asm *as, struct x64_mem mem)
{
	x64_op_rm(as, W32, 0xff, 2, mem);
}

/* leave: mov rsp, rbp; pop rbp */
static inline void x64_leave(struct x64_asm *as)
{
	x64_byte(as, 0xc9);
}

/* ret */
static inline void x64_ret(struct x64_asm *as)
{
	x64_byte(as, 0xc3);
}

#endif /* DPCAP_VM_EMIT_X86_64_H */
