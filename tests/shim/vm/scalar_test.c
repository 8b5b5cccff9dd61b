/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verifier's abstract operations against the concrete ones.
 *
 * Built for a machine of 4 bits (with 2-bit "32-bit" instructions), where every
 * pair of basic abstract values is tried with every concrete value they describe;
 * of 8 bits, with random abstract values and every concrete value; and of 64
 * bits, with random abstract values around random concrete ones.
 *
 * DPCAP_TEST_ROUNDS multiplies the number of random tries.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scalar.h"

#define W DPCAP_VM_BITS
#define H DPCAP_VM_HALF_BITS

static const char *const op_names[] = {"add", "sub", "mul", "div", "sdiv", "mod", "smod",
				       "and", "or",  "xor", "lsh", "rsh",  "arsh"};
static const char *const rel_names[] = {"==", "!=", "set", "clear", "<u", "<=u",
					"<s", "<=s", ">u",  ">=u",   ">s", ">=s"};
#define N_OPS (sizeof(op_names) / sizeof(op_names[0]))
#define N_RELS (sizeof(rel_names) / sizeof(rel_names[0]))

static uint64_t seed = 0x9e3779b97f4a7c15;
static uint64_t checks;

static uint64_t next_random(void)
{
	/* xorshift64*, Vigna 2014 */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1d;
}

/* What the machine computes: RFC 9669 section 4.1, for n-bit instructions. */
static uint64_t concrete(enum scalar_op op, uint64_t a, uint64_t b, unsigned int n)
{
	uint64_t mask = low_bits(n);
	int64_t sa, sb;

	a &= mask;
	b &= mask;
	sa = sign_extend(a, n);
	sb = sign_extend(b, n);
	switch (op) {
	case SCALAR_ADD:
		return (a + b) & mask;
	case SCALAR_SUB:
		return (a - b) & mask;
	case SCALAR_MUL:
		return (a * b) & mask;
	case SCALAR_DIV:
		return b ? a / b : 0;
	case SCALAR_SDIV:
		if (sb == 0)
			return 0;
		return (sb == -1 ? -(uint64_t)sa : (uint64_t)(sa / sb)) & mask;
	case SCALAR_MOD:
		return b ? a % b : a;
	case SCALAR_SMOD:
		if (sb == 0)
			return a;
		return (sb == -1 ? 0 : (uint64_t)(sa % sb)) & mask;
	case SCALAR_AND:
		return a & b;
	case SCALAR_OR:
		return a | b;
	case SCALAR_XOR:
		return a ^ b;
	case SCALAR_LSH:
		return (a << (b & (n - 1))) & mask;
	case SCALAR_RSH:
		return a >> (b & (n - 1));
	case SCALAR_ARSH:
		return (uint64_t)(sa >> (b & (n - 1))) & mask;
	}
	abort();
}

static bool holds(enum scalar_rel rel, uint64_t a, uint64_t b, unsigned int n)
{
	int64_t sa, sb;

	a &= low_bits(n);
	b &= low_bits(n);
	sa = sign_extend(a, n);
	sb = sign_extend(b, n);
	switch (rel) {
	case REL_EQ:
		return a == b;
	case REL_NE:
		return a != b;
	case REL_SET:
		return a & b;
	case REL_CLEAR:
		return !(a & b);
	case REL_ULT:
		return a < b;
	case REL_ULE:
		return a <= b;
	case REL_SLT:
		return sa < sb;
	case REL_SLE:
		return sa <= sb;
	case REL_UGT:
		return a > b;
	case REL_UGE:
		return a >= b;
	case REL_SGT:
		return sa > sb;
	case REL_SGE:
		return sa >= sb;
	}
	abort();
}

static void print_scalar(const char *name, const struct scalar *a)
{
	fprintf(stderr,
		"  %s: bits %#" PRIx64 "/%#" PRIx64 " word u[%" PRIu64 ",%" PRIu64 "] s[%" PRId64
		",%" PRId64 "] half u[%" PRIu64 ",%" PRIu64 "] s[%" PRId64 ",%" PRId64 "]\n",
		name, a->bits.value, a->bits.mask, a->word.umin, a->word.umax, a->word.smin,
		a->word.smax, a->half.umin, a->half.umax, a->half.smin, a->half.smax);
}

__attribute__((noreturn))
static void fail(const char *what, const struct scalar *a, const struct scalar *b, uint64_t x,
		 uint64_t y, const struct scalar *out)
{
	fprintf(stderr, "%d bits: %s unsound for %#" PRIx64 ", %#" PRIx64 "\n", W, what, x, y);
	print_scalar("a", a);
	print_scalar("b", b);
	print_scalar("result", out);
	exit(1);
}

