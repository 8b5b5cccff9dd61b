/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scalars through the arithmetic instructions.
 *
 * Interval ends are computed exactly, in 128 bits. If the exact results of all
 * operands fit in the word, nothing wraps and they are the new ends; if all of
 * them wrap once, the same holds shifted; otherwise the interval says nothing.
 */
#include "scalar.h"

#define W DPCAP_VM_BITS
#define H DPCAP_VM_HALF_BITS

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;

/* The interval of exact results [lo, hi], as the wrapped unsigned reading. */
static void range_set_unsigned(struct range *r, wide lo, wide hi, unsigned int n)
{
	const wide modulus = (wide)1 << n;
	wide shift = 0;

	if (lo < 0 && hi < 0)
		shift = modulus;
	else if (lo >= modulus)
		shift = -modulus;
	lo += shift;
	hi += shift;
	if (lo < 0 || hi >= modulus)
		return;
	r->umin = (uint64_t)lo;
	r->umax = (uint64_t)hi;
}

static void range_set_signed(struct range *r, wide lo, wide hi, unsigned int n)
{
	const wide modulus = (wide)1 << n, limit = modulus / 2;
	wide shift = 0;

	if (hi < -limit)
		shift = modulus;
	else if (lo >= limit)
		shift = -modulus;
	lo += shift;
	hi += shift;
	if (lo < -limit || hi >= limit)
		return;
	r->smin = (int64_t)lo;
	r->smax = (int64_t)hi;
}

static struct range range_add(const struct range *a, const struct range *b, unsigned int n)
{
	struct range r = range_full(n);

	range_set_unsigned(&r, (wide)a->umin + b->umin, (wide)a->umax + b->umax, n);
	range_set_signed(&r, (wide)a->smin + b->smin, (wide)a->smax + b->smax, n);
	return r;
}

static struct range range_sub(const struct range *a, const struct range *b, unsigned int n)
{
	struct range r = range_full(n);

	range_set_unsigned(&r, (wide)a->umin - b->umax, (wide)a->umax - b->umin, n);
	range_set_signed(&r, (wide)a->smin - b->smax, (wide)a->smax - b->smin, n);
	return r;
}

static struct range range_mul(const struct range *a, const struct range *b, unsigned int n)
{
	const wide corners[] = {
		(wide)a->smin * b->smin,
		(wide)a->smin * b->smax,
		(wide)a->smax * b->smin,
		(wide)a->smax * b->smax,
	};
	struct range r = range_full(n);
	wide lo = corners[0], hi = corners[0];

	/* An unsigned product may need all 128 bits. */
	if ((uwide)a->umax * b->umax <= low_bits(n)) {
		r.umin = a->umin * b->umin;
		r.umax = a->umax * b->umax;
	}
	for (int i = 1; i < 4; i++) {
		lo = MIN(lo, corners[i]);
		hi = MAX(hi, corners[i]);
	}
	range_set_signed(&r, lo, hi, n);
	return r;
}

/* The least k such that both operands are in [-2^k, 2^k): they are sign
 * extensions of k + 1 bits, and so is what a bitwise operation makes of them. */
static unsigned int range_sign_bits(const struct range *a, const struct range *b)
{
	uint64_t magnitude = (uint64_t)MAX(a->smax, ~a->smin) | (uint64_t)MAX(b->smax, ~b->smin);

	/* MAX(x, ~y) >= 0 as ~y >= 0 where y < 0, and x >= y >= 0 otherwise. */
	return magnitude ? 64 - (unsigned int)__builtin_clzll(magnitude) : 0;
}

static struct range range_bitwise(const struct range *a, const struct range *b, unsigned int n)
{
	struct range r = range_full(n);
	unsigned int k = range_sign_bits(a, b);

	if (k < n - 1) {
		r.smin = -(INT64_C(1) << k);
		r.smax = (INT64_C(1) << k) - 1;
	}
	return r;
}

/* mask & a where mask is all ones or all zeros: 0 or a. */
static struct range range_select(const struct range *a)
{
	return (struct range){0, a->umax, MIN(a->smin, 0), MAX(a->smax, 0)};
}

static bool range_is_mask(const struct range *r)
{
	return r->smin >= -1 && r->smax <= 0;
}

static struct range range_and(const struct range *a, const struct range *b, unsigned int n)
{
	struct range r;

	if (range_is_mask(a))
		return range_select(b);
	if (range_is_mask(b))
		return range_select(a);
	r = range_bitwise(a, b, n);
	r.umax = MIN(a->umax, b->umax);
	r.smax = MIN(r.smax, MAX(a->smax, b->smax));
	return r;
}

