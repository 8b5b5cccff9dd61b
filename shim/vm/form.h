/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a number comes from: the affine form
 *
 *     value = sign * symbol + len * L + delta
 *
 * over the integers (nothing wrapped on the way), where L is the length of the
 * packet and a symbol is a number that the program met, whose value is not known
 * but always the same. sign and len are -1, 0 or 1; a constant has neither.
 *
 * Forms are how a packet access at a variable offset is proved: a comparison
 * teaches facts `symbol + bound <= L`, and copies of a number and what is made
 * of it by adding and subtracting share its symbol.
 */
#ifndef DPCAP_VM_FORM_H
#define DPCAP_VM_FORM_H

#include <stdbool.h>
#include <stdint.h>

struct form {
	int64_t delta;
	uint32_t symbol; /* 0 where sign is 0 */
	int8_t sign;
	int8_t len;
};

/* Beyond this no form is kept, so that sums of forms never overflow. */
#define FORM_DELTA_LIMIT (INT64_C(1) << 60)

static inline struct form form_const(int64_t value)
{
	return (struct form){.delta = value};
}

static inline struct form form_symbol(uint32_t symbol)
{
	return (struct form){.symbol = symbol, .sign = 1};
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
	return f.symbol == g.symbol && f.sign == g.sign && f.len == g.len;
}

static inline bool form_in_limits(struct form f)
{
	return f.delta >= -FORM_DELTA_LIMIT && f.delta <= FORM_DELTA_LIMIT;
}

/* *out = f + g. False: the sum is not of this form. */
static inline bool form_add(struct form f, struct form g, struct form *out)
{
	int sign = f.sign + g.sign, len = f.len + g.len;

	if (!form_in_limits(f) || !form_in_limits(g))
		return false;
	if (f.sign && g.sign && f.symbol != g.symbol)
		return false;
	if (sign < -1 || sign > 1 || len < -1 || len > 1)
		return false;
	*out = (struct form){
		.delta = f.delta + g.delta,
		.symbol = sign ? (f.sign ? f.symbol : g.symbol) : 0,
		.sign = (int8_t)sign,
		.len = (int8_t)len,
	};
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