/* Every operation and relation on abstract a, b and concrete x in a, y in b. */
static void check_one(const struct scalar *a, const struct scalar *b, uint64_t x, uint64_t y,
		      const struct scalar *out, const struct scalar *out32)
{
	for (size_t op = 0; op < N_OPS; op++) {
		if (!scalar_contains(&out[op], concrete(op, x, y, W)))
			fail(op_names[op], a, b, x, y, &out[op]);
		if (!scalar_contains(&out32[op], concrete(op, x, y, H)))
			fail(op_names[op], a, b, x, y, &out32[op]);
	}
	checks += 2 * N_OPS;
}

static void check_refinement(enum scalar_rel rel, bool half, const struct scalar *a,
			     const struct scalar *b, const struct scalar *a2,
			     const struct scalar *b2, bool possible, uint64_t x, uint64_t y)
{
	checks++;
	if (!holds(rel, x, y, half ? H : W))
		return;
	if (!possible || !scalar_contains(a2, x) || !scalar_contains(b2, y))
		fail(rel_names[rel], a, b, x, y, a2);
}

struct refined {
	struct scalar a, b;
	bool possible;
};

/* All results for one pair of abstract values. */
struct results {
	struct scalar out[N_OPS], out32[N_OPS];
	struct refined refined[2][N_RELS];
	struct scalar either, both;
	bool meet;
};

static void compute(const struct scalar *a, const struct scalar *b, struct results *r)
{
	for (size_t op = 0; op < N_OPS; op++) {
		r->out[op] = scalar_alu(op, a, b);
		r->out32[op] = scalar_alu32(op, a, b);
	}
	for (int half = 0; half < 2; half++)
		for (size_t rel = 0; rel < N_RELS; rel++) {
			struct refined *f = &r->refined[half][rel];

			f->a = *a;
			f->b = *b;
			f->possible = scalar_refine(rel, &f->a, &f->b, half);
			if (f->possible && !(scalar_includes(a, &f->a) && scalar_includes(b, &f->b)))
				fail("refinement that widens", a, b, 0, 0, &f->a);
		}
	r->either = scalar_union(a, b);
	if (!scalar_includes(&r->either, a) || !scalar_includes(&r->either, b))
		fail("union", a, b, 0, 0, &r->either);
	r->both = *a;
	r->meet = scalar_intersect(&r->both, b);
}

static void check_values(const struct scalar *a, const struct scalar *b, uint64_t x, uint64_t y,
			 const struct results *r)
{
	check_one(a, b, x, y, r->out, r->out32);
	for (int half = 0; half < 2; half++)
		for (size_t rel = 0; rel < N_RELS; rel++) {
			const struct refined *f = &r->refined[half][rel];

			check_refinement(rel, half, a, b, &f->a, &f->b, f->possible, x, y);
		}
	if (!scalar_contains(&r->either, x) || !scalar_contains(&r->either, y))
		fail("union", a, b, x, y, &r->either);
	if (x == y && (!r->meet || !scalar_contains(&r->both, x)))
		fail("intersection", a, b, x, y, &r->both);
}

static void check_casts(const struct scalar *a, uint64_t x)
{
	for (unsigned int n = 1; n <= W; n++) {
		struct scalar z = scalar_zext(a, n), s = scalar_sext(a, n);

		if (!scalar_contains(&z, x & low_bits(n)))
			fail("zext", a, a, x, n, &z);
		if (!scalar_contains(&s, (uint64_t)sign_extend(x, n)))
			fail("sext", a, a, x, n, &s);
	}
#if W == 64
	for (unsigned int n = 16; n <= 64; n *= 2) {
		struct scalar s = scalar_bswap(a, n);
		uint64_t swapped = n == 16   ? __builtin_bswap16((uint16_t)x)
				   : n == 32 ? __builtin_bswap32((uint32_t)x)
					     : __builtin_bswap64(x);

		if (!scalar_contains(&s, swapped))
			fail("bswap", a, a, x, n, &s);
	}
#endif
}

/* A distance of at most that, of any magnitude. */
static uint64_t random_up_to(uint64_t most)
{
	most >>= next_random() % W;
	return most == UINT64_MAX ? next_random() : next_random() % (most + 1);
}

/* A random abstract value that describes x, of every shape there is. */
static struct scalar random_around(uint64_t x)
{
	struct scalar a = scalar_unknown();
	uint64_t kinds = next_random();
	uint64_t u = x & low_bits(W), low = x & low_bits(H);
	int64_t s = sign_extend(x, W), slow = sign_extend(x, H);

