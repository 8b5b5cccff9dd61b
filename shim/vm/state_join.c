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

/* In a: joined = symbols_a + offset_a; in b: joined = symbols_b + offset_b.
 * No symbols stand for the constant 0. */
struct pair {
	struct symbols symbols_a, symbols_b;
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
 * sign * symbols + len * L + delta, or one a constant and the other symbols + delta.
 * Then the joined symbol is symbols_a + offset_a = symbols_b + offset_b.
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
		.symbols_a = a.symbols,
		.symbols_b = b.symbols,
		.offset_a = sign * a.delta,
		.offset_b = sign * b.delta,
	};
	*joined = (struct form){.sign = sign, .len = a.len};
	return true;
}

static bool is_pair_of(const struct pair *pair, const struct symbols *a, const struct symbols *b)
{
	return symbols_equal(&pair->symbols_a, a) && symbols_equal(&pair->symbols_b, b);
}

static struct form join_pair(struct join *join, struct pair pair, struct form out)
{
	for (uint32_t i = 0; i < join->n_pairs; i++) {
		const struct pair *known = &join->pairs[i];

		if (is_pair_of(known, &pair.symbols_a, &pair.symbols_b) &&
		    pair.offset_a - known->offset_a == pair.offset_b - known->offset_b) {
			out.symbols = symbols_one(known->joined);
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
	out.symbols = symbols_one(pair.joined);
	return out;
}

/* The same sum on both sides stays a sum: each of its symbols is joined with itself,
 * as it is in the registers that hold it alone. */
static bool join_sums(struct join *join, struct form sum, struct form *out)
{
	*out = (struct form){.delta = sum.delta, .len = sum.len};
	for (int i = 0; i < FORM_SYMBOLS && sum.symbols.s[i]; i++) {
		struct symbols one = symbols_one(sum.symbols.s[i]);
		struct form part = join_pair(join, (struct pair){.symbols_a = one, .symbols_b = one},
					     (struct form){.sign = 1});

		if (join->n_pairs == MAX_PAIRS ||
		    !(sum.sign > 0 ? form_add(*out, part, out) : form_sub(*out, part, out)))
			return false;
	}
	return true;
}

static struct form join_forms(struct join *join, struct form a, struct form b)
{
	struct pair pair;
	struct form out;

	if (form_is_parallel(a, b) && a.delta == b.delta) {
		if (!a.sign)
			return a;
		if (a.symbols.s[1] && join_sums(join, a, &out))
			return out;
	}
	if (!forms_pair(a, b, &pair, &out))
		return form_symbol((*join->next_symbol)++);
	return join_pair(join, pair, out);
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
		a->null_id = join_forms(join, null_form(a), null_form(b)).symbols.s[0];
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

static bool find_bound(const struct fact *facts, uint32_t n, int64_t len_min,
		       const struct symbols *symbols, int64_t *bound)
{
	/* The constant 0: 0 + len_min <= L. */
	if (!symbols->s[0]) {
		*bound = len_min;
		return true;
	}
	for (uint32_t i = 0; i < n; i++)
		if (symbols_equal(&facts[i].symbols, symbols)) {
			*bound = facts[i].bound;
			return true;
		}
	return false;
}

/* The pair by which a symbol of a is known, itself and not as a part of a sum. */
static const struct pair *find_pair(const struct join *join, uint32_t symbol_a)
{
	const struct symbols one = symbols_one(symbol_a);

	for (uint32_t i = 0; i < join->n_pairs; i++)
		if (symbols_equal(&join->pairs[i].symbols_a, &one))
			return &join->pairs[i];
	return NULL;
}

/* What is known of a pair on both sides. */
static bool join_bounds(const struct join *join, const struct pair *pair, int64_t *bound)
{
	int64_t bound_a, bound_b;

	if (!find_bound(join->facts_a, join->n_facts_a, join->len_min_a, &pair->symbols_a, &bound_a) ||
	    !find_bound(join->b->facts, join->b->n_facts, join->b->len.word.smin, &pair->symbols_b,
			&bound_b))
		return false;
	*bound = MIN(bound_a - pair->offset_a, bound_b - pair->offset_b);
	return true;
}

/* A fact about a sum of a, as one about the symbols that its parts are joined to. */
static void join_fact_of_sum(struct join *join, const struct symbols *sum_a)
{
	struct symbols joined = {{0}};
	struct pair sum = {.symbols_a = *sum_a};
	int64_t bound;

	for (int i = 0; i < FORM_SYMBOLS && sum_a->s[i]; i++) {
		const struct pair *part = find_pair(join, sum_a->s[i]);
		struct symbols one;

		if (!part || !symbols_add(&sum.symbols_b, &part->symbols_b, &sum.symbols_b))
			return;
		one = symbols_one(part->joined);
		symbols_add(&joined, &one, &joined);
		sum.offset_a += part->offset_a;
		sum.offset_b += part->offset_b;
	}
	if (join_bounds(join, &sum, &bound))
		state_add_fact(join->a, &joined, bound);
}

/* A fact holds after the join where it held on both sides. */
static void join_facts(struct join *join)
{
	struct state *a = join->a;
	int64_t bound;

	a->n_facts = 0;
	for (uint32_t i = 0; i < join->n_facts_a; i++)
		if (join->facts_a[i].symbols.s[1])
			join_fact_of_sum(join, &join->facts_a[i].symbols);
	for (uint32_t i = 0; i < join->n_pairs && a->n_facts < MAX_FACTS; i++) {
		const struct pair *pair = &join->pairs[i];
		struct symbols joined = symbols_one(pair->joined);

		if (join_bounds(join, pair, &bound))
			state_add_fact(a, &joined, bound);
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

/*
 * What a symbol of a stands for in b, the same everywhere: symbols_b + offset_b - offset_a.
 * A symbol met for the first time stands for what it is met with.
 */
static bool match_symbol(struct join *join, const struct pair *pair)
{
	for (uint32_t i = 0; i < join->n_pairs; i++) {
		const struct pair *known = &join->pairs[i];

		if (symbols_equal(&known->symbols_a, &pair->symbols_a))
			return symbols_equal(&known->symbols_b, &pair->symbols_b) &&
			       pair->offset_a - known->offset_a == pair->offset_b - known->offset_b;
	}
	if (join->n_pairs == MAX_PAIRS)
		return false;
	join->pairs[join->n_pairs++] = *pair;
	return true;
}

/* The sum in b that a sum in a stands for, by each of its symbols. */
static bool image_of_sum(const struct join *join, const struct symbols *sum_a, struct form *image)
{
	*image = form_const(0);
	for (int i = 0; i < FORM_SYMBOLS && sum_a->s[i]; i++) {
		const struct pair *part = find_pair(join, sum_a->s[i]);
		struct form one;

		if (!part)
			return false;
		one = (struct form){
			.delta = part->offset_b - part->offset_a,
			.symbols = part->symbols_b,
			.sign = part->symbols_b.s[0] != 0,
		};
		if (!form_add(*image, one, image))
			return false;
	}
	return true;
}

static bool match_forms(struct join *join, struct form a, struct form b)
{
	struct pair pair;
	struct form unused, image, rest;

	if (!a.sign)
		return form_is_parallel(a, b) && a.delta == b.delta;
	if (!a.symbols.s[1])
		return forms_pair(a, b, &pair, &unused) && match_symbol(join, &pair);
	/* Symbols that are not known yet stand for those in the same places. */
	for (int i = 0; i < FORM_SYMBOLS && a.symbols.s[i]; i++) {
		if (find_pair(join, a.symbols.s[i]))
			continue;
		pair = (struct pair){
			.symbols_a = symbols_one(a.symbols.s[i]),
			.symbols_b = symbols_one(b.symbols.s[i]),
		};
		if (!match_symbol(join, &pair))
			return false;
	}
	if (a.sign != b.sign || a.len != b.len || !image_of_sum(join, &a.symbols, &image))
		return false;
	/* sign * image + delta has to be what b has. */
	rest = form_const(a.delta);
	if (!(a.sign > 0 ? form_add(rest, image, &rest) : form_sub(rest, image, &rest)))
		return false;
	rest.len = a.len;
	return form_is_parallel(rest, b) && rest.delta == b.delta;
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

/* A symbol of a that stands for nothing in b can have any value: facts about it say
 * nothing. */
static bool fact_matters(const struct join *join, const struct fact *fact)
{
	for (int i = 0; i < FORM_SYMBOLS && fact->symbols.s[i]; i++)
		if (!find_pair(join, fact->symbols.s[i]))
			return false;
	return true;
}

static bool facts_include(const struct join *join, const struct state *a, const struct state *b)
{
	for (uint32_t i = 0; i < a->n_facts; i++) {
		struct form image;
		int64_t bound;

		if (!fact_matters(join, &a->facts[i]))
			continue;
		/* image + bound of a <= L has to hold in b. */
		if (!image_of_sum(join, &a->facts[i].symbols, &image) ||
		    !find_bound(b->facts, b->n_facts, b->len.word.smin, &image.symbols, &bound) ||
		    bound < a->facts[i].bound + image.delta)
			return false;
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
