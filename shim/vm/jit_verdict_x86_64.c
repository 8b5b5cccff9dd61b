/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How most programs end: a comparison that decides between 0 and another number.
 *
 *	if r0 != 0 goto reject			cmp	rax, 1
 *	r0 = 1; exit				(carry: accept)
 *   reject:
 *	r0 = 0; exit
 *
 * Which of the two it is is seldom predictable, so it becomes no jump: the verdict is
 * brought into the carry flag, which is where a burst entry wants it, and from where
 * `sbb` makes the result of a function.
 */
#if defined(__x86_64__)
#include "jit_x86_64.h"

/* r0 = constant; exit stands at pc: the constant goes to *value. */
static bool constant_exit(const struct jit *jit, uint32_t pc, int32_t *value)
{
	const struct dpcap_insn *mov;

	if (pc + 1 >= jit->function.end)
		return false;
	mov = insn_at(jit, pc);
	if (mov[1].opcode != BPF_OPCODE_EXIT || insn_dst(mov) != 0 ||
	    (mov->opcode != (BPF_ALU64 | BPF_K | BPF_MOV) &&
	     mov->opcode != (BPF_ALU | BPF_K | BPF_MOV)))
		return false;
	*value = mov->imm;
	return true;
}

/* The condition can be had in the carry flag. */
static bool has_carry_form(const struct dpcap_insn *insn)
{
	/* The register is changed: r4 may stay for the next record, r10 is rsp or rbp. */
	if (insn_dst(insn) == 4 || insn_dst(insn) == BPF_REG_FP)
		return false;
	switch (insn_code(insn)) {
	case BPF_JEQ:
	case BPF_JNE:
	case BPF_JSET:
	case BPF_JLT:
	case BPF_JGE:
		return true;
	case BPF_JGT:
	case BPF_JLE:
		return insn_is_x(insn) || (insn->imm != -1 && insn->imm != INT32_MAX);
	case BPF_JSLT:
	case BPF_JSGE:
		return !insn_is_x(insn) && insn->imm == 0;
	default:
		return false;
	}
}

bool jit_verdict(const struct jit *jit, uint32_t pc, struct jit_verdict *verdict)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	int32_t falls, jumps;

	if (jit->prog->aux[pc].second_slot ||
	    (insn_class(insn) != BPF_JMP && insn_class(insn) != BPF_JMP32) || !has_carry_form(insn))
		return false;
	if (!fusible(jit, pc) || !fusible(jit, pc + 1) || !constant_exit(jit, pc + 1, &falls) ||
	    !constant_exit(jit, pc + 1 + (uint32_t)insn->offset, &jumps))
		return false;
	*verdict = (struct jit_verdict){.value = jumps | falls, .when = jumps != 0};
	/* Of a number above 31 bits the extension would have to be told apart. */
	return (jumps == 0) != (falls == 0) && verdict->value > 0;
}

/* dst op operand: into dst and the flags. */
static void emit_operation(struct jit *jit, const struct dpcap_insn *insn, enum x64_alu op)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (insn_is_x(insn))
		x64_alu(&jit->as, w, op, dst, src_reg(jit, insn));
	else
		x64_alu_imm(&jit->as, w, op, dst, insn->imm);
}

/* Carry: dst is zero, or is not. */
static void emit_zero_to_carry(struct jit *jit, const struct dpcap_insn *insn, bool zero)
{
	if (zero)
		x64_alu_imm(&jit->as, insn_width(insn), X_CMP, dst_reg(jit, insn), 1);
	else
		x64_unary(&jit->as, insn_width(insn), X_NEG, dst_reg(jit, insn));
}

void jit_emit_verdict(struct jit *jit, uint32_t pc, bool when)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	enum x64_width w = insn_width(insn);
	struct x64_asm *as = &jit->as;
	uint8_t dst = dst_reg(jit, insn);

	switch (insn_code(insn)) {
	case BPF_JEQ:
	case BPF_JNE:
		if (insn_is_x(insn) || insn->imm != 0)
			emit_operation(jit, insn, X_XOR);
		emit_zero_to_carry(jit, insn, (insn_code(insn) == BPF_JEQ) == when);
		return;
	case BPF_JSET:
		emit_operation(jit, insn, X_AND);
		emit_zero_to_carry(jit, insn, !when);
		return;
	case BPF_JSLT:
	case BPF_JSGE:
		/* The sign bit goes out at the top. */
		x64_alu(as, w, X_ADD, dst, dst);
		if ((insn_code(insn) == BPF_JSLT) != when)
			x64_cmc(as);
		return;
	case BPF_JLT:
	case BPF_JGE:
		emit_operation(jit, insn, X_CMP);
		if ((insn_code(insn) == BPF_JLT) != when)
			x64_cmc(as);
		return;
	default: /* JGT: not a < b + 1, or b < a */
		if (insn_is_x(insn))
			x64_alu(as, w, X_CMP, src_reg(jit, insn), dst);
		else
			x64_alu_imm(as, w, X_CMP, dst, insn->imm + 1);
		if ((insn_code(insn) == BPF_JGT) == insn_is_x(insn) ? !when : when)
			x64_cmc(as);
	}
}
#endif
