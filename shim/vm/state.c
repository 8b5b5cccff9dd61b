/* SPDX-License-Identifier: BSD-3-Clause */
/* States: registers, frames, slots, and what relates numbers to the length. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

struct state *state_new(void)
{
	return calloc(1, sizeof(struct state));
}

void state_free(struct state *state)
{
	if (!state)
		return;
	for (uint32_t i = 0; i < state->n_frames; i++)
		free(state->frames[i]);
	free(state);
}

static struct frame *frame_alloc(uint32_t capacity)
{
	struct frame *frame = malloc(sizeof(*frame) + capacity * sizeof(struct slot));

	if (frame)
		frame->capacity = capacity;
	return frame;
}

struct state *state_clone(const struct state *state)
{
	struct state *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *state;
	copy->next = NULL;
	for (uint32_t i = 0; i < state->n_frames; i++) {
		const struct frame *frame = state->frames[i];

		copy->frames[i] = frame_alloc(frame->n_slots);
		if (!copy->frames[i]) {
			copy->n_frames = i;
			state_free(copy);
			return NULL;
		}
		memcpy(copy->frames[i], frame,
		       sizeof(*frame) + frame->n_slots * sizeof(struct slot));
		copy->frames[i]->capacity = frame->n_slots;
	}
	return copy;
}

bool state_push_frame(struct state *state)
{
	struct frame *frame = frame_alloc(0);

	if (!frame)
		return false;
	memset(frame, 0, sizeof(*frame));
	frame->regs[BPF_REG_FP] = reg_pointer(REGION_STACK, state->n_frames, 0);
	state->frames[state->n_frames++] = frame;
	return true;
}

void state_pop_frame(struct state *state)
{
	free(state->frames[--state->n_frames]);
}

struct slot *state_slot(struct state *state, unsigned int frame_number, int64_t offset)
{
	struct frame *frame = state->frames[frame_number];
	uint32_t index = (uint32_t)(-offset - 1) / 8;

	if (index >= frame->capacity) {
		uint32_t capacity = MIN(MAX(2 * frame->capacity, index + 1), STACK_SLOTS);
		struct frame *larger =
			realloc(frame, sizeof(*frame) + capacity * sizeof(struct slot));

		if (!larger)
			return NULL;
		frame = larger;
		frame->capacity = capacity;
		state->frames[frame_number] = frame;
	}
	for (; frame->n_slots <= index; frame->n_slots++)
		frame->slots[frame->n_slots] = (struct slot){0};
	return &frame->slots[index];
}

struct reg reg_const(uint64_t value)
{
	return (struct reg){
		.type = REG_SCALAR,
		.form = form_const((int64_t)value),
		.value = scalar_const(value),
	};
}

struct reg reg_from_scalar(struct scalar value, uint32_t symbol)
{
	struct reg reg = {
		.type = REG_SCALAR,
		.form = form_symbol(symbol),
		.value = value,
	};

	if (scalar_is_const(&value))
		reg.form = form_const((int64_t)value.bits.value);
	return reg;
}

struct reg reg_pointer(enum region region, unsigned int object, int64_t offset)
{
	return (struct reg){
		.type = REG_POINTER,
		.region = (uint8_t)region,
		.object = object,
		.form = form_const(offset),
		.value = scalar_const((uint64_t)offset),
	};
}

static const struct fact *find_fact(const struct state *state, const struct symbols *symbols)
{
	for (uint32_t i = 0; i < state->n_facts; i++)
		if (symbols_equal(&state->facts[i].symbols, symbols))
			return &state->facts[i];
	return NULL;
}

static bool tighten_signed(struct scalar *value, int64_t smin, int64_t smax)
{
	if (smin <= value->word.smin && smax >= value->word.smax)
		return true;
	value->word.smin = MAX(value->word.smin, smin);
	value->word.smax = MIN(value->word.smax, smax);
	return scalar_sync(value);
}

bool state_tighten(const struct state *state, struct reg *reg)
{
	struct form form = reg->form;
	const struct fact *fact;

	if (form_is_const(form))
		return tighten_signed(&reg->value, form.delta, form.delta);
	if (!form.sign)
		return form.len > 0 ? tighten_signed(&reg->value,
						     state->len.word.smin + form.delta,
						     state->len.word.smax + form.delta)
				    : tighten_signed(&reg->value,
						     form.delta - state->len.word.smax,
						     form.delta - state->len.word.smin);
	if (form.sign + form.len)
		return true;
	/* symbols - L + delta <= delta - bound, and its negative */
	fact = find_fact(state, &form.symbols);
	if (!fact)
		return true;
	return form.sign > 0
		       ? tighten_signed(&reg->value, INT64_MIN, form.delta - fact->bound)
		       : tighten_signed(&reg->value, form.delta + fact->bound, INT64_MAX);
}

