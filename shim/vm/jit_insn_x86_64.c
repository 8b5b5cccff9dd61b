/* SPDX-License-Identifier: BSD-3-Clause */
/* Translating instructions one by one. */
#if defined(__x86_64__)
#include "jit_x86_64.h"

static void emit_mov(struct jit *jit, const struct dpcap_insn *insn)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (!insn_is_x(insn))
		x64_mov_imm(&jit->as, dst,
			    w == W64 ? (uint64_t)(int64_t)insn->imm : (uint32_t)insn->imm);
	else if (insn->offset != 0)
		x64_sign_extend(&jit->as, w, (uint8_t)insn->offset, dst, src_reg(jit, insn));
	else if (w == W32 || dst != src_reg(jit, insn))
		x64_mov(&jit->as, w, dst, src_reg(jit, insn));
}

static void emit_two_operands(struct jit *jit, const struct dpcap_insn *insn, enum x64_alu op)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (insn_is_x(insn)) {
		x64_alu(&jit->as, w, op, dst, src_reg(jit, insn));
	} else if (op == X_XOR && insn->imm == -1) {
		x64_unary(&jit->as, w, X_NOT, dst);
		return; /* the one that sets no flags */
	} else {
		/* A mask without sign bit clears the upper half: the short form does it too. */
		if (op == X_AND && insn->imm >= 0)
			w = W32;
		x64_alu_imm(&jit->as, w, op, dst, insn->imm);
	}
	flags_show(jit, dst, w);
}

static void emit_mul(struct jit *jit, const struct dpcap_insn *insn)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (insn_is_x(insn))
		x64_imul(&jit->as, w, dst, src_reg(jit, insn));
	else
		x64_imul_imm(&jit->as, w, dst, dst, insn->imm);
}

static void emit_shift(struct jit *jit, const struct dpcap_insn *insn, enum x64_shift op)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn), count = insn->imm & (w == W64 ? 63 : 31);

	if (insn_is_x(insn)) {
		jit_emit_shift_by_register(jit, w, op, dst, src_reg(jit, insn));
	} else if (count != 0) {
		x64_shift_imm(&jit->as, w, op, dst, count);
		flags_show(jit, dst, w);
	} else if (w == W32) {
		x64_mov(&jit->as, W32, dst, dst);
	}
}

static void emit_neg(struct jit *jit, const struct dpcap_insn *insn)
{
	x64_unary(&jit->as, insn_width(insn), X_NEG, dst_reg(jit, insn));
	flags_show(jit, dst_reg(jit, insn), insn_width(insn));
}

/* The machine is little-endian: TO_LE only cuts off. */
static void emit_end(struct jit *jit, const struct dpcap_insn *insn)
{
	bool swap = insn_class(insn) == BPF_ALU64 || insn_is_x(insn);
	uint8_t dst = dst_reg(jit, insn);

	switch (insn->imm) {
	case 16:
		if (swap)
			x64_swap16(&jit->as, dst);
		x64_zero_extend(&jit->as, 16, dst, dst);
		break;
	case 32:
		if (swap)
			x64_bswap(&jit->as, W32, dst);
		else
			x64_mov(&jit->as, W32, dst, dst);
		break;
	default:
		if (swap)
			x64_bswap(&jit->as, W64, dst);
		break;
	}
}

static void emit_alu(struct jit *jit, const struct dpcap_insn *insn)
{
	switch (insn_code(insn)) {
	case BPF_ADD:
		emit_two_operands(jit, insn, X_ADD);
		break;
	case BPF_SUB:
		emit_two_operands(jit, insn, X_SUB);
		break;
	case BPF_OR:
		emit_two_operands(jit, insn, X_OR);
		break;
	case BPF_AND:
		emit_two_operands(jit, insn, X_AND);
		break;
	case BPF_XOR:
		emit_two_operands(jit, insn, X_XOR);
		break;
	case BPF_MUL:
		emit_mul(jit, insn);
		break;
	case BPF_DIV:
	case BPF_MOD:
		jit_emit_division(jit, insn);
		break;
	case BPF_LSH:
		emit_shift(jit, insn, X_SHL);
		break;
	case BPF_RSH:
		emit_shift(jit, insn, X_SHR);
		break;
	case BPF_ARSH:
		emit_shift(jit, insn, X_SAR);
		break;
	case BPF_NEG:
		emit_neg(jit, insn);
		break;
	case BPF_END:
		emit_end(jit, insn);
		break;
	default:
		emit_mov(jit, insn);
		break;
	}
}

