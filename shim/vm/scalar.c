/* SPDX-License-Identifier: BSD-3-Clause */
/* Scalars: making, tightening, joining and casting them. */
#include "scalar.h"

#define W DPCAP_VM_BITS
#define H DPCAP_VM_HALF_BITS

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

struct range range_full(unsigned int bits)
{
	return (struct range){
		.umin = 0,
		.umax = low_bits(bits),
		.smin = sign_extend(UINT64_C(1) << (bits - 1), bits),
		.smax = (int64_t)low_bits(bits - 1),
	};
}

static struct range range_const(uint64_t value, unsigned int bits)
{
	uint64_t u = value & low_bits(bits);
	int64_t s = sign_extend(value, bits);

	return (struct range){u, u, s, s};
}

struct scalar scalar_unknown(void)
{
	return (struct scalar){tnum_unknown(), range_full(W), range_full(H)};
}

struct scalar scalar_const(uint64_t value)
{
	return (struct scalar){tnum_const(value), range_const(value, W), range_const(value, H)};
}

struct scalar scalar_from_unsigned(uint64_t umin, uint64_t umax)
{
	struct scalar a = scalar_unknown();

	a.word.umin = umin;
	a.word.umax = umax;
	return scalar_synced(a);
}

struct scalar scalar_from_signed(int64_t smin, int64_t smax)
{
	struct scalar a = scalar_unknown();

	a.word.smin = smin;
	a.word.smax = smax;
	return scalar_synced(a);
}

struct scalar scalar_from_bits(struct tnum bits)
{
	struct scalar a = scalar_unknown();

	a.bits = bits;
	return scalar_synced(a);
}

static bool range_is_empty(const struct range *r)
{
	return r->umin > r->umax || r->smin > r->smax;
}

/* Bounds that the known bits give: unknown bits all 0, all 1. */
static void range_tighten_by_bits(struct range *r, struct tnum bits, unsigned int n)
{
	uint64_t value = bits.value & low_bits(n), mask = bits.mask & low_bits(n);
	uint64_t sign = UINT64_C(1) << (n - 1);
	int64_t smin = sign_extend(value | (mask & sign), n);
	int64_t smax = sign_extend(value | (mask & ~sign), n);

	r->umin = MAX(r->umin, value);
	r->umax = MIN(r->umax, value | mask);
	r->smin = MAX(r->smin, smin);
	r->smax = MIN(r->smax, smax);
}

/* An interval that does not cross the place where one reading wraps is an
 * interval of the other reading too. */
static void range_tighten_readings(struct range *r, unsigned int n)
{
	int64_t slow = sign_extend(r->umin, n), shigh = sign_extend(r->umax, n);
	uint64_t ulow, uhigh;

	if (slow <= shigh) {
		r->smin = MAX(r->smin, slow);
		r->smax = MIN(r->smax, shigh);
	}
	ulow = (uint64_t)r->smin & low_bits(n);
	uhigh = (uint64_t)r->smax & low_bits(n);
	if (ulow <= uhigh) {
		r->umin = MAX(r->umin, ulow);
		r->umax = MIN(r->umax, uhigh);
	}
}

/* Where every value of the word has the same high half, the low halves are in
 * order. */
static void half_tighten_by_word(struct range *half, const struct range *word)
{
	if (word->umin >> H == word->umax >> H) {
		half->umin = MAX(half->umin, word->umin & low_bits(H));
		half->umax = MIN(half->umax, word->umax & low_bits(H));
	}
	if (word->smin >> H == word->smax >> H) {
		half->umin = MAX(half->umin, (uint64_t)word->smin & low_bits(H));
		half->umax = MIN(half->umax, (uint64_t)word->smax & low_bits(H));
	}
	/* The word is the sign extension of its low half. */
	if (word->smin >= range_full(H).smin && word->smax <= range_full(H).smax) {
		half->smin = MAX(half->smin, word->smin);
		half->smax = MIN(half->smax, word->smax);
	}
}

/* Move the ends of the word's intervals to the next values whose low half is
 * possible. False: there is none. */
static bool word_tighten_by_half(struct range *word, const struct range *half)
{
	const uint64_t low = low_bits(H), step = low + 1;
	const uint64_t high = low_bits(W) & ~low;
	const struct range full = range_full(W), full_half = range_full(H);
	uint64_t u;
	int64_t s;

	u = word->umin;
	if ((u & low) < half->umin) {
		u = (u & high) | half->umin;
	} else if ((u & low) > half->umax) {
		if ((u & high) == high)
			return false;
		u = ((u & high) + step) | half->umin;
	}
	word->umin = u;

	u = word->umax;
	if ((u & low) > half->umax) {
		u = (u & high) | half->umax;
	} else if ((u & low) < half->umin) {
		if ((u & high) == 0)
			return false;
		u = ((u & high) - step) | half->umax;
	}
	word->umax = u;

	s = word->smin;
	if (((uint64_t)s & low) < half->umin) {
		s = (int64_t)(((uint64_t)s & ~low) | half->umin);
	} else if (((uint64_t)s & low) > half->umax) {
		if (s > full.smax - (int64_t)step)
			return false;
		s = (int64_t)((((uint64_t)s & ~low) + step) | half->umin);
	}
	word->smin = s;

	s = word->smax;
	if (((uint64_t)s & low) > half->umax) {
		s = (int64_t)(((uint64_t)s & ~low) | half->umax);
	} else if (((uint64_t)s & low) < half->umin) {
		if (s < full.smin + (int64_t)step)
			return false;
		s = (int64_t)((((uint64_t)s & ~low) - step) | half->umax);
	}
	word->smax = s;

	if (word->smin >= full_half.smin && word->smax <= full_half.smax) {
		word->smin = MAX(word->smin, half->smin);
		word->smax = MIN(word->smax, half->smax);
	}
	return true;
}