	if (kinds & 1) {
		a.bits.mask = next_random() & next_random() & low_bits(W);
		if (kinds & 0x100)
			a.bits.mask &= next_random();
		a.bits.value = u & ~a.bits.mask;
	}
	if (kinds & 2) {
		a.word.umin = u - random_up_to(u);
		a.word.umax = u + random_up_to(low_bits(W) - u);
	}
	if (kinds & 4) {
		a.word.smin = s - (int64_t)random_up_to(((uint64_t)s - (uint64_t)a.word.smin) / 2);
		a.word.smax = s + (int64_t)random_up_to(((uint64_t)a.word.smax - (uint64_t)s) / 2);
	}
	if (kinds & 8) {
		a.half.umin = low - random_up_to(low);
		a.half.umax = low + random_up_to(low_bits(H) - low);
	}
	if (kinds & 16) {
		a.half.smin = slow - (int64_t)random_up_to((uint64_t)(slow - a.half.smin));
		a.half.smax = slow + (int64_t)random_up_to((uint64_t)(a.half.smax - slow));
	}
	if (!(kinds & 0xe0))
		a = scalar_const(x);
	if (!scalar_sync(&a) || !scalar_contains(&a, x))
		fail("sync", &a, &a, x, x, &a);
	return a;
}

/* Small numbers, ends of ranges and random bits. */
static uint64_t random_value(void)
{
	uint64_t x = next_random(), kind = next_random();

	switch (kind & 3) {
	case 0:
		return (x % 17 - 8) & low_bits(W);
	case 1:
		return ((UINT64_C(1) << (x >> 8) % W) + x % 5 - 2) & low_bits(W);
	case 2:
		return (x >> (kind >> 8) % W) & low_bits(W);
	default:
		return x & low_bits(W);
	}
}

#if W <= 8
/* Everything that a and b describe. */
static void check_pair(const struct scalar *a, const struct scalar *b)
{
	struct results r;

	compute(a, b, &r);
	for (uint64_t x = 0; x <= low_bits(W); x++) {
		if (!scalar_contains(a, x))
			continue;
		for (uint64_t y = 0; y <= low_bits(W); y++)
			if (scalar_contains(b, y))
				check_values(a, b, x, y, &r);
	}
}
#endif

#if W == 4
/* Every tristate number and every interval of each reading. */
static size_t basic_scalars(struct scalar *all)
{
	size_t n = 0;

	for (uint64_t mask = 0; mask <= low_bits(W); mask++)
		for (uint64_t value = 0; value <= low_bits(W); value++)
			if (!(value & mask))
				all[n++] = scalar_from_bits((struct tnum){value, mask});
	for (uint64_t lo = 0; lo <= low_bits(W); lo++)
		for (uint64_t hi = lo; hi <= low_bits(W); hi++) {
			int64_t bias = (int64_t)low_bits(W - 1) + 1;

			all[n++] = scalar_from_unsigned(lo, hi);
			all[n++] = scalar_from_signed((int64_t)lo - bias, (int64_t)hi - bias);
		}
	for (uint64_t lo = 0; lo <= low_bits(H); lo++)
		for (uint64_t hi = lo; hi <= low_bits(H); hi++) {
			struct scalar a = scalar_unknown();

			a.half.umin = lo;
			a.half.umax = hi;
			scalar_sync(&a);
			all[n++] = a;
			a = scalar_unknown();
			a.half.smin = (int64_t)lo - (int64_t)low_bits(H - 1) - 1;
			a.half.smax = (int64_t)hi - (int64_t)low_bits(H - 1) - 1;
			scalar_sync(&a);
			all[n++] = a;
		}
	return n;
}

static void check_exhaustively(void)
{
	static struct scalar all[1024];
	size_t n = basic_scalars(all);

	for (size_t i = 0; i < n; i++) {
		for (uint64_t x = 0; x <= low_bits(W); x++)
			if (scalar_contains(&all[i], x))
				check_casts(&all[i], x);
		for (size_t j = 0; j < n; j++)
			check_pair(&all[i], &all[j]);
	}
	printf("%d bits: every pair of %zu basic values\n", W, n);
}
#endif

int main(void)
{
	const char *rounds = getenv("DPCAP_TEST_ROUNDS");
	uint64_t n = (W <= 8 ? 1000 : 20000) * (rounds ? strtoull(rounds, NULL, 0) : 1);

#if W == 4
	check_exhaustively();
#endif
	for (uint64_t i = 0; i < n; i++) {
		uint64_t x = random_value(), y = random_value();
		struct scalar a = random_around(x), b = random_around(y);

		check_casts(&a, x);
#if W <= 8
		check_pair(&a, &b);
#else
		struct results r;

		compute(&a, &b, &r);
		check_values(&a, &b, x, y, &r);
		/* The same value twice, for equality. */
		b = random_around(x);
		compute(&a, &b, &r);
		check_values(&a, &b, x, x, &r);
#endif
	}
	printf("%d bits: %" PRIu64 " random pairs, %" PRIu64 " checks in all\n", W, n, checks);
	return 0;
}
