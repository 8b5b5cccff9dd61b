/* SPDX-License-Identifier: BSD-3-Clause */
#include "asm_x86_64.h"

#include <stdlib.h>
#include <string.h>

/* Jumps that may be added after x64_reserve(). */
#define RESERVED_JUMPS 16
#define NOT_PLACED UINT32_MAX

static bool grow(void *array, uint32_t *max, uint32_t wanted, size_t element_size)
{
	void *old, *new;
	uint32_t size = *max ? *max : 64;

	if (wanted <= *max)
		return true;
	while (size < wanted)
		size *= 2;
	memcpy(&old, array, sizeof(old));
	new = realloc(old, size *element_size);
	if (!new)
		return false;
	memcpy(array, &new, sizeof(new));
	*max = size;
	return true;
}

void x64_start(struct x64_asm *as, uint32_t n_labels)
{
	memset(as, 0, sizeof(*as));
	x64_new_labels(as, n_labels);
}

void x64_end(struct x64_asm *as)
{
	free(as->code);
	free(as->jumps);
	free(as->labels);
	free(as->offsets);
}

bool x64_reserve(struct x64_asm *as)
{
	if (!grow(&as->code, &as->size, as->used + X64_RESERVE, 1) ||
	    !grow(&as->jumps, &as->max_jumps, as->n_jumps + RESERVED_JUMPS, sizeof(*as->jumps)))
		as->no_memory = true;
	return !as->no_memory;
}

uint32_t x64_new_labels(struct x64_asm *as, uint32_t n)
{
	uint32_t first = as->n_labels;

	if (!grow(&as->labels, &as->max_labels, first + n, sizeof(*as->labels))) {
		as->no_memory = true;
		return 0;
	}
	as->n_labels += n;
	for (; n > 0; n--)
		as->labels[first + n - 1].at = NOT_PLACED;
	return first;
}

void x64_place(struct x64_asm *as, uint32_t label)
{
	if (label < as->n_labels)
		as->labels[label] = (struct x64_label){.at = as->used, .n_jumps = as->n_jumps};
}

bool x64_label_used(const struct x64_asm *as, uint32_t label)
{
	uint32_t i;

	for (i = 0; i < as->n_jumps; i++)
		if (as->jumps[i].label == label && as->jumps[i].kind != JUMP_ALIGN)
			return true;
	return false;
}

static void add_jump(struct x64_asm *as, enum x64_jump_kind kind, enum x64_cond cond,
		     uint32_t label)
{
	as->jumps[as->n_jumps++] = (struct x64_jump){
		.at = as->used, .label = label, .kind = kind, .cond = cond};
}

void x64_jmp(struct x64_asm *as, uint32_t label)
{
	add_jump(as, JUMP_ALWAYS, 0, label);
}

void x64_jcc(struct x64_asm *as, enum x64_cond cond, uint32_t label)
{
	add_jump(as, JUMP_COND, cond, label);
}

void x64_call_label(struct x64_asm *as, uint32_t label)
{
	add_jump(as, JUMP_CALL, 0, label);
}

void x64_align(struct x64_asm *as)
{
	add_jump(as, JUMP_ALIGN, 0, 0);
}

uint32_t x64_label_offset(const struct x64_asm *as, uint32_t label)
{
	const struct x64_label *l = &as->labels[label];

	return as->offsets[l->n_jumps] + l->at -
	       (l->n_jumps < as->n_jumps ? as->jumps[l->n_jumps].at : as->used);
}

/* offsets[i] is where jump i starts; the last one, where the code ends. */
static void sum_offsets(struct x64_asm *as)
{
	uint32_t i, sum = 0;

	for (i = 0; i < as->n_jumps; i++) {
		struct x64_jump *jump = &as->jumps[i];

		as->offsets[i] = jump->at + sum;
		if (jump->kind == JUMP_ALIGN)
			jump->size = -as->offsets[i] & 15;
		sum += jump->size;
	}
	as->offsets[as->n_jumps] = as->used + sum;
}

/* The jump to the instruction behind it is none. */
static bool jumps_nowhere(const struct x64_asm *as, uint32_t i)
{
	const struct x64_jump *jump = &as->jumps[i];
	const struct x64_label *label = &as->labels[jump->label];

	return jump->kind == JUMP_ALWAYS && label->at == jump->at && label->n_jumps == i + 1;
}

static int64_t distance(const struct x64_asm *as, uint32_t i)
{
	return (int64_t)x64_label_offset(as, as->jumps[i].label) -
	       (int64_t)(as->offsets[i] + as->jumps[i].size);
}

uint32_t x64_layout(struct x64_asm *as)
{
	bool grown = true;
	uint32_t i;

	if (as->no_memory)
		return 0;
	as->offsets = malloc((as->n_jumps + 1) * sizeof(*as->offsets));
	if (!as->offsets)
		return 0;
	for (i = 0; i < as->n_jumps; i++) {
		struct x64_jump *jump = &as->jumps[i];

		if (jump->kind == JUMP_CALL)
			jump->size = 5;
		else if (jump->kind != JUMP_ALIGN)
			jump->size = jumps_nowhere(as, i) ? 0 : 2;
	}
	/* Start with all short; a jump that grows never shrinks again, so this ends. */
	while (grown) {
		grown = false;
		sum_offsets(as);
		for (i = 0; i < as->n_jumps; i++) {
			struct x64_jump *jump = &as->jumps[i];
			int64_t d;

			if (jump->size != 2 || jump->kind == JUMP_ALIGN)
				continue;
			d = distance(as, i);
			if (d >= INT8_MIN && d <= INT8_MAX)
				continue;
			jump->size = jump->kind == JUMP_COND ? 6 : 5;
			grown = true;
		}
	}
	return as->offsets[as->n_jumps];
}

/*
 *   eb rel8         jmp          e9 rel32        jmp
 *   7c rel8         jcc          0f 8c rel32     jcc
 *                                e8 rel32        call
 */
static void write_jump(const struct x64_asm *as, uint32_t i, uint8_t *out)
{
	const struct x64_jump *jump = &as->jumps[i];
	int32_t rel;

	if (jump->kind == JUMP_ALIGN) {
		memset(out, 0x90, jump->size);
		return;
	}
	rel = (int32_t)distance(as, i);
	switch (jump->size) {
	case 0:
		return;
	case 2:
		*out++ = jump->kind == JUMP_COND ? (uint8_t)(0x70 | jump->cond) : 0xeb;
		*out = (uint8_t)rel;
		return;
	case 5:
		*out++ = jump->kind == JUMP_CALL ? 0xe8 : 0xe9;
		break;
	default:
		*out++ = 0x0f;
		*out++ = (uint8_t)(0x80 | jump->cond);
		break;
	}
	memcpy(out, &rel, sizeof(rel));
}

void x64_write(const struct x64_asm *as, uint8_t *code)
{
	uint32_t i, from = 0;

	for (i = 0; i < as->n_jumps; i++) {
		uint32_t n = as->jumps[i].at - from;

		memcpy(code + as->offsets[i] - n, as->code + from, n);
		write_jump(as, i, code + as->offsets[i]);
		from = as->jumps[i].at;
	}
	memcpy(code + as->offsets[i] - (as->used - from), as->code + from, as->used - from);
}
