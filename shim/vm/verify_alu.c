/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic: RFC 9669 section 4.1 and 4.2, on numbers and on pointers. */
#include "verifier.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static enum scalar_op scalar_op_of(const struct dpcap_insn *insn)
{
	switch (insn_code(insn)) {
	case BPF_ADD:
		return SCALAR_ADD;
	case BPF_SUB:
		return SCALAR_SUB;
	case BPF_MUL:
		return SCALAR_MUL;
	case BPF_DIV:
		return insn->offset ? SCALAR_SDIV : SCALAR_DIV;
	case BPF_OR:
		return SCALAR_OR;
	case BPF_AND:
		return SCALAR_AND;
	case BPF_LSH:
		return SCALAR_LSH;
	case BPF_RSH:
		return SCALAR_RSH;
	case BPF_MOD:
		return insn->offset ? SCALAR_SMOD : SCALAR_MOD;
	case BPF_XOR:
		return SCALAR_XOR;
	default:
		return SCALAR_ARSH;
	}
}

/* The low n bits. What does not change keeps its origin. */
static struct reg reg_zext(struct verifier *v, const struct reg *a, unsigned int n)
{
	if (a->value.word.umax <= low_bits(n))
		return *a;
	return new_number(v, scalar_zext(&a->value, n));
}

static struct reg reg_sext(struct verifier *v, const struct reg *a, unsigned int n)
{
	struct range full = range_full(n);

	if (a->value.word.smin >= full.smin && a->value.word.smax <= full.smax)
		return *a;
	return new_number(v, scalar_sext(&a->value, n));
}

/* The exact a + b or a - b fits in a signed word: nothing wraps. */
static bool is_exact(enum scalar_op op, const struct range *a, const struct range *b)
{
	int64_t unused;

	if (op == SCALAR_ADD)
		return !__builtin_add_overflow(a->smin, b->smin, &unused) &&
		       !__builtin_add_overflow(a->smax, b->smax, &unused);
	return !__builtin_sub_overflow(a->smin, b->smax, &unused) &&
	       !__builtin_sub_overflow(a->smax, b->smin, &unused);
}

/*
 * x & mask, where mask is -1 if x + e < L and otherwise 0: a load offset clamped
 * by the length without a branch. The result is x, with x + e + 1 <= L, or 0.
 */
static bool clamp(struct verifier *v, struct state *state, const struct reg *x,
		  const struct reg *mask, struct reg *out)
{
	struct form e;
	int64_t bound;

	if (mask->made != MADE_SIGN_MASK || !form_sub(mask->made_of, x->form, &e) || e.sign || e.len != -1)
		return false;
	bound = MAX(e.delta + 1, state_room(state, x));
	*out = new_number(v, scalar_alu(SCALAR_AND, &x->value, &mask->value));
	if (form_is_const(out->form))
		return true;
	/* x <= L - bound */
	out->value.word.smax = MIN(out->value.word.smax, MAX(0, state->len.word.smax - bound));
	out->value = scalar_synced(out->value);
	state_add_fact(state, &out->form.symbols, MIN(bound, state->len.word.smin));
	return true;
}

/* Steps of idioms: x s>> 63, ~(x s>> 63), and x << 32 before >> 32, by which
 * compilers cut and extend numbers of 32 bits. */
static void note_made(enum scalar_op op, const struct reg *a, uint64_t b, struct reg *out)
{
	const struct range *word = &a->value.word;
	unsigned int shift = b & 63;

	if (op == SCALAR_ARSH && shift == 63) {
		out->made = MADE_SIGN_MASK;
		out->made_of = a->form;
	} else if (op == SCALAR_LSH && shift && word->smin >= 0 && word->smax >> (63 - shift) == 0) {
		out->made = MADE_SHIFTED;
		out->shift = (uint8_t)shift;
		out->made_of = a->form;
	} else if ((op == SCALAR_RSH || op == SCALAR_ARSH) && a->made == MADE_SHIFTED &&
		   a->shift == shift) {
		out->form = a->made_of;
	} else if (op == SCALAR_XOR && a->made == MADE_SIGN_MASK && b == UINT64_MAX &&
		   form_sub(form_const(-1), a->made_of, &out->made_of)) {
		/* x >= 0 is -x - 1 < 0 */
		out->made = MADE_SIGN_MASK;
	}
}

/* Every bit that b may clear is 0 in a: a & b is a. */
static bool cuts_nothing(const struct scalar *a, const struct scalar *b)
{
	return scalar_is_const(b) && !((a->bits.value | a->bits.mask) & ~b->bits.value);
}