static struct range range_or(const struct range *a, const struct range *b, unsigned int n)
{
	struct range r = range_bitwise(a, b, n);

	r.umin = MAX(a->umin, b->umin);
	/* Setting bits makes a number larger, negative ones too. */
	r.smin = MAX(r.smin, MIN(a->smin, b->smin));
	return r;
}

/* x / 0 is 0. */
static struct range range_div(const struct range *a, const struct range *b)
{
	struct range r = range_full(W);

	r.umax = b->umax ? a->umax / MAX(b->umin, 1) : 0;
	r.umin = b->umin ? a->umin / b->umax : 0;
	return r;
}

/* x % 0 is x. */
static struct range range_mod(const struct range *a, const struct range *b)
{
	struct range r = range_full(W);

	if (b->umax == 0 || a->umax < b->umin) {
		r.umin = a->umin;
		r.umax = a->umax;
	} else {
		r.umin = 0;
		r.umax = b->umin ? MIN(a->umax, b->umax - 1) : a->umax;
	}
	return r;
}

/* Quotients by divisors [dlo, dhi], all of one sign: monotonic in both, so the
 * corners are the ends. */
static void quotient_corners(const struct range *a, int64_t dlo, int64_t dhi, wide *lo, wide *hi)
{
	const int64_t dividends[] = {a->smin, a->smax}, divisors[] = {dlo, dhi};

	if (dlo > dhi)
		return;
	for (int i = 0; i < 4; i++) {
		wide q = (wide)dividends[i / 2] / divisors[i % 2];

		*lo = MIN(*lo, q);
		*hi = MAX(*hi, q);
	}
}

static struct range range_sdiv(const struct range *a, const struct range *b)
{
	struct range r = range_full(W);
	const wide limit = (wide)1 << W;
	wide lo = limit, hi = -limit;

	if (b->smin <= 0 && b->smax >= 0)
		lo = hi = 0;
	quotient_corners(a, b->smin, MIN(b->smax, -1), &lo, &hi);
	quotient_corners(a, MAX(b->smin, 1), b->smax, &lo, &hi);
	/* The least number by -1 is the one quotient that wraps. */
	range_set_signed(&r, lo, hi, W);
	return r;
}

/* The remainder has the dividend's sign and is smaller than the divisor. */
static struct range range_smod(const struct range *a, const struct range *b)
{
	struct range r = range_full(W);

	r.smin = MIN(a->smin, 0);
	r.smax = MAX(a->smax, 0);
	if (b->smin > 0 || b->smax < 0) {
		wide most = MAX(b->smin < 0 ? -(wide)b->smin : b->smin,
				b->smax < 0 ? -(wide)b->smax : b->smax) - 1;

		r.smin = (int64_t)MAX((wide)r.smin, -most);
		r.smax = (int64_t)MIN((wide)r.smax, most);
	}
	return r;
}

/* Shift amounts between lo and hi, both below the width. */
static struct scalar scalar_lsh(const struct scalar *a, unsigned int lo, unsigned int hi)
{
	struct scalar out = scalar_unknown();

	if (lo == hi)
		out.bits = tnum_lsh(a->bits, lo);
	else
		out.bits.mask = low_bits(W) & ~low_bits(lo);
	if ((uwide)a->word.umax << hi <= low_bits(W)) {
		out.word.umin = a->word.umin << lo;
		out.word.umax = a->word.umax << hi;
	}
	range_set_signed(&out.word, (wide)a->word.smin * ((wide)1 << (a->word.smin < 0 ? hi : lo)),
			 (wide)a->word.smax * ((wide)1 << (a->word.smax < 0 ? lo : hi)), W);
	return out;
}

static struct scalar scalar_rsh(const struct scalar *a, unsigned int lo, unsigned int hi)
{
	struct scalar out = scalar_unknown();

	if (lo == hi)
		out.bits = tnum_rsh(a->bits, lo);
	out.word.umin = a->word.umin >> hi;
	out.word.umax = a->word.umax >> lo;
	return out;
}

static struct scalar scalar_arsh(const struct scalar *a, unsigned int lo, unsigned int hi)
{
	struct scalar out = scalar_unknown();

	if (lo == hi)
		out.bits = tnum_arsh(a->bits, lo);
	out.word.smin = a->word.smin >> (a->word.smin < 0 ? lo : hi);
	out.word.smax = a->word.smax >> (a->word.smax < 0 ? hi : lo);
	return out;
}

static struct scalar scalar_shift(enum scalar_op op, const struct scalar *a, const struct scalar *b)
{
	unsigned int lo = 0, hi = W - 1;

