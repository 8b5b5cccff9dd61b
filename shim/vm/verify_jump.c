/* SPDX-License-Identifier: BSD-3-Clause */
/* Conditional jumps: RFC 9669 section 4.3, and what each way of them tells. */
#include "verifier.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static enum scalar_rel relation(const struct dpcap_insn *insn, bool taken)
{
	static const enum scalar_rel by_code[] = {
		[BPF_JEQ >> 4] = REL_EQ,   [BPF_JGT >> 4] = REL_UGT,  [BPF_JGE >> 4] = REL_UGE,
		[BPF_JSET >> 4] = REL_SET, [BPF_JNE >> 4] = REL_NE,   [BPF_JSGT >> 4] = REL_SGT,
		[BPF_JSGE >> 4] = REL_SGE, [BPF_JLT >> 4] = REL_ULT,  [BPF_JLE >> 4] = REL_ULE,
		[BPF_JSLT >> 4] = REL_SLT, [BPF_JSLE >> 4] = REL_SLE,
	};
	enum scalar_rel rel = by_code[insn_code(insn) >> 4];

	return taken ? rel : scalar_rel_negate(rel);
}

/* Both readings of the number agree, so that an unsigned comparison, or one of
 * the low halves, compares the integers that forms are about. */
static bool is_small(const struct scalar *a, bool half)
{
	return a->word.smin >= 0 && (!half || a->word.smax <= INT32_MAX);
}

/* a rel b as a relation of the integers behind them. False: the state cannot be. */
static bool learn(struct state *state, enum scalar_rel rel, const struct reg *a, const struct reg *b)
{
	switch (rel) {
	case REL_EQ:
		return state_learn(state, a->form, b->form, 0) &&
		       state_learn(state, b->form, a->form, 0);
	case REL_ULE:
	case REL_SLE:
		return state_learn(state, a->form, b->form, 0);
	case REL_ULT:
	case REL_SLT:
		return state_learn(state, a->form, b->form, 1);
	case REL_UGE:
	case REL_SGE:
		return state_learn(state, b->form, a->form, 0);
	case REL_UGT:
	case REL_SGT:
		return state_learn(state, b->form, a->form, 1);
	default:
		return true;
	}
}

/* Whether `x rel x + distance` holds, x and x + distance being integers that do
 * not wrap. */
static bool holds_at_distance(enum scalar_rel rel, int64_t distance)
{
	switch (rel) {
	case REL_EQ:
		return distance == 0;
	case REL_NE:
		return distance != 0;
	case REL_ULT:
	case REL_SLT:
		return distance > 0;
	case REL_ULE:
	case REL_SLE:
		return distance >= 0;
	case REL_UGT:
	case REL_SGT:
		return distance < 0;
	case REL_UGE:
	case REL_SGE:
		return distance <= 0;
	default:
		return true;
	}
}

/* a and b are numbers, or offsets of pointers into the same memory; a_reg and
 * b_reg (NULL: a constant) are where they are. */
static bool refine_numbers(struct state *state, enum scalar_rel rel, struct reg *a_reg,
			   struct reg *b_reg, struct reg a, struct reg b, bool half)
{
	bool comparable, is_signed = rel == REL_SLT || rel == REL_SLE || rel == REL_SGT ||
				     rel == REL_SGE || rel == REL_EQ || rel == REL_NE;

	if (!scalar_refine(rel, &a.value, &b.value, half))
		return false;
	comparable = (is_small(&a.value, half) && is_small(&b.value, half)) || (is_signed && !half);
	if (comparable) {
		if (form_is_parallel(a.form, b.form) && form_in_limits(a.form) &&
		    form_in_limits(b.form) && !holds_at_distance(rel, b.form.delta - a.form.delta))
			return false;
		if (!learn(state, rel, &a, &b))
			return false;
	}
	a_reg->value = a.value;
	if (b_reg)
		b_reg->value = b.value;
	if (!state_propagate(state, a_reg) || (b_reg && !state_propagate(state, b_reg)))
		return false;
	/* What was just learnt may bound a difference with L. */
	return state_tighten(state, a_reg) && (!b_reg || state_tighten(state, b_reg));
}

/* Null or not: all copies of the pointer are the same. */
static void decide_null(struct state *state, const struct reg *tested, bool is_null)
{
	uint32_t id = tested->null_id;

	FOR_EACH_VALUE(state, reg, {
		if (!reg->or_null || reg->null_id != id)
			continue;
		if (is_null)
			*reg = reg_const(0);
		else
			reg->or_null = false;
	})
}

int verify_jump(struct verifier *v, struct state *state, uint32_t pc, bool taken, bool *possible)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	bool half = insn_class(insn) == BPF_JMP32, known_order;
	enum scalar_rel rel = relation(insn, taken);
	struct reg *a = state_reg(state, insn_dst(insn)), *b = NULL;
	struct reg constant = reg_const((uint64_t)(int64_t)insn->imm);
	const struct reg *other = &constant;
	int rc;

	/* Compilers test a pointer that they know as 32 bits wide (XDP's data) for null
	 * so. Nothing is learnt: both ways are walked. */
	if (half && (reg_is_pointer(a) || a->type == REG_PART) && !insn_is_x(insn) &&
	    !insn->imm && (rel == REL_EQ || rel == REL_NE)) {
		*possible = true;
		return 0;
	}
	rc = check_readable(v, state, pc, insn_dst(insn));
	if (!rc && insn_is_x(insn)) {
		rc = check_readable(v, state, pc, insn_src(insn));
		other = b = state_reg(state, insn_src(insn));
	}
	if (rc)
		return rc;
	*possible = true;
	if (reg_is_pointer(a) || reg_is_pointer(other)) {
		if (half)
			return refuse(v, state, pc, "the low half of a pointer is compared");
		if (rel == REL_SET || rel == REL_CLEAR)
			return refuse(v, state, pc, "bits of a pointer are tested");
		if (reg_is_pointer(a) && a->or_null && reg_is_scalar(other) &&
		    scalar_is_const(&other->value) && !other->value.bits.value) {
			if (rel == REL_EQ || rel == REL_NE)
				decide_null(state, a, rel == REL_EQ);
			return 0;
		}
		/* Offsets are in the order of addresses where they do not reach
		 * before the start of the memory. Otherwise nothing is learnt. */
		known_order = reg_is_pointer(a) && reg_is_pointer(other) &&
			      a->region == other->region && a->object == other->object &&
			      a->region != REGION_MAP && a->region != REGION_MAP_VALUE &&
			      a->value.word.smin >= 0 && other->value.word.smin >= 0;
		if (!known_order)
			return 0;
	}
	*possible = refine_numbers(state, rel, a, b, *a, *other, half);
	return 0;
}