/* The condition under which the machine jumps; unsigned and signed compares of dst with the operand. */
static enum x64_cond jump_cond(uint8_t code)
{
	switch (code) {
	case BPF_JEQ:
		return CC_E;
	case BPF_JNE:
	case BPF_JSET: /* after test */
		return CC_NE;
	case BPF_JGT:
		return CC_A;
	case BPF_JGE:
		return CC_AE;
	case BPF_JLT:
		return CC_C;
	case BPF_JLE:
		return CC_BE;
	case BPF_JSGT:
		return CC_G;
	case BPF_JSGE:
		return CC_GE;
	case BPF_JSLT:
		return CC_L;
	default:
		return CC_LE;
	}
}

/* The flags of the last instruction answer the comparison with 0. */
static bool flags_answer(const struct jit *jit, uint8_t code, uint8_t dst, enum x64_width w)
{
	if (jit->flags_reg != dst || (code != BPF_JEQ && code != BPF_JNE))
		return false;
	/* A 32-bit result has a zero upper half, but not the other way round. */
	return jit->flags_width == W32 || w == W64;
}

static void emit_compare(struct jit *jit, const struct dpcap_insn *insn)
{
	uint8_t code = insn_code(insn), dst = dst_reg(jit, insn);
	enum x64_width w = insn_width(insn);
	struct x64_asm *as = &jit->as;

	if (code == BPF_JSET) {
		if (insn_is_x(insn))
			x64_test(as, w, dst, src_reg(jit, insn));
		else
			x64_test_imm(as, w, dst, insn->imm);
	} else if (insn_is_x(insn)) {
		x64_alu(as, w, X_CMP, dst, src_reg(jit, insn));
	} else if (insn->imm != 0) {
		x64_alu_imm(as, w, X_CMP, dst, insn->imm);
	} else if (!flags_answer(jit, code, dst, w)) {
		x64_test(as, w, dst, dst);
	}
}

int jit_known_exit(const struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *mov = insn_at(jit, pc), *next = mov + 1;

	if (!jit->known_exits || pc + 1 >= jit->function.end || next->opcode != BPF_OPCODE_EXIT)
		return -1;
	if (insn_dst(mov) != 0 || (mov->opcode != (BPF_ALU64 | BPF_K | BPF_MOV) &&
				   mov->opcode != (BPF_ALU | BPF_K | BPF_MOV)))
		return -1;
	return mov->imm != 0;
}

/* Where a jump to the instruction at pc really leads. */
static uint32_t target_label(const struct jit *jit, uint32_t pc)
{
	int exit = jit_known_exit(jit, pc);

	return exit >= 0 ? jit->exit_labels[exit] : jit_label(jit, pc);
}

static void emit_jump(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	uint32_t target = pc + 1 + (uint32_t)insn->offset;

	switch (insn_code(insn)) {
	case BPF_JA:
		if (insn_class(insn) == BPF_JMP32)
			target = pc + 1 + (uint32_t)insn->imm;
		x64_jmp(&jit->as, target_label(jit, target));
		break;
	case BPF_CALL:
		jit_emit_call(jit, pc);
		break;
	case BPF_EXIT:
		jit->exit(jit);
		break;
	default:
		emit_compare(jit, insn);
		x64_jcc(&jit->as, jump_cond(insn_code(insn)), target_label(jit, target));
		break;
	}
}

/* Translate the instruction at pc; the number of slots dealt with. */
static uint32_t emit_insn(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	bool jumps = insn_class(insn) == BPF_JMP || insn_class(insn) == BPF_JMP32;
	uint32_t n;

	if (!jumps)
		jit->flags_reg = NO_REG;
	n = jit_fuse(jit, pc);
	if (n != 0)
		return n;
	switch (insn_class(insn)) {
	case BPF_LD:
		x64_mov_imm(&jit->as, dst_reg(jit, insn), dpcap_vm_lddw_value(jit->prog, insn));
		return 2;
	case BPF_ST:
		x64_store_imm(&jit->as, (uint8_t)insn_mem_size(insn),
			      x64_at(dst_reg(jit, insn), insn->offset), insn->imm);
		return 1;
	case BPF_STX:
		if (insn_mode(insn) == BPF_ATOMIC)
			jit_emit_atomic(jit, insn);
		else
			x64_store(&jit->as, (uint8_t)insn_mem_size(insn),
				  x64_at(dst_reg(jit, insn), insn->offset), src_reg(jit, insn));
		return 1;
	case BPF_ALU:
	case BPF_ALU64:
		emit_alu(jit, insn);
		return 1;
	default:
		emit_jump(jit, pc);
		jit->flags_reg = NO_REG;
		return 1;
	}
}

void jit_emit_body(struct jit *jit, uint32_t pc, uint32_t end)
{
	jit->flags_reg = NO_REG;
	while (pc < end && x64_reserve(&jit->as)) {
		if (jit->prog->aux[pc].jump_target) {
			x64_place(&jit->as, jit_label(jit, pc));
			jit->flags_reg = NO_REG;
		}
		pc += emit_insn(jit, pc);
	}
}
#endif