/* No bit can be 1 in both, so that nothing carries: a | b and a ^ b are a + b. Compilers
 * write `x | 1` for x + 1 where x is even. */
static bool is_disjoint(const struct scalar *a, const struct scalar *b)
{
	return !((a->bits.value | a->bits.mask) & (b->bits.value | b->bits.mask));
}

/* The sum that a op b is, in integers. False: it is none. */
static bool sum_of_forms(enum scalar_op op, const struct reg *a, const struct reg *b, struct form *form)
{
	if ((op == SCALAR_OR || op == SCALAR_XOR) && is_disjoint(&a->value, &b->value))
		op = SCALAR_ADD;
	if ((op != SCALAR_ADD && op != SCALAR_SUB) || !is_exact(op, &a->value.word, &b->value.word))
		return false;
	return op == SCALAR_ADD ? form_add(a->form, b->form, form) : form_sub(a->form, b->form, form);
}

/* a op b on numbers of 64 bits. */
static struct reg number_alu(struct verifier *v, struct state *state, enum scalar_op op,
			     const struct reg *a, const struct reg *b)
{
	struct reg out, tight;
	struct form form;

	if (op == SCALAR_AND && (clamp(v, state, a, b, &out) || clamp(v, state, b, a, &out)))
		return out;
	if (op == SCALAR_AND && cuts_nothing(&a->value, &b->value))
		return *a;
	if (op == SCALAR_AND && cuts_nothing(&b->value, &a->value))
		return *b;
	out = new_number(v, scalar_alu(op, &a->value, &b->value));
	if (form_is_const(out.form))
		return out;
	if (sum_of_forms(op, a, b, &form)) {
		tight = out;
		tight.form = form;
		if (state_tighten(state, &tight))
			out = tight;
	}
	if (scalar_is_const(&b->value) && form_in_limits(a->form))
		note_made(op, a, b->value.bits.value, &out);
	return out;
}

static struct reg number_alu32(struct verifier *v, struct state *state, enum scalar_op op,
			       const struct reg *a, const struct reg *b)
{
	struct reg x = reg_zext(v, a, 32), y = reg_zext(v, b, 32), out;

	/* Adding and masking numbers of 32 bits is the same in 64 until it wraps. */
	if (op == SCALAR_ADD || op == SCALAR_SUB || op == SCALAR_AND || op == SCALAR_OR ||
	    op == SCALAR_XOR) {
		out = number_alu(v, state, op, &x, &y);
		if (out.value.word.umax <= UINT32_MAX)
			return out;
	}
	return new_number(v, scalar_alu32(op, &a->value, &b->value));
}

static int pointer_difference(struct verifier *v, struct state *state, uint32_t pc,
			      struct reg *dst, const struct reg *src)
{
	struct reg a = *dst, b = *src;

	if (a.region != b.region || a.object != b.object)
		return refuse(v, state, pc, "pointers into different memory are subtracted");
	a.type = b.type = REG_SCALAR;
	*dst = number_alu(v, state, SCALAR_SUB, &a, &b);
	return 0;
}

/*
 * The low half of the packet's end minus that of its start. Addresses are base + offset
 * with one base, so the low half of the difference of the addresses is that of the
 * offsets, whatever wraps. (Stack of a function that has returned is not there any
 * more: the packet alone has one base at all times.)
 */
static bool half_difference(struct verifier *v, struct state *state, struct reg *dst,
			    const struct reg *src)
{
	struct reg a = *dst, b = *src;

	if ((a.type != REG_PART && a.type != REG_POINTER) ||
	    (b.type != REG_PART && b.type != REG_POINTER) || a.region != REGION_PACKET ||
	    b.region != REGION_PACKET)
		return false;
	a.type = b.type = REG_SCALAR;
	*dst = number_alu32(v, state, SCALAR_SUB, &a, &b);
	return true;
}