bool scalar_sync(struct scalar *a)
{
	/* Knowledge flows in a circle; twice around is nearly always enough, and
	 * stopping early is merely less precise. */
	for (int round = 0; round < 2; round++) {
		const struct tnum before = a->bits;
		struct tnum low;

		range_tighten_by_bits(&a->word, a->bits, W);
		range_tighten_by_bits(&a->half, a->bits, H);
		range_tighten_readings(&a->word, W);
		half_tighten_by_word(&a->half, &a->word);
		range_tighten_readings(&a->half, H);
		if (range_is_empty(&a->word) || range_is_empty(&a->half))
			return false;
		if (!word_tighten_by_half(&a->word, &a->half))
			return false;
		range_tighten_readings(&a->word, W);
		if (range_is_empty(&a->word))
			return false;
		if (!tnum_intersect(a->bits, tnum_range(a->word.umin, a->word.umax), &a->bits))
			return false;
		low = tnum_range(a->half.umin, a->half.umax);
		low.mask |= low_bits(W) & ~low_bits(H);
		if (!tnum_intersect(a->bits, low, &a->bits))
			return false;
		if (a->bits.value == before.value && a->bits.mask == before.mask)
			break;
	}
	range_tighten_by_bits(&a->word, a->bits, W);
	range_tighten_by_bits(&a->half, a->bits, H);
	return !range_is_empty(&a->word) && !range_is_empty(&a->half);
}

struct scalar scalar_synced(struct scalar a)
{
	return scalar_sync(&a) ? a : scalar_unknown();
}

static void range_intersect(struct range *a, const struct range *b)
{
	a->umin = MAX(a->umin, b->umin);
	a->umax = MIN(a->umax, b->umax);
	a->smin = MAX(a->smin, b->smin);
	a->smax = MIN(a->smax, b->smax);
}

bool scalar_intersect(struct scalar *a, const struct scalar *b)
{
	if (!tnum_intersect(a->bits, b->bits, &a->bits))
		return false;
	range_intersect(&a->word, &b->word);
	range_intersect(&a->half, &b->half);
	return scalar_sync(a);
}

static struct range range_union(const struct range *a, const struct range *b)
{
	return (struct range){
		MIN(a->umin, b->umin), MAX(a->umax, b->umax),
		MIN(a->smin, b->smin), MAX(a->smax, b->smax),
	};
}

struct scalar scalar_union(const struct scalar *a, const struct scalar *b)
{
	return (struct scalar){
		tnum_union(a->bits, b->bits),
		range_union(&a->word, &b->word),
		range_union(&a->half, &b->half),
	};
}

static bool range_includes(const struct range *a, const struct range *b)
{
	return a->umin <= b->umin && a->umax >= b->umax && a->smin <= b->smin && a->smax >= b->smax;
}

bool scalar_includes(const struct scalar *a, const struct scalar *b)
{
	return range_includes(&a->word, &b->word) && range_includes(&a->half, &b->half) &&
	       tnum_includes(a->bits, b->bits);
}

static bool range_contains(const struct range *r, uint64_t value, unsigned int n)
{
	uint64_t u = value & low_bits(n);
	int64_t s = sign_extend(value, n);

	return r->umin <= u && u <= r->umax && r->smin <= s && s <= r->smax;
}

bool scalar_contains(const struct scalar *a, uint64_t value)
{
	return tnum_contains(a->bits, value & low_bits(W)) && range_contains(&a->word, value, W) &&
	       range_contains(&a->half, value, H);
}

struct scalar scalar_zext(const struct scalar *a, unsigned int n)
{
	struct scalar out;

	if (n >= W || a->word.umax <= low_bits(n))
		return *a;
	out = scalar_unknown();
	out.bits = tnum_zext(a->bits, n);
	if (n == H) {
		out.half = a->half;
		out.word.umin = a->half.umin;
		out.word.umax = a->half.umax;
	} else if (a->word.umin >> n == a->word.umax >> n) {
		out.word.umin = a->word.umin & low_bits(n);
		out.word.umax = a->word.umax & low_bits(n);
	}
	return scalar_synced(out);
}

struct scalar scalar_sext(const struct scalar *a, unsigned int n)
{
	const struct range full = range_full(n);
	struct scalar out;

	if (n >= W || (a->word.smin >= full.smin && a->word.smax <= full.smax))
		return *a;
	out = scalar_unknown();
	out.bits = tnum_sext(a->bits, n);
	out.word.smin = full.smin;
	out.word.smax = full.smax;
	if (n == H) {
		out.half = a->half;
		out.word.smin = a->half.smin;
		out.word.smax = a->half.smax;
	}
	return scalar_synced(out);
}

struct scalar scalar_bswap(const struct scalar *a, unsigned int n)
{
	unsigned int unused = 64 - n;

	return scalar_from_bits((struct tnum){
		__builtin_bswap64(a->bits.value << unused) & low_bits(n),
		__builtin_bswap64(a->bits.mask << unused) & low_bits(n),
	});
}
