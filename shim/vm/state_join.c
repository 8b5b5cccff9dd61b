/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * States that meet.
 *
 * The two sides name the same number by different symbols. A pair of forms that
 * meets in one place (register or slot) becomes a new symbol; the same pair met
 * again in another place is the same symbol again, so that what relates places
 * on both sides relates them after the join.
 */
#include <string.h>

#include "state.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* Pairs remembered; beyond that numbers lose their relation, not their range. */
#define MAX_PAIRS 64

/* In a: joined = symbol_a + offset_a; in b: joined = symbol_b + offset_b.
 * Symbol 0 stands for the constant 0. */
struct pair {
	uint32_t symbol_a, symbol_b;
	int64_t offset_a, offset_b;
	uint32_t joined;
};

struct join {
	struct state *a;
	const struct state *b;
	struct fact facts_a[MAX_FACTS]; /* a's, before it is changed */
	uint32_t n_facts_a;
	int64_t len_min_a;
	struct pair pairs[MAX_PAIRS];
	uint32_t n_pairs;
	uint32_t *next_symbol;
};

/*
 * Two forms that stand for the same number up to their symbols: both
 * sign * symbol + len * L + delta, or one a constant and the other symbol + delta.
 * Then the joined symbol is symbol_a + offset_a = symbol_b + offset_b.
 */
static bool forms_pair(struct form a, struct form b, struct pair *pair, struct form *joined)
{
	int8_t sign = a.sign ? a.sign : b.sign;

	if (a.len != b.len || !form_in_limits(a) || !form_in_limits(b))
		return false;
	if (!sign && a.len)
		return false;
	if (a.sign != b.sign && (a.len || sign != 1 || (a.sign && b.sign)))
		return false;
	if (!sign)
		sign = 1;
	*pair = (struct pair){
		.symbol_a = a.symbol,
		.symbol_b = b.symbol,
		.offset_a = sign * a.delta,
		.offset_b = sign * b.delta,
	};
	*joined = (struct form){.sign = sign, .len = a.len};
	return true;
}

static struct form join_forms(struct join *join, struct form a, struct form b)
{
	struct pair pair;
	struct form out;

	if (form_is_parallel(a, b) && a.delta == b.delta && !a.sign)
		return a;
	if (!forms_pair(a, b, &pair, &out))
		return form_symbol((*join->next_symbol)++);
	for (uint32_t i = 0; i < join->n_pairs; i++) {
		const struct pair *known = &join->pairs[i];

		if (known->symbol_a == pair.symbol_a && known->symbol_b == pair.symbol_b &&
		    pair.offset_a - known->offset_a == pair.offset_b - known->offset_b) {
			out.symbol = known->joined;
			out.delta = out.sign * (pair.offset_a - known->offset_a);
			if (form_in_limits(out))
				return out;
			break;
		}
	}
	if (join->n_pairs == MAX_PAIRS)
		return form_symbol((*join->next_symbol)++);
	pair.joined = (*join->next_symbol)++;
	join->pairs[join->n_pairs++] = pair;
	out.symbol = pair.joined;
	return out;
}

/* A symbol for "is null": where neither may be, there is none. */
static struct form null_form(const struct reg *reg)
{
	return reg->or_null ? form_symbol(reg->null_id) : form_const(0);
}

static void join_regs(struct join *join, struct reg *a, const struct reg *b)
{
	if (a->type == REG_UNINIT || b->type == REG_UNINIT) {
		a->type = REG_UNINIT;
		return;
	}
	if (a->type != b->type || a->type < REG_SCALAR ||
	    (a->type == REG_POINTER && (a->region != b->region || a->object != b->object))) {
		a->type = REG_MIXED;
		return;
	}
	a->made = MADE_UNKNOWN;
	if (a->or_null || b->or_null) {
		a->null_id = join_forms(join, null_form(a), null_form(b)).symbol;
		a->or_null = true;
	}
	a->form = join_forms(join, a->form, b->form);
	a->value = scalar_union(&a->value, &b->value);
}

static bool slot_has_pointer(const struct slot *slot)
{
	return slot->size && slot->saved.type == REG_POINTER;
}

static void join_slots(struct join *join, struct slot *a, const struct slot *b)
{
	bool pointer = slot_has_pointer(a) || slot_has_pointer(b);

	a->init &= b->init;
	if (a->size && (a->offset != b->offset || a->size != b->size))
		a->size = 0;
	if (a->size) {
		join_regs(join, &a->saved, &b->saved);
		if (a->saved.type < REG_SCALAR)
			a->size = 0;
	}
	/* A pointer on one side must not be read as a number. */
	if (!a->size && pointer)
		a->init = 0;
}

static bool find_bound(const struct fact *facts, uint32_t n, int64_t len_min, uint32_t symbol,
		       int64_t *bound)
{
	/* The constant 0: 0 + len_min <= L. */
	if (!symbol) {
		*bound = len_min;
		return true;
	}
	for (uint32_t i = 0; i < n; i++)
		if (facts[i].symbol == symbol) {
			*bound = facts[i].bound;
			return true;
		}
	return false;
}

/* A fact holds after the join where it held on both sides. */
static void join_facts(struct join *join)
{
	struct state *a = join->a;

	a->n_facts = 0;
	for (uint32_t i = 0; i < join->n_pairs && a->n_facts < MAX_FACTS; i++) {
		const struct pair *pair = &join->pairs[i];
		int64_t bound_a, bound_b;

		if (find_bound(join->facts_a, join->n_facts_a, join->len_min_a, pair->symbol_a,
			       &bound_a) &&
		    find_bound(join->b->facts, join->b->n_facts, join->b->len.word.smin,
			       pair->symbol_b, &bound_b))
			state_add_fact(a, pair->joined,
				       MIN(bound_a - pair->offset_a, bound_b - pair->offset_b));
	}
}

