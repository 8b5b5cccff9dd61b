/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scalars: what is known of a number. The set of values described is the
 * intersection of
 *
 *   bits   a tristate number,
 *   word   a signed and an unsigned interval of the whole 64-bit word,
 *   half   a signed and an unsigned interval of its low 32 bits.
 *
 * scalar_sync() lets each of them tighten the others. Every operation is sound:
 * the result of the concrete operation on any values described is described by
 * the abstract result. (Widths: see tnum.h.)
 */
#ifndef DPCAP_VM_SCALAR_H
#define DPCAP_VM_SCALAR_H

#include "tnum.h"

/* Both readings of one word of a given width, bounds included. */
struct range {
	uint64_t umin, umax;
	int64_t smin, smax;
};

struct scalar {
	struct tnum bits;
	struct range word;
	struct range half;
};

/* Operations of the 64-bit arithmetic instructions, RFC 9669 section 4.1. */
enum scalar_op {
	SCALAR_ADD,
	SCALAR_SUB,
	SCALAR_MUL,
	SCALAR_DIV,
	SCALAR_SDIV,
	SCALAR_MOD,
	SCALAR_SMOD,
	SCALAR_AND,
	SCALAR_OR,
	SCALAR_XOR,
	SCALAR_LSH,
	SCALAR_RSH,
	SCALAR_ARSH,
};

/* Relations that an edge of a conditional jump tells. */
enum scalar_rel {
	REL_EQ,
	REL_NE,
	REL_SET, /* a & b != 0 */
	REL_CLEAR,
	REL_ULT,
	REL_ULE,
	REL_SLT,
	REL_SLE,
	REL_UGT,
	REL_UGE,
	REL_SGT,
	REL_SGE,
};

/* Everything of n bits. */
struct range range_full(unsigned int bits);

struct scalar scalar_unknown(void);
struct scalar scalar_const(uint64_t value);
/* Between two bounds of one reading. */
struct scalar scalar_from_unsigned(uint64_t umin, uint64_t umax);
struct scalar scalar_from_signed(int64_t smin, int64_t smax);
struct scalar scalar_from_bits(struct tnum bits);

static inline bool scalar_is_const(const struct scalar *a)
{
	return tnum_is_const(a->bits);
}

/* Let the parts tighten each other. False: no value is described (the code is
 * not reachable with it). */
bool scalar_sync(struct scalar *a);

/* a tightened; anything where a describes no value, which only happens in code
 * that is not reachable without the verifier having noticed. */
struct scalar scalar_synced(struct scalar a);

/* Keep what both say. False: nothing remains. */
bool scalar_intersect(struct scalar *a, const struct scalar *b);
/* The least scalar that describes the values of both. */
struct scalar scalar_union(const struct scalar *a, const struct scalar *b);
/* Every value of b is one of a. */
bool scalar_includes(const struct scalar *a, const struct scalar *b);
bool scalar_contains(const struct scalar *a, uint64_t value);

/* a op b, 64 bits. Shift amounts are taken modulo the width; division by zero
 * gives 0, remainder by zero the dividend (RFC 9669 section 4.1). */
struct scalar scalar_alu(enum scalar_op op, const struct scalar *a, const struct scalar *b);
/* The same on the low 32 bits, the result zero-extended. */
struct scalar scalar_alu32(enum scalar_op op, const struct scalar *a, const struct scalar *b);

/* The low n bits, zero- or sign-extended. */
struct scalar scalar_zext(const struct scalar *a, unsigned int n);
struct scalar scalar_sext(const struct scalar *a, unsigned int n);
/* The low n bits with their bytes reversed, zero-extended: n = 16, 32, 64. */
struct scalar scalar_bswap(const struct scalar *a, unsigned int n);

/* The relation that holds on the other edge. */
enum scalar_rel scalar_rel_negate(enum scalar_rel rel);
/* Learn from `a rel b` being true, of the words or of their low halves. False:
 * it cannot be true. */
bool scalar_refine(enum scalar_rel rel, struct scalar *a, struct scalar *b, bool half);

#endif /* DPCAP_VM_SCALAR_H */