	if (b->word.umax < W) {
		lo = (unsigned int)b->word.umin;
		hi = (unsigned int)b->word.umax;
	} else if (scalar_is_const(b)) {
		lo = hi = b->bits.value & (W - 1);
	}
	switch (op) {
	case SCALAR_LSH:
		return scalar_lsh(a, lo, hi);
	case SCALAR_RSH:
		return scalar_rsh(a, lo, hi);
	default:
		return scalar_arsh(a, lo, hi);
	}
}

/* Both operands known: the machine's own answer. */
static uint64_t alu_concrete(enum scalar_op op, uint64_t a, uint64_t b)
{
	int64_t sa = sign_extend(a, W), sb = sign_extend(b, W);

	switch (op) {
	case SCALAR_DIV:
		return b ? a / b : 0;
	case SCALAR_MOD:
		return b ? a % b : a;
	case SCALAR_SDIV:
		/* -1 apart: the least number divided by it traps. */
		return sb == 0 ? 0 : sb == -1 ? -a : (uint64_t)(sa / sb);
	case SCALAR_SMOD:
		return sb == 0 ? a : sb == -1 ? 0 : (uint64_t)(sa % sb);
	default:
		__builtin_unreachable();
	}
}

static struct scalar scalar_divide(enum scalar_op op, const struct scalar *a, const struct scalar *b)
{
	struct scalar out = scalar_unknown();

	if (scalar_is_const(a) && scalar_is_const(b))
		return scalar_const(alu_concrete(op, a->bits.value, b->bits.value));
	switch (op) {
	case SCALAR_DIV:
		out.word = range_div(&a->word, &b->word);
		break;
	case SCALAR_MOD:
		out.word = range_mod(&a->word, &b->word);
		/* By a power of two it is a mask. */
		if (scalar_is_const(b) && b->bits.value && !(b->bits.value & (b->bits.value - 1)))
			out.bits = tnum_and(a->bits, tnum_const(b->bits.value - 1));
		break;
	case SCALAR_SDIV:
		out.word = range_sdiv(&a->word, &b->word);
		break;
	default:
		out.word = range_smod(&a->word, &b->word);
		break;
	}
	return out;
}

struct scalar scalar_alu(enum scalar_op op, const struct scalar *a, const struct scalar *b)
{
	struct scalar out;

	switch (op) {
	case SCALAR_ADD:
		out.bits = tnum_add(a->bits, b->bits);
		out.word = range_add(&a->word, &b->word, W);
		out.half = range_add(&a->half, &b->half, H);
		break;
	case SCALAR_SUB:
		out.bits = tnum_sub(a->bits, b->bits);
		out.word = range_sub(&a->word, &b->word, W);
		out.half = range_sub(&a->half, &b->half, H);
		break;
	case SCALAR_MUL:
		out.bits = tnum_mul(a->bits, b->bits);
		out.word = range_mul(&a->word, &b->word, W);
		out.half = range_mul(&a->half, &b->half, H);
		break;
	case SCALAR_AND:
		out.bits = tnum_and(a->bits, b->bits);
		out.word = range_and(&a->word, &b->word, W);
		out.half = range_and(&a->half, &b->half, H);
		break;
	case SCALAR_OR:
		out.bits = tnum_or(a->bits, b->bits);
		out.word = range_or(&a->word, &b->word, W);
		out.half = range_or(&a->half, &b->half, H);
		break;
	case SCALAR_XOR:
		out.bits = tnum_xor(a->bits, b->bits);
		out.word = range_bitwise(&a->word, &b->word, W);
		out.half = range_bitwise(&a->half, &b->half, H);
		break;
	case SCALAR_LSH:
	case SCALAR_RSH:
	case SCALAR_ARSH:
		out = scalar_shift(op, a, b);
		break;
	default:
		out = scalar_divide(op, a, b);
		break;
	}
	return scalar_synced(out);
}

struct scalar scalar_alu32(enum scalar_op op, const struct scalar *a, const struct scalar *b)
{
	const bool is_signed = op == SCALAR_SDIV || op == SCALAR_SMOD || op == SCALAR_ARSH;
	const bool is_shift = op == SCALAR_LSH || op == SCALAR_RSH || op == SCALAR_ARSH;
	struct scalar x = is_signed ? scalar_sext(a, H) : scalar_zext(a, H);
	struct scalar y = is_signed && !is_shift ? scalar_sext(b, H) : scalar_zext(b, H);
	struct scalar out;

	/* On extended operands the wide operation agrees in its low half. */
	if (is_shift) {
		struct scalar modulo = scalar_const(H - 1);

		y = scalar_alu(SCALAR_AND, &y, &modulo);
	}
	out = scalar_alu(op, &x, &y);
	return scalar_zext(&out, H);
}
