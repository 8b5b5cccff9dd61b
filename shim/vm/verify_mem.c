/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads, stores and atomic operations: RFC 9669 section 5. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "maps.h"
#include "verifier.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* A table is looked through, to bound what is read of it, over this many bytes. */
#define MAX_TABLE_SCAN 4096

/* Bytes [lo, hi] from the start of the region that an access may touch. */
struct span {
	int64_t lo, hi;
};

static struct span access_span(const struct reg *pointer, unsigned int size)
{
	return (struct span){
		pointer->value.word.smin,
		pointer->value.word.smax + (int64_t)size - 1,
	};
}

static int check_packet(struct verifier *v, struct state *state, uint32_t pc,
			const struct reg *pointer, unsigned int size)
{
	struct span span = access_span(pointer, size);
	int64_t room = state_room(state, pointer);

	if (span.lo < 0)
		return refuse(v, state, pc,
			      "packet access at %" PRId64 "..%" PRId64
			      " may be before the start of the packet",
			      span.lo, span.hi);
	if (room >= (int64_t)size)
		return 0;
	if (scalar_is_const(&pointer->value))
		return refuse(v, state, pc,
			      "packet access at %" PRId64 "..%" PRId64
			      " not proved: length is only known to be >= %" PRIu64,
			      span.lo, span.hi, state->len.word.umin);
	return refuse(v, state, pc,
		      "packet access of %u bytes at a variable offset (%" PRId64 "..%" PRId64
		      ") not proved: length is only known to be >= offset + %" PRId64,
		      size, span.lo, span.hi, room);
}

static int check_region(struct verifier *v, struct state *state, uint32_t pc,
			const struct reg *pointer, unsigned int size, const char *name,
			uint64_t region_size)
{
	struct span span = access_span(pointer, size);

	if (span.lo >= 0 && (uint64_t)span.hi < region_size)
		return 0;
	return refuse(v, state, pc,
		      "%s access at %" PRId64 "..%" PRId64 " is not within its %" PRIu64 " bytes", name,
		      span.lo, span.hi, region_size);
}

/* Anything but the stack. */
int check_access(struct verifier *v, struct state *state, uint32_t pc,
			const struct reg *pointer, unsigned int size, bool write)
{
	const struct dpcap_vm_map_def *def;

	if (pointer->or_null)
		return refuse(v, state, pc, "the pointer may be null");
	switch (pointer->region) {
	case REGION_PACKET:
		if (write)
			return refuse(v, state, pc, "the packet is read-only");
		return check_packet(v, state, pc, pointer, size);
	case REGION_RODATA:
		if (write)
			return refuse(v, state, pc, "the program's tables are read-only");
		return check_region(v, state, pc, pointer, size, "table", v->prog->rodata_size);
	case REGION_MEMORY:
		return check_region(v, state, pc, pointer, size, "memory", v->prog->mem_size);
	case REGION_MAP_VALUE:
	case REGION_MAP_ARRAY:
		def = &v->prog->maps[pointer->object]->def;
		if (write && def->read_only)
			return refuse(v, state, pc, "map %s is read-only", def->name);
		return check_region(v, state, pc, pointer, size, "map value",
				    pointer->region == REGION_MAP_VALUE
					    ? def->value_size
					    : (uint64_t)v->prog->maps[pointer->object]->value_stride *
						      def->max_entries);
	}
	return refuse(v, state, pc, "not memory that can be accessed");
}

/* The pointer base + offset of an access, base being a register that is read. */
static int access_pointer(struct verifier *v, struct state *state, uint32_t pc, unsigned int base,
			  struct reg *out)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	struct scalar offset = scalar_const((uint64_t)(int64_t)insn->offset);
	int rc = check_readable(v, state, pc, base);

	if (rc)
		return rc;
	*out = *state_reg(state, base);
	if (!reg_is_pointer(out))
		return refuse(v, state, pc, "r%u is a number, not a pointer", base);
	if (v->prog->type == DPCAP_VM_CONTEXT) {
		struct dpcap_vm_insn_aux *aux = &v->prog->aux[pc];

		/* Accesses of context fields will be rewritten. */
		aux->plain_access |= out->region != REGION_CONTEXT;
		if (aux->plain_access && (aux->ctx_field || out->region == REGION_CONTEXT))
			return refuse(v, state, pc, "r%u is a context on some ways to here only",
				      base);
	}
	/* Bounded by POINTER_OFFSET_LIMIT: this does not wrap. */
	out->value = scalar_alu(SCALAR_ADD, &out->value, &offset);
	out->form.delta += insn->offset;
	return 0;
}

struct scalar loaded_value(unsigned int size, bool sign)
{
	struct range full = range_full(8 * size);

	return sign ? scalar_from_signed(full.smin, full.smax) : scalar_from_unsigned(0, full.umax);
}

