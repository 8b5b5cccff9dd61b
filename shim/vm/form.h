/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a number comes from: the affine form
 *
 *     value = sign * (symbol + ... + symbol) + len * L + delta
 *
 * over the integers (nothing wrapped on the way), where L is the length of the
 * packet and a symbol is a number that the program met, whose value is not known
 * but always the same. sign and len are -1, 0 or 1; a constant has neither.
 *
 * Forms are how a packet access at a variable offset is proved: a comparison
 * teaches facts `symbols + bound <= L`, and copies of a number and what is made
 * of it by adding and subtracting share its symbols.
 */
#ifndef DPCAP_VM_FORM_H
#define DPCAP_VM_FORM_H

#include <stdbool.h>
#include <stdint.h>

/* An offset may be made of the sizes of so many headers, and an index. */
#define FORM_SYMBOLS 3

/* A sum of symbols, the newest first, so that the same sum always looks the same.
 * Behind the last one there is 0. */
struct symbols {
	uint32_t s[FORM_SYMBOLS];
};

struct form {
	int64_t delta;
	struct symbols symbols; /* none where sign is 0 */
	int8_t sign;
	int8_t len;
};

static inline bool symbols_equal(const struct symbols *a, const struct symbols *b)
{
	for (int i = 0; i < FORM_SYMBOLS; i++)
		if (a->s[i] != b->s[i])
			return false;
	return true;
}

/* *out = a + b. False: too many. */
static inline bool symbols_add(const struct symbols *a, const struct symbols *b, struct symbols *out)
{
	struct symbols sum;
	int i = 0, j = 0;

	for (int n = 0; n < FORM_SYMBOLS; n++)
		sum.s[n] = a->s[i] >= b->s[j] ? a->s[i++] : b->s[j++];
	if ((i < FORM_SYMBOLS && a->s[i]) || (j < FORM_SYMBOLS && b->s[j]))
		return false;
	*out = sum;
	return true;
}

/* *out = a - b, b being a part of a. False: it is none. */
static inline bool symbols_sub(const struct symbols *a, const struct symbols *b, struct symbols *out)
{
	struct symbols rest = {{0}};
	int j = 0, n = 0;

	for (int i = 0; i < FORM_SYMBOLS && a->s[i]; i++) {
		if (j < FORM_SYMBOLS && a->s[i] == b->s[j])
			j++;
		else
			rest.s[n++] = a->s[i];
	}
	if (j < FORM_SYMBOLS && b->s[j])
		return false;
	*out = rest;
	return true;
}

static inline struct symbols symbols_one(uint32_t symbol)
{
	return (struct symbols){{symbol}};
}

/* Beyond this no form is kept, so that sums of forms never overflow. */
#define FORM_DELTA_LIMIT (INT64_C(1) << 60)

static inline struct form form_const(int64_t value)
{
	return (struct form){.delta = value};
}

static inline struct form form_symbol(uint32_t symbol)
{
	return (struct form){.symbols = symbols_one(symbol), .sign = 1};
}

static inline struct form form_len(void)
{
	return (struct form){.len = 1};
}

static inline bool form_is_const(struct form f)
{
	return !f.sign && !f.len;
}

/* The two differ by a constant. */
static inline bool form_is_parallel(struct form f, struct form g)
{
	return f.sign == g.sign && f.len == g.len && symbols_equal(&f.symbols, &g.symbols);
}

static inline bool form_in_limits(struct form f)
{
	return f.delta >= -FORM_DELTA_LIMIT && f.delta <= FORM_DELTA_LIMIT;
}

/* *out = f + g. False: the sum is not of this form. */
static inline bool form_add(struct form f, struct form g, struct form *out)
{
	int len = f.len + g.len;

	if (!form_in_limits(f) || !form_in_limits(g) || len < -1 || len > 1)
		return false;
	*out = (struct form){.delta = f.delta + g.delta, .len = (int8_t)len};
	if (f.sign + g.sign) {
		out->sign = f.sign ? f.sign : g.sign;
		if (!symbols_add(&f.symbols, &g.symbols, &out->symbols))
			return false;
	} else if (f.sign) {
		/* What is on both sides goes. */
		if (symbols_sub(&f.symbols, &g.symbols, &out->symbols))
			out->sign = f.sign;
		else if (symbols_sub(&g.symbols, &f.symbols, &out->symbols))
			out->sign = g.sign;
		else
			return false;
		if (!out->symbols.s[0])
			out->sign = 0;
	}
	return form_in_limits(*out);
}

/* *out = f - g, as above. */
static inline bool form_sub(struct form f, struct form g, struct form *out)
{
	if (!form_in_limits(g))
		return false;
	g.delta = -g.delta;
	g.sign = (int8_t)-g.sign;
	g.len = (int8_t)-g.len;
	return form_add(f, g, out);
}

#endif /* DPCAP_VM_FORM_H */
