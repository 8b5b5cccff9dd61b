/* SPDX-License-Identifier: BSD-3-Clause */
/* Instructions of eBPF that take more than a few of the machine. */
#if defined(__x86_64__)
#include <stddef.h>

#include "jit_x86_64.h"

static enum x64_width alu_width(const struct dpcap_insn *insn)
{
	return insn_class(insn) == BPF_ALU64 ? W64 : W32;
}

/* dst = dst / divisor or dst % divisor; the divisor is neither 0 nor, if signed, -1. */
static void emit_divide(struct jit *jit, enum x64_width w, bool is_signed, bool modulo, uint8_t dst,
			uint8_t divisor)
{
	struct x64_asm *as = &jit->as;

	if (dst != RAX) {
		x64_mov(as, W64, TEMP2, RAX);
		x64_mov(as, W64, RAX, dst);
	}
	if (dst != RDX)
		x64_mov(as, W64, TEMP3, RDX);
	if (is_signed) {
		x64_cqo(as, w);
		x64_unary(as, w, X_IDIV, divisor);
	} else {
		x64_alu(as, W32, X_XOR, RDX, RDX);
		x64_unary(as, w, X_DIV, divisor);
	}
	if (dst != (modulo ? RDX : RAX))
		x64_mov(as, W64, dst, modulo ? RDX : RAX);
	if (dst != RAX)
		x64_mov(as, W64, RAX, TEMP2);
	if (dst != RDX)
		x64_mov(as, W64, RDX, TEMP3);
}

/* By zero the quotient is 0 and the remainder the dividend (RFC 9669 section 4.1). */
static void emit_by_zero(struct jit *jit, enum x64_width w, bool modulo, uint8_t dst)
{
	if (!modulo)
		x64_alu(&jit->as, W32, X_XOR, dst, dst);
	else if (w == W32)
		x64_mov(&jit->as, W32, dst, dst);
}

/* By -1 the quotient is the negative, INT_MIN its own, and the remainder 0: idiv would trap. */
static void emit_by_minus_one(struct jit *jit, enum x64_width w, bool modulo, uint8_t dst)
{
	if (modulo)
		x64_alu(&jit->as, W32, X_XOR, dst, dst);
	else
		x64_unary(&jit->as, w, X_NEG, dst);
}

static void emit_divide_imm(struct jit *jit, const struct dpcap_insn *insn)
{
	bool modulo = insn_code(insn) == BPF_MOD, is_signed = insn->offset == 1;
	enum x64_width w = alu_width(insn);
	uint8_t dst = jit->reg[insn_dst(insn)];

	if (insn->imm == 0) {
		emit_by_zero(jit, w, modulo, dst);
	} else if (is_signed && insn->imm == -1) {
		emit_by_minus_one(jit, w, modulo, dst);
	} else if (!is_signed && insn->imm > 0 && (insn->imm & (insn->imm - 1)) == 0) {
		if (modulo)
			x64_alu_imm(&jit->as, W32, X_AND, dst, insn->imm - 1);
		else if (insn->imm == 1)
			x64_mov(&jit->as, w, dst, dst);
		else
			x64_shift_imm(&jit->as, w, X_SHR, dst, (uint8_t)__builtin_ctz((unsigned)insn->imm));
	} else {
		x64_mov_imm(&jit->as, TEMP, (uint64_t)(int64_t)insn->imm);
		emit_divide(jit, w, is_signed, modulo, dst, TEMP);
	}
}

void jit_emit_division(struct jit *jit, const struct dpcap_insn *insn)
{
	bool modulo = insn_code(insn) == BPF_MOD, is_signed = insn->offset == 1;
	enum x64_width w = alu_width(insn);
	uint8_t dst = jit->reg[insn_dst(insn)];
	struct x64_asm *as = &jit->as;
	uint32_t zero, minus_one, end;

	if (!insn_is_x(insn)) {
		emit_divide_imm(jit, insn);
		return;
	}
	zero = x64_new_labels(as, 3);
	minus_one = zero + 1;
	end = zero + 2;
	x64_mov(as, W64, TEMP, jit->reg[insn_src(insn)]);
	x64_test(as, w, TEMP, TEMP);
	x64_jcc(as, CC_E, zero);
	if (is_signed) {
		x64_alu_imm(as, w, X_CMP, TEMP, -1);
		x64_jcc(as, CC_E, minus_one);
	}
	emit_divide(jit, w, is_signed, modulo, dst, TEMP);
	x64_jmp(as, end);
	if (is_signed) {
		x64_place(as, minus_one);
		emit_by_minus_one(jit, w, modulo, dst);
		x64_jmp(as, end);
	}
	x64_place(as, zero);
	emit_by_zero(jit, w, modulo, dst);
	x64_place(as, end);
}

