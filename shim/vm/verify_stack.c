/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stack: 512 bytes a frame in slots of eight.
 *
 *   r10-24   r10-16   r10-8    r10
 *      +--------+--------+--------+
 *      | slot 2 | slot 1 | slot 0 |
 *      +--------+--------+--------+
 *
 * A value stored at a known place is known when it is loaded from there again.
 * Of the other bytes it is only known whether they are initialised.
 */
#include <errno.h>
#include <inttypes.h>

#include "verifier.h"

#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* All bytes that may be touched are in the frame. */
static int check_bounds(struct verifier *v, struct state *state, uint32_t pc,
			const struct reg *pointer, unsigned int size)
{
	const struct range *range = &pointer->value.word;

	if (range->smin < -DPCAP_VM_STACK_SIZE || range->smax + (int64_t)size > 0)
		return refuse(v, state, pc,
			      "stack access at %" PRId64 "..%" PRId64 " is not within -%d..-1",
			      range->smin, range->smax + (int64_t)size - 1, DPCAP_VM_STACK_SIZE);
	v->stack_used = MAX(v->stack_used, pointer->object * (uint32_t)DPCAP_VM_STACK_SIZE +
						   (uint32_t)-range->smin);
	return 0;
}

/* The part of an access that lies in the slot of its byte at offset. */
static unsigned int bytes_in_slot(int64_t offset, unsigned int size)
{
	unsigned int room = 8 - (unsigned int)(offset & 7);

	return size < room ? size : room;
}

static uint8_t byte_mask(unsigned int first, unsigned int n)
{
	return (uint8_t)(low_bits(n) << first);
}

static bool slot_overlaps(const struct slot *slot, unsigned int first, unsigned int n)
{
	return slot->size && byte_mask(slot->offset, slot->size) & byte_mask(first, n);
}

/* Bytes [lo, hi) are initialised and no part of a saved pointer. */
static int check_initialised(struct verifier *v, struct state *state, uint32_t pc, uint32_t frame,
			     int64_t lo, int64_t hi)
{
	for (int64_t offset = lo; offset < hi;) {
		unsigned int first = offset & 7, n = bytes_in_slot(offset, (unsigned int)(hi - offset));
		struct slot *slot = state_slot(state, frame, offset);

		if (!slot)
			return -ENOMEM;
		if (byte_mask(first, n) & ~slot->init)
			return refuse(v, state, pc,
				      "stack bytes %" PRId64 "..%" PRId64 " are not initialised", offset,
				      offset + n - 1);
		if (slot_overlaps(slot, first, n) && reg_is_pointer(&slot->saved))
			return refuse(v, state, pc, "a part of a saved pointer is read");
		offset += n;
	}
	return 0;
}

/* What `size` bytes at `first` of a slot hold, zero-extended, where that is known. */
static bool slot_value(struct verifier *v, const struct slot *slot, unsigned int first,
		       unsigned int size, struct reg *out)
{
	struct scalar shift, value;

	if (!slot->size || first < slot->offset || first + size > slot->offset + slot->size)
		return false;
	if (first == slot->offset && size == slot->size) {
		*out = slot->saved;
		return true;
	}
	if (reg_is_pointer(&slot->saved))
		return false;
	shift = scalar_const(8 * (first - slot->offset));
	value = scalar_alu(SCALAR_RSH, &slot->saved.value, &shift);
	*out = new_number(v, scalar_zext(&value, 8 * size));
	return true;
}

int stack_load(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
	       unsigned int size, bool sign, struct reg *out)
{
	int64_t lo = pointer->value.word.smin, hi = pointer->value.word.smax + (int64_t)size;
	struct slot *slot;
	int rc = check_bounds(v, state, pc, pointer, size);

	if (rc)
		return rc;
	*out = new_number(v, loaded_value(size, sign));
	if (scalar_is_const(&pointer->value) && bytes_in_slot(lo, size) == size) {
		slot = state_slot(state, pointer->object, lo);
		if (!slot)
			return -ENOMEM;
		if (slot_value(v, slot, lo & 7, size, out)) {
			if (sign && reg_is_scalar(out))
				*out = new_number(v, scalar_sext(&out->value, 8 * size));
			return 0;
		}
	}
	return check_initialised(v, state, pc, pointer->object, lo, hi);
}

/* Bytes of a slot are overwritten with something unknown. */
static void slot_clobber(struct slot *slot, unsigned int first, unsigned int n, bool certain)
{
	if (slot_overlaps(slot, first, n)) {
		/* The rest of a pointer is not a number. */
		if (reg_is_pointer(&slot->saved))
			slot->init = 0;
		slot->size = 0;
	}
	if (certain)
		slot->init |= byte_mask(first, n);
}

/* Bytes [lo, hi) are overwritten, or may be. */
static int clobber(struct state *state, uint32_t frame, int64_t lo, int64_t hi, bool certain)
{
	for (int64_t offset = lo; offset < hi;) {
		unsigned int n = bytes_in_slot(offset, (unsigned int)(hi - offset));
		struct slot *slot = state_slot(state, frame, offset);

		if (!slot)
			return -ENOMEM;
		slot_clobber(slot, offset & 7, n, certain);
		offset += n;
	}
	return 0;
}

int stack_argument(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
		   unsigned int size, bool write, bool certain)
{
	int64_t lo = pointer->value.word.smin, hi = pointer->value.word.smax + (int64_t)size;
	int rc = check_bounds(v, state, pc, pointer, size);

	if (rc)
		return rc;
	if (!write)
		return check_initialised(v, state, pc, pointer->object, lo, hi);
	return clobber(state, pointer->object, lo, hi,
		       certain && scalar_is_const(&pointer->value));
}

static int check_stored_pointer(struct verifier *v, struct state *state, uint32_t pc,
				const struct reg *pointer, unsigned int size,
				const struct reg *value)
{
	if (size != 8 || !scalar_is_const(&pointer->value) || pointer->value.word.smin & 7)
		return refuse(v, state, pc, "a pointer can only be saved in an aligned stack slot");
	if (value->region == REGION_STACK && value->object > pointer->object)
		return refuse(v, state, pc, "a pointer to a function's stack would outlive it");
	return 0;
}

int stack_store(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
		unsigned int size, const struct reg *value)
{
	int64_t lo = pointer->value.word.smin, hi = pointer->value.word.smax + (int64_t)size;
	bool certain = scalar_is_const(&pointer->value);
	struct slot *slot;
	int rc = check_bounds(v, state, pc, pointer, size);

	if (!rc && reg_is_pointer(value))
		rc = check_stored_pointer(v, state, pc, pointer, size, value);
	if (!rc)
		rc = clobber(state, pointer->object, lo, hi, certain);
	if (rc || !certain || bytes_in_slot(lo, size) != size)
		return rc;
	slot = state_slot(state, pointer->object, lo);
	slot->offset = lo & 7;
	slot->size = (uint8_t)size;
	slot->saved = *value;
	if (reg_is_scalar(value) && size < 8 && value->value.word.umax > low_bits(8 * size))
		slot->saved = new_number(v, scalar_zext(&value->value, 8 * size));
	return 0;
}
