/* SPDX-License-Identifier: BSD-3-Clause */
#include "tnum.h"

/* value and mask brought back into the word, an unknown bit's value to 0. */
static struct tnum tnum_make(uint64_t value, uint64_t mask)
{
	return (struct tnum){value & ~mask & DPCAP_VM_WORD_MASK, mask & DPCAP_VM_WORD_MASK};
}

struct tnum tnum_range(uint64_t lo, uint64_t hi)
{
	uint64_t differ = lo ^ hi;

	if (differ == 0)
		return tnum_const(lo);
	return tnum_make(lo, low_bits(64 - (unsigned int)__builtin_clzll(differ)));
}

struct tnum tnum_add(struct tnum a, struct tnum b)
{
	uint64_t value = a.value + b.value;
	/* The sum with every unknown bit set: where it differs, a carry may. */
	uint64_t all = value + a.mask + b.mask;

	return tnum_make(value, (all ^ value) | a.mask | b.mask);
}

struct tnum tnum_sub(struct tnum a, struct tnum b)
{
	uint64_t value = a.value - b.value;
	uint64_t most = value + a.mask;
	uint64_t least = value - b.mask;

	return tnum_make(value, (most ^ least) | a.mask | b.mask);
}

struct tnum tnum_mul(struct tnum a, struct tnum b)
{
	/* Long multiplication; the known part is one product, the unknown
	 * partial products are summed as masks. */
	struct tnum known = tnum_const(a.value * b.value);
	struct tnum sum = tnum_const(0);

	for (unsigned int i = 0; i < DPCAP_VM_BITS; i++) {
		if (!((a.value | a.mask) >> i))
			break;
		if (a.value >> i & 1)
			sum = tnum_add(sum, tnum_make(0, b.mask << i));
		else if (a.mask >> i & 1)
			sum = tnum_add(sum, tnum_make(0, (b.value | b.mask) << i));
	}
	return tnum_add(known, sum);
}

struct tnum tnum_and(struct tnum a, struct tnum b)
{
	uint64_t value = a.value & b.value;
	uint64_t possible = (a.value | a.mask) & (b.value | b.mask);

	return tnum_make(value, possible & ~value);
}

struct tnum tnum_or(struct tnum a, struct tnum b)
{
	uint64_t value = a.value | b.value;

	return tnum_make(value, (a.mask | b.mask) & ~value);
}

struct tnum tnum_xor(struct tnum a, struct tnum b)
{
	return tnum_make(a.value ^ b.value, a.mask | b.mask);
}

struct tnum tnum_lsh(struct tnum a, unsigned int shift)
{
	return tnum_make(a.value << shift, a.mask << shift);
}

struct tnum tnum_rsh(struct tnum a, unsigned int shift)
{
	return tnum_make(a.value >> shift, a.mask >> shift);
}

struct tnum tnum_arsh(struct tnum a, unsigned int shift)
{
	/* An unknown sign is copied as unknown bits. */
	return tnum_make((uint64_t)(sign_extend(a.value, DPCAP_VM_BITS) >> shift),
			 (uint64_t)(sign_extend(a.mask, DPCAP_VM_BITS) >> shift));
}

struct tnum tnum_zext(struct tnum a, unsigned int n)
{
	return tnum_make(a.value & low_bits(n), a.mask & low_bits(n));
}

struct tnum tnum_sext(struct tnum a, unsigned int n)
{
	return tnum_make((uint64_t)sign_extend(a.value, n), (uint64_t)sign_extend(a.mask, n));
}

bool tnum_intersect(struct tnum a, struct tnum b, struct tnum *out)
{
	if ((a.value ^ b.value) & ~a.mask & ~b.mask)
		return false;
	*out = tnum_make(a.value | b.value, a.mask & b.mask);
	return true;
}

struct tnum tnum_union(struct tnum a, struct tnum b)
{
	return tnum_make(a.value, a.mask | b.mask | (a.value ^ b.value));
}
