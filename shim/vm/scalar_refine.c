/* SPDX-License-Identifier: BSD-3-Clause */
/* What an edge of a conditional jump tells of its operands. */
#include "scalar.h"

#define W DPCAP_VM_BITS
#define H DPCAP_VM_HALF_BITS

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

enum scalar_rel scalar_rel_negate(enum scalar_rel rel)
{
	static const enum scalar_rel negated[] = {
		[REL_EQ] = REL_NE,   [REL_NE] = REL_EQ,	  [REL_SET] = REL_CLEAR, [REL_CLEAR] = REL_SET,
		[REL_ULT] = REL_UGE, [REL_ULE] = REL_UGT, [REL_SLT] = REL_SGE,	 [REL_SLE] = REL_SGT,
		[REL_UGT] = REL_ULE, [REL_UGE] = REL_ULT, [REL_SGT] = REL_SLE,	 [REL_SGE] = REL_SLT,
	};

	return negated[rel];
}

/* a < b, or a <= b with slack 0. */
static bool refine_unsigned(struct range *a, struct range *b, uint64_t slack)
{
	if (b->umax < slack || a->umin > UINT64_MAX - slack)
		return false;
	a->umax = MIN(a->umax, b->umax - slack);
	b->umin = MAX(b->umin, a->umin + slack);
	return true;
}

static bool refine_signed(struct range *a, struct range *b, int64_t slack)
{
	if (b->smax < INT64_MIN + slack || a->smin > INT64_MAX - slack)
		return false;
	a->smax = MIN(a->smax, b->smax - slack);
	b->smin = MAX(b->smin, a->smin + slack);
	return true;
}

static bool refine_equal(struct scalar *a, struct scalar *b, bool half)
{
	struct scalar low;

	if (!half)
		return scalar_intersect(a, b) && scalar_intersect(b, a);
	/* Only the low halves are equal. */
	low = scalar_unknown();
	low.half = b->half;
	low.bits.value = b->bits.value & low_bits(H);
	low.bits.mask = b->bits.mask | (low_bits(W) & ~low_bits(H));
	if (!scalar_intersect(a, &low))
		return false;
	low.half = a->half;
	low.bits.value = a->bits.value & low_bits(H);
	low.bits.mask = a->bits.mask | (low_bits(W) & ~low_bits(H));
	return scalar_intersect(b, &low);
}

/* r is not the value c: only an end of an interval can be cut. */
static bool range_exclude(struct range *r, uint64_t c, unsigned int n)
{
	int64_t s = sign_extend(c, n);

	if ((r->umin == c && r->umax == c) || (r->smin == s && r->smax == s))
		return false;
	if (r->umin == c)
		r->umin++;
	else if (r->umax == c)
		r->umax--;
	if (r->smin == s)
		r->smin++;
	else if (r->smax == s)
		r->smax--;
	return true;
}

static bool refine_not_equal(struct scalar *a, struct scalar *b, bool half)
{
	unsigned int n = half ? H : W;
	struct range *ra = half ? &a->half : &a->word, *rb = half ? &b->half : &b->word;

	if (rb->umin == rb->umax && !range_exclude(ra, rb->umin, n))
		return false;
	if (ra->umin == ra->umax && !range_exclude(rb, ra->umin, n))
		return false;
	return true;
}

/* a & b == 0: where b has a one, a has a zero. */
static bool clear_bits(struct scalar *a, const struct scalar *b, uint64_t width)
{
	uint64_t ones = b->bits.value & width;

	if (a->bits.value & ones)
		return false;
	a->bits.mask &= ~ones;
	return true;
}

/* a & b != 0: some bit is one in both. */
static bool set_bits(struct scalar *a, const struct scalar *b, uint64_t width)
{
	uint64_t common = (a->bits.value | a->bits.mask) & (b->bits.value | b->bits.mask) & width;

	if (!common)
		return false;
	if (!(common & (common - 1))) {
		a->bits.value |= common;
		a->bits.mask &= ~common;
	}
	return true;
}

bool scalar_refine(enum scalar_rel rel, struct scalar *a, struct scalar *b, bool half)
{
	struct range *ra = half ? &a->half : &a->word, *rb = half ? &b->half : &b->word;
	const uint64_t width = low_bits(half ? H : W);
	bool possible = false;

	switch (rel) {
	case REL_EQ:
		return refine_equal(a, b, half);
	case REL_NE:
		possible = refine_not_equal(a, b, half);
		break;
	case REL_SET:
		possible = set_bits(a, b, width) && set_bits(b, a, width);
		break;
	case REL_CLEAR:
		possible = clear_bits(a, b, width) && clear_bits(b, a, width);
		break;
	case REL_ULT:
	case REL_ULE:
		possible = refine_unsigned(ra, rb, rel == REL_ULT);
		break;
	case REL_UGT:
	case REL_UGE:
		possible = refine_unsigned(rb, ra, rel == REL_UGT);
		break;
	case REL_SLT:
	case REL_SLE:
		possible = refine_signed(ra, rb, rel == REL_SLT);
		break;
	case REL_SGT:
	case REL_SGE:
		possible = refine_signed(rb, ra, rel == REL_SGT);
		break;
	}
	return possible && scalar_sync(a) && scalar_sync(b);
}
