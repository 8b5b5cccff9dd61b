/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tristate numbers: what is known of a word, bit by bit.
 *
 *   mask bit 1: the bit is unknown (and its value bit is 0)
 *   mask bit 0: the bit is that of value
 *
 * So {value 0x10, mask 0x05} stands for 0x10, 0x11, 0x14 and 0x15. The
 * operations are those of Vishwanathan, Shachnai, Narayana and Nagarakatte,
 * "Sound, Precise, and Fast Abstract Interpretation with Tristate Numbers"
 * (CGO 2022).
 *
 * The width of the machine is DPCAP_VM_BITS: 64, but the tests build 4 and 8 bit
 * machines to compare every operation with the concrete one on every value.
 */
#ifndef DPCAP_VM_TNUM_H
#define DPCAP_VM_TNUM_H

#include <stdbool.h>
#include <stdint.h>

#ifndef DPCAP_VM_BITS
#define DPCAP_VM_BITS 64
#endif
/* The width of the 32-bit instructions. */
#define DPCAP_VM_HALF_BITS (DPCAP_VM_BITS / 2)

/* The n low bits set, 0 <= n <= 64. */
static inline uint64_t low_bits(unsigned int n)
{
	return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/* The low n bits of x as a signed number, 1 <= n <= 64. */
static inline int64_t sign_extend(uint64_t x, unsigned int n)
{
	return (int64_t)(x << (64 - n)) >> (64 - n);
}

#define DPCAP_VM_WORD_MASK low_bits(DPCAP_VM_BITS)
#define DPCAP_VM_HALF_MASK low_bits(DPCAP_VM_HALF_BITS)

struct tnum {
	uint64_t value;
	uint64_t mask;
};

static inline struct tnum tnum_const(uint64_t value)
{
	return (struct tnum){value & DPCAP_VM_WORD_MASK, 0};
}

static inline struct tnum tnum_unknown(void)
{
	return (struct tnum){0, DPCAP_VM_WORD_MASK};
}

static inline bool tnum_is_const(struct tnum a)
{
	return a.mask == 0;
}

static inline bool tnum_contains(struct tnum a, uint64_t x)
{
	return (x & ~a.mask) == a.value;
}

/* Every number of b is one of a. */
static inline bool tnum_includes(struct tnum a, struct tnum b)
{
	return !(b.mask & ~a.mask) && (b.value & ~a.mask) == a.value;
}

/* The common leading bits of lo and hi, which every number between them has. */
struct tnum tnum_range(uint64_t lo, uint64_t hi);

struct tnum tnum_add(struct tnum a, struct tnum b);
struct tnum tnum_sub(struct tnum a, struct tnum b);
struct tnum tnum_mul(struct tnum a, struct tnum b);
struct tnum tnum_and(struct tnum a, struct tnum b);
struct tnum tnum_or(struct tnum a, struct tnum b);
struct tnum tnum_xor(struct tnum a, struct tnum b);
struct tnum tnum_lsh(struct tnum a, unsigned int shift); /* shift < DPCAP_VM_BITS */
struct tnum tnum_rsh(struct tnum a, unsigned int shift);
struct tnum tnum_arsh(struct tnum a, unsigned int shift);

/* Only the low n bits, zero- or sign-extended. */
struct tnum tnum_zext(struct tnum a, unsigned int n);
struct tnum tnum_sext(struct tnum a, unsigned int n);

/* What holds for both: false when nothing can. */
bool tnum_intersect(struct tnum a, struct tnum b, struct tnum *out);

/* What holds for either. */
struct tnum tnum_union(struct tnum a, struct tnum b);

#endif /* DPCAP_VM_TNUM_H */