/* Pointers are moved by bounded numbers, subtracted from each other, no more. */
static int pointer_alu(struct verifier *v, struct state *state, uint32_t pc, struct reg *dst,
		       const struct reg *src)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	uint8_t code = insn_code(insn);
	const struct reg *pointer = reg_is_pointer(dst) ? dst : src;
	const struct reg *number = reg_is_pointer(dst) ? src : dst;
	struct reg offset, moved, out;
	const struct range *range;

	if (insn_class(insn) == BPF_ALU)
		return refuse(v, state, pc, "32-bit arithmetic on a pointer");
	if (dst->or_null || src->or_null)
		return refuse(v, state, pc, "arithmetic on a pointer that may be null");
	if (pointer->region == REGION_MAP)
		return refuse(v, state, pc, "arithmetic on a map");
	if (code == BPF_SUB && reg_is_pointer(dst) && reg_is_pointer(src))
		return pointer_difference(v, state, pc, dst, src);
	if ((code != BPF_ADD && code != BPF_SUB) || reg_is_pointer(number) ||
	    (code == BPF_SUB && !reg_is_pointer(dst)))
		return refuse(v, state, pc, "only adding a number to a pointer is allowed");
	range = &number->value.word;
	if (range->smin < -POINTER_OFFSET_LIMIT || range->smax > POINTER_OFFSET_LIMIT)
		return refuse(v, state, pc, "a pointer is moved by a number without bounds");
	offset = *pointer;
	offset.type = REG_SCALAR;
	moved = number_alu(v, state, code == BPF_ADD ? SCALAR_ADD : SCALAR_SUB, &offset, number);
	range = &moved.value.word;
	if (range->smin < -POINTER_OFFSET_LIMIT || range->smax > POINTER_OFFSET_LIMIT)
		return refuse(v, state, pc, "a pointer is moved too far from its memory");
	out = *pointer;
	out.form = moved.form;
	out.value = moved.value;
	*dst = out;
	return 0;
}

static int verify_mov(struct verifier *v, struct state *state, uint32_t pc, struct reg *dst,
		      const struct reg *src)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	bool is32 = insn_class(insn) == BPF_ALU;
	struct reg out = *src;

	if (reg_is_pointer(src)) {
		if (insn->offset)
			return refuse(v, state, pc, "a part of a pointer is copied");
		/* Compilers do this where nobody reads the result. */
		if (is32)
			out.type = REG_PART;
		*dst = out;
		return 0;
	}
	if (insn->offset)
		out = reg_sext(v, &out, (unsigned int)insn->offset);
	if (is32)
		out = reg_zext(v, &out, 32);
	*dst = out;
	return 0;
}

/* Byte order, section 4.2. This machine's order is little endian (prog.c asserts
 * it), so to-little only truncates. */
static int verify_end(struct verifier *v, struct state *state, uint32_t pc, struct reg *dst)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	unsigned int n = (unsigned int)insn->imm;

	if (reg_is_pointer(dst))
		return refuse(v, state, pc, "the bytes of a pointer are swapped");
	if (insn_class(insn) == BPF_ALU && !insn_is_x(insn))
		*dst = reg_zext(v, dst, n);
	else
		*dst = new_number(v, scalar_bswap(&dst->value, n));
	return 0;
}

int verify_alu(struct verifier *v, struct state *state, uint32_t pc)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	struct reg *dst = state_reg(state, insn_dst(insn));
	uint8_t code = insn_code(insn);
	bool is32 = insn_class(insn) == BPF_ALU;
	struct reg src, zero;
	int rc;

	if (is32 && code == BPF_SUB && insn_is_x(insn) &&
	    half_difference(v, state, dst, state_reg(state, insn_src(insn))))
		return 0;
	if (code != BPF_MOV) {
		rc = check_readable(v, state, pc, insn_dst(insn));
		if (rc)
			return rc;
	}
	if (code == BPF_END)
		return verify_end(v, state, pc, dst);
	if (code == BPF_NEG) {
		if (reg_is_pointer(dst))
			return refuse(v, state, pc, "a pointer is negated");
		zero = reg_const(0);
		*dst = is32 ? number_alu32(v, state, SCALAR_SUB, &zero, dst)
			    : number_alu(v, state, SCALAR_SUB, &zero, dst);
		return 0;
	}
	if (insn_is_x(insn)) {
		rc = check_readable(v, state, pc, insn_src(insn));
		if (rc)
			return rc;
		src = *state_reg(state, insn_src(insn));
	} else {
		src = reg_const((uint64_t)(int64_t)insn->imm);
	}
	if (code == BPF_MOV)
		return verify_mov(v, state, pc, dst, &src);
	if (reg_is_pointer(dst) || reg_is_pointer(&src))
		return pointer_alu(v, state, pc, dst, &src);
	*dst = is32 ? number_alu32(v, state, scalar_op_of(insn), dst, &src)
		    : number_alu(v, state, scalar_op_of(insn), dst, &src);
	return 0;
}