bool state_join(struct state *a, const struct state *b, uint32_t *next_symbol)
{
	struct join join;

	join.a = a;
	join.b = b;
	memcpy(join.facts_a, a->facts, a->n_facts * sizeof(*a->facts));
	join.n_facts_a = a->n_facts;
	join.len_min_a = a->len.word.smin;
	join.n_pairs = 0;
	join.next_symbol = next_symbol;
	for (uint32_t f = 0; f < a->n_frames; f++) {
		struct frame *fa = a->frames[f];
		const struct frame *fb = b->frames[f];

		for (unsigned int i = 0; i < BPF_REG_FP; i++)
			join_regs(&join, &fa->regs[i], &fb->regs[i]);
		/* What only one side has touched is not initialised. */
		fa->n_slots = MIN(fa->n_slots, fb->n_slots);
		for (uint32_t i = 0; i < fa->n_slots; i++)
			join_slots(&join, &fa->slots[i], &fb->slots[i]);
	}
	join_facts(&join);
	a->len = scalar_union(&a->len, &b->len);
	return true;
}

/* The symbol of b that a symbol of a stands for, the same everywhere. */
static bool match_forms(struct join *join, struct form a, struct form b)
{
	struct pair pair;
	struct form unused;

	if (!a.sign)
		return form_is_parallel(a, b) && a.delta == b.delta;
	if (!forms_pair(a, b, &pair, &unused))
		return false;
	for (uint32_t i = 0; i < join->n_pairs; i++) {
		const struct pair *known = &join->pairs[i];

		if (known->symbol_a == pair.symbol_a)
			return known->symbol_b == pair.symbol_b &&
			       pair.offset_a - known->offset_a == pair.offset_b - known->offset_b;
	}
	if (join->n_pairs == MAX_PAIRS)
		return false;
	join->pairs[join->n_pairs++] = pair;
	return true;
}

static bool reg_includes(struct join *join, const struct reg *a, const struct reg *b)
{
	if (a->type == REG_UNINIT)
		return true;
	if (a->type == REG_MIXED)
		return b->type != REG_UNINIT;
	if (a->type != b->type)
		return false;
	if (a->type != REG_SCALAR && (a->region != b->region || a->object != b->object))
		return false;
	if (b->or_null && !a->or_null)
		return false;
	if (a->or_null && !match_forms(join, null_form(a), null_form(b)))
		return false;
	if (a->made != MADE_UNKNOWN)
		return false;
	return scalar_includes(&a->value, &b->value) && match_forms(join, a->form, b->form);
}

static bool slot_includes(struct join *join, const struct slot *a, const struct slot *b)
{
	if (a->init & ~b->init)
		return false;
	if (!a->size)
		return !a->init || !slot_has_pointer(b);
	return a->offset == b->offset && a->size == b->size &&
	       reg_includes(join, &a->saved, &b->saved);
}

static bool facts_include(const struct join *join, const struct state *a, const struct state *b)
{
	for (uint32_t i = 0; i < a->n_facts; i++) {
		for (uint32_t j = 0; j < join->n_pairs; j++) {
			const struct pair *pair = &join->pairs[j];
			int64_t bound;

			if (pair->symbol_a != a->facts[i].symbol)
				continue;
			/* symbol_a is symbol_b + (offset_b - offset_a) */
			if (!find_bound(b->facts, b->n_facts, b->len.word.smin, pair->symbol_b,
					&bound))
				return false;
			if (bound - pair->offset_b < a->facts[i].bound - pair->offset_a)
				return false;
		}
	}
	return true;
}

bool state_includes(const struct state *a, const struct state *b)
{
	struct join join = {.n_pairs = 0};

	if (a->n_frames != b->n_frames || !scalar_includes(&a->len, &b->len))
		return false;
	for (uint32_t f = 0; f < a->n_frames; f++) {
		const struct frame *fa = a->frames[f], *fb = b->frames[f];

		for (unsigned int i = 0; i < BPF_REG_FP; i++)
			if (!reg_includes(&join, &fa->regs[i], &fb->regs[i]))
				return false;
		for (uint32_t i = 0; i < fa->n_slots; i++) {
			static const struct slot nothing;

			if (!slot_includes(&join, &fa->slots[i],
					   i < fb->n_slots ? &fb->slots[i] : &nothing))
				return false;
		}
	}
	return facts_include(&join, a, b);
}

static bool reg_same_shape(const struct reg *a, const struct reg *b)
{
	return a->type == b->type &&
	       (a->type != REG_POINTER || (a->region == b->region && a->object == b->object &&
					   a->or_null == b->or_null));
}

bool state_same_shape(const struct state *a, const struct state *b)
{
	for (uint32_t f = 0; f < a->n_frames; f++) {
		const struct frame *fa = a->frames[f], *fb = b->frames[f];

		for (unsigned int i = 0; i < BPF_REG_FP; i++)
			if (!reg_same_shape(&fa->regs[i], &fb->regs[i]))
				return false;
		if (fa->n_slots != fb->n_slots)
			return false;
		for (uint32_t i = 0; i < fa->n_slots; i++)
			if (fa->slots[i].init != fb->slots[i].init ||
			    fa->slots[i].size != fb->slots[i].size ||
			    (fa->slots[i].size &&
			     !reg_same_shape(&fa->slots[i].saved, &fb->slots[i].saved)))
				return false;
	}
	return true;
}