/* The count is taken modulo the width, by eBPF and by the machine. */
void jit_emit_shift_by_register(struct jit *jit, enum x64_width w, enum x64_shift op, uint8_t dst,
				uint8_t count)
{
	struct x64_asm *as = &jit->as;

	if (jit->cpu & DPCAP_VM_CPU_BMI2) {
		x64_shiftx(as, w, op, dst, dst, count);
	} else if (count == RCX) {
		x64_shift_cl(as, w, op, dst);
	} else if (dst == RCX) {
		x64_mov(as, W64, TEMP, RCX);
		x64_mov(as, W32, RCX, count);
		x64_shift_cl(as, w, op, TEMP);
		x64_mov(as, W64, RCX, TEMP);
	} else {
		x64_mov(as, W64, TEMP, RCX);
		x64_mov(as, W32, RCX, count);
		x64_shift_cl(as, w, op, dst);
		x64_mov(as, W64, RCX, TEMP);
	}
}

static enum x64_alu atomic_alu(int32_t imm)
{
	switch (imm & ~BPF_FETCH) {
	case BPF_ADD:
		return X_ADD;
	case BPF_OR:
		return X_OR;
	case BPF_AND:
		return X_AND;
	default:
		return X_XOR;
	}
}

/*
 * src = old value; the machine fetches with add alone, for the rest:
 *
 *	mov rax, [mem]
 *   again:
 *	mov temp3, rax
 *	op temp3, src
 *	lock cmpxchg [mem], temp3
 *	jne again
 */
static void emit_fetch_loop(struct jit *jit, enum x64_width w, enum x64_alu op, struct x64_mem mem,
			    uint8_t src)
{
	struct x64_asm *as = &jit->as;
	uint32_t again = x64_new_label(as);

	x64_mov(as, W64, TEMP2, RAX);
	x64_mov(as, W64, TEMP, mem.base);
	mem.base = TEMP;
	x64_load(as, w == W64 ? 8 : 4, RAX, mem);
	x64_place(as, again);
	x64_mov(as, W64, TEMP3, RAX);
	x64_alu(as, w, op, TEMP3, src == RAX ? TEMP2 : src);
	x64_lock_cmpxchg(as, w, mem, TEMP3);
	x64_jcc(as, CC_NE, again);
	if (src != RAX) {
		x64_mov(as, W64, src, RAX);
		x64_mov(as, W64, RAX, TEMP2);
	}
}

void jit_emit_atomic(struct jit *jit, const struct dpcap_insn *insn)
{
	enum x64_width w = insn_mem_size(insn) == 8 ? W64 : W32;
	struct x64_mem mem = x64_at(jit->reg[insn_dst(insn)], insn->offset);
	uint8_t src = jit->reg[insn_src(insn)];
	struct x64_asm *as = &jit->as;

	switch (insn->imm) {
	case BPF_ATOMIC_XCHG:
		x64_xchg(as, w, mem, src);
		break;
	case BPF_ATOMIC_CMPXCHG:
		x64_lock_cmpxchg(as, w, mem, src);
		/* Where it succeeds, the machine leaves the upper half of rax alone. */
		if (w == W32)
			x64_mov(as, W32, RAX, RAX);
		break;
	case BPF_ADD | BPF_FETCH:
		x64_lock_xadd(as, w, mem, src);
		break;
	case BPF_OR | BPF_FETCH:
	case BPF_AND | BPF_FETCH:
	case BPF_XOR | BPF_FETCH:
		emit_fetch_loop(jit, w, atomic_alu(insn->imm), mem, src);
		break;
	default:
		x64_lock_alu(as, w, atomic_alu(insn->imm), mem, src);
		break;
	}
}

/* The helper's number is known only now: ask for its function, keeping the arguments. */
static void emit_callx(struct jit *jit, uint8_t id)
{
	static const uint8_t args[] = {RDI, RSI, RDX, RCX, R8, R9}; /* an even number: alignment */
	struct x64_asm *as = &jit->as;
	size_t i;

	x64_mov(as, W64, TEMP, id);
	for (i = 0; i < sizeof(args); i++)
		x64_push(as, args[i]);
	x64_mov(as, W64, RSI, TEMP);
	x64_mov_imm(as, RDI, (uintptr_t)jit->prog);
	x64_mov_imm(as, RAX, (uintptr_t)dpcap_vm_find_helper);
	x64_call_reg(as, RAX);
	for (i = sizeof(args); i > 0; i--)
		x64_pop(as, args[i - 1]);
	x64_call_mem(as, x64_at(RAX, offsetof(struct dpcap_vm_helper, function)));
}

void jit_emit_call(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = &jit->prog->insns[pc];
	const struct dpcap_vm_helper *helper;

	if (insn->opcode == BPF_OPCODE_CALLX) {
		emit_callx(jit, jit->reg[insn_dst(insn)]);
	} else if (insn_src(insn) == BPF_CALL_LOCAL) {
		x64_call_label(&jit->as, jit_entry_label(jit, pc + 1 + (uint32_t)insn->imm));
	} else {
		helper = dpcap_vm_find_helper(jit->prog, (uint32_t)insn->imm);
		x64_mov_imm(&jit->as, RAX, (uintptr_t)helper->function);
		x64_call_reg(&jit->as, RAX);
	}
}
#endif