/* What the tables hold where the load may read: they never change. */
static struct scalar table_value(struct verifier *v, const struct reg *pointer, unsigned int size,
				 bool sign)
{
	struct span span = access_span(pointer, 1);
	uint64_t umin = UINT64_MAX, umax = 0;
	int64_t smin = INT64_MAX, smax = INT64_MIN;

	if (span.hi < span.lo || span.hi - span.lo > MAX_TABLE_SCAN)
		return loaded_value(size, sign);
	v->steps += (uint64_t)(span.hi - span.lo) / 16;
	for (int64_t i = span.lo; i <= span.hi; i++) {
		uint64_t word = 0;
		int64_t extended;

		if (!tnum_contains(pointer->value.bits, (uint64_t)i))
			continue;
		memcpy(&word, v->prog->rodata + i, size);
		extended = sign_extend(word, 8 * size);
		umin = MIN(umin, word);
		umax = MAX(umax, word);
		smin = MIN(smin, extended);
		smax = MAX(smax, extended);
	}
	return sign ? scalar_from_signed(smin, smax) : scalar_from_unsigned(umin, umax);
}

int verify_lddw(struct verifier *v, struct state *state, uint32_t pc)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	struct reg *dst = state_reg(state, insn_dst(insn));

	switch (insn_src(insn)) {
	case BPF_LDDW_IMM:
		*dst = reg_const(insn_imm64(insn));
		return 0;
	case BPF_LDDW_MAP_VALUE_BY_INDEX:
		*dst = insn->imm ? reg_pointer(REGION_MAP_ARRAY, (uint32_t)insn->imm - 1,
					       (uint32_t)insn[1].imm)
				 : reg_pointer(REGION_RODATA, 0, (uint32_t)insn[1].imm);
		return 0;
	case BPF_LDDW_MAP_BY_INDEX:
		*dst = reg_pointer(REGION_MAP, (uint32_t)insn->imm, 0);
		return 0;
	}
	/* The structure check has refused it. */
	return refuse(v, state, pc, "64-bit immediate of unknown kind %u", insn_src(insn));
}

int verify_load(struct verifier *v, struct state *state, uint32_t pc)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	unsigned int size = insn_mem_size(insn);
	bool sign = insn_mode(insn) == BPF_MEMSX;
	struct reg pointer, out;
	int rc = access_pointer(v, state, pc, insn_src(insn), &pointer);

	if (rc)
		return rc;
	if (pointer.region == REGION_STACK) {
		rc = stack_load(v, state, pc, &pointer, size, sign, &out);
	} else if (pointer.region == REGION_CONTEXT) {
		rc = ctx_load(v, state, pc, &pointer, size, sign, &out);
	} else {
		rc = check_access(v, state, pc, &pointer, size, false);
		if (rc)
			return rc;
		out = new_number(v, pointer.region == REGION_RODATA
					    ? table_value(v, &pointer, size, sign)
					    : loaded_value(size, sign));
	}
	if (!rc)
		*state_reg(state, insn_dst(insn)) = out;
	return rc;
}

int verify_store(struct verifier *v, struct state *state, uint32_t pc)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	unsigned int size = insn_mem_size(insn);
	struct reg pointer, value;
	int rc = access_pointer(v, state, pc, insn_dst(insn), &pointer);

	if (rc)
		return rc;
	if (insn_class(insn) == BPF_STX) {
		rc = check_readable(v, state, pc, insn_src(insn));
		if (rc)
			return rc;
		value = *state_reg(state, insn_src(insn));
	} else {
		value = reg_const((uint64_t)(int64_t)insn->imm);
	}
	if (pointer.region == REGION_STACK)
		return stack_store(v, state, pc, &pointer, size, &value);
	if (pointer.region == REGION_CONTEXT)
		return ctx_store(v, state, pc, &pointer, size, &value);
	if (reg_is_pointer(&value))
		return refuse(v, state, pc, "a pointer is stored outside the stack");
	return check_access(v, state, pc, &pointer, size, true);
}

/* RFC 9669 section 5.3. Natural alignment is asked for: an access across cache
 * lines is not atomic everywhere, and may trap. */
int verify_atomic(struct verifier *v, struct state *state, uint32_t pc)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	unsigned int size = insn_mem_size(insn), result = BPF_N_REGS;
	struct reg pointer, old, value;
	int rc = access_pointer(v, state, pc, insn_dst(insn), &pointer);

	if (!rc)
		rc = check_readable(v, state, pc, insn_src(insn));
	if (rc)
		return rc;
	if (reg_is_pointer(state_reg(state, insn_src(insn))))
		return refuse(v, state, pc, "an atomic operation with a pointer");
	if (insn->imm == BPF_ATOMIC_CMPXCHG) {
		rc = check_readable(v, state, pc, 0);
		if (rc)
			return rc;
		if (reg_is_pointer(state_reg(state, 0)))
			return refuse(v, state, pc, "an atomic operation with a pointer");
		result = 0;
	} else if (insn->imm & BPF_FETCH) {
		result = insn_src(insn);
	}
	if ((pointer.value.bits.value | pointer.value.bits.mask) & (size - 1))
		return refuse(v, state, pc, "an atomic operation that is not aligned to %u bytes",
			      size);
	old = new_number(v, loaded_value(size, false));
	if (pointer.region == REGION_STACK) {
		rc = stack_load(v, state, pc, &pointer, size, false, &value);
		if (rc)
			return rc;
		if (reg_is_pointer(&value))
			return refuse(v, state, pc, "an atomic operation on a saved pointer");
		value = new_number(v, loaded_value(size, false));
		rc = stack_store(v, state, pc, &pointer, size, &value);
	} else {
		rc = check_access(v, state, pc, &pointer, size, true);
	}
	if (!rc && result < BPF_N_REGS)
		*state_reg(state, result) = old;
	return rc;
}