void state_add_fact(struct state *state, const struct symbols *symbols, int64_t bound)
{
	if (bound < -FORM_DELTA_LIMIT || bound > FORM_DELTA_LIMIT)
		return;
	for (uint32_t i = 0; i < state->n_facts; i++) {
		struct fact *fact = &state->facts[i];

		if (symbols_equal(&fact->symbols, symbols)) {
			fact->bound = MAX(fact->bound, bound);
			return;
		}
	}
	if (state->n_facts == MAX_FACTS) {
		memmove(state->facts, state->facts + 1, (MAX_FACTS - 1) * sizeof(*state->facts));
		state->n_facts--;
	}
	state->facts[state->n_facts++] = (struct fact){*symbols, bound};
}

/* smin <= L <= smax, and what that tells of the numbers made of L. */
static bool bound_len(struct state *state, int64_t smin, int64_t smax)
{
	struct range before = state->len.word;

	if (!tighten_signed(&state->len, smin, smax))
		return false;
	if (before.smin == state->len.word.smin && before.smax == state->len.word.smax)
		return true;
	FOR_EACH_VALUE(state, reg, {
		if (reg->form.len && !reg->form.sign && !state_tighten(state, reg))
			return false;
	})
	return true;
}

/*
 * A fact about several symbols tells of fewer of them as the others have a lower bound:
 *
 *     x + y + bound <= L  and  y >= y_min  give  x + (bound + y_min) <= L,
 *
 * over the integers. The value of reg says how small the sum of its symbols can be; facts
 * that have them all as a part give others about the rest. This is how `off + n <= L` and
 * `i < n` prove a read at off + i where i is known, as it is in each round of a loop.
 */
static bool reduce_facts(struct state *state, const struct reg *reg)
{
	const struct range *word = &reg->value.word;
	const struct form form = reg->form;
	uint32_t n = state->n_facts;
	int64_t least;

	if (!form.sign || form.len ||
	    (form.sign > 0 ? __builtin_sub_overflow(word->smin, form.delta, &least)
			   : __builtin_sub_overflow(form.delta, word->smax, &least)) ||
	    least < -FORM_DELTA_LIMIT || least > FORM_DELTA_LIMIT)
		return true;
	for (uint32_t i = 0; i < n; i++) {
		const struct fact fact = state->facts[i];
		struct symbols rest;

		if (!symbols_sub(&fact.symbols, &form.symbols, &rest))
			continue;
		if (rest.s[0])
			state_add_fact(state, &rest, fact.bound + least);
		else if (!bound_len(state, fact.bound + least, MAX_PACKET_LEN))
			return false;
	}
	return true;
}

bool state_learn(struct state *state, struct form f, struct form g, int64_t slack)
{
	struct form difference;

	if (!form_sub(f, g, &difference) || difference.sign != 1 || difference.len != -1)
		return true;
	state_add_fact(state, &difference.symbols, difference.delta + slack);
	/* What is known of its parts tells more. */
	if (difference.symbols.s[1])
		FOR_EACH_VALUE(state, reg, {
			if (!reduce_facts(state, reg))
				return false;
		})
	return true;
}

/* `to` is `from` moved by their forms' difference: so are its bounds. */
static bool follow(struct reg *to, const struct reg *from)
{
	int64_t distance = to->form.delta - from->form.delta, smin, smax;

	if (!distance)
		return scalar_intersect(&to->value, &from->value);
	if (__builtin_add_overflow(from->value.word.smin, distance, &smin))
		smin = INT64_MIN;
	if (__builtin_add_overflow(from->value.word.smax, distance, &smax))
		smax = INT64_MAX;
	return tighten_signed(&to->value, smin, smax);
}

/* L, known better from L + delta or delta - L. */
static bool follow_len(struct state *state, const struct reg *from)
{
	int64_t delta = from->form.delta;
	const struct range *word = &from->value.word;

	return from->form.len > 0
		       ? bound_len(state, MAX(word->smin, -MAX_PACKET_LEN + delta) - delta,
				   MIN(word->smax, MAX_PACKET_LEN + delta) - delta)
		       : bound_len(state, delta - MIN(word->smax, delta),
				   delta - MAX(word->smin, delta - MAX_PACKET_LEN));
}

bool state_propagate(struct state *state, const struct reg *changed)
{
	const struct reg source = *changed;

	if (form_is_const(source.form))
		return true;
	FOR_EACH_VALUE(state, reg, {
		if (form_is_parallel(reg->form, source.form) && !follow(reg, &source))
			return false;
	})
	return source.form.sign ? reduce_facts(state, &source) : follow_len(state, &source);
}

int64_t state_room(const struct state *state, const struct reg *reg)
{
	const struct form form = reg->form;
	/* value <= smax, L >= smin */
	int64_t room = INT64_MIN;
	const struct fact *fact;

	if (reg->value.word.smax <= POINTER_OFFSET_LIMIT)
		room = state->len.word.smin - reg->value.word.smax;
	if (form.len == 1 && !form.sign)
		room = MAX(room, -form.delta);
	if (form.len == 0 && form.sign == 1) {
		fact = find_fact(state, &form.symbols);
		if (fact)
			room = MAX(room, fact->bound - form.delta);
	}
	return room;
}
