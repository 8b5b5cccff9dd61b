/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts: structures of the host whose fields tell where a packet is. A field is
 * accessed at a known place, on every way through the program, and nowhere else; so
 * each such instruction can be rewritten to where the host has the field.
 */
#include <errno.h>
#include <inttypes.h>

#include "verifier.h"

static bool is_access_size(unsigned int size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

int ctx_check_fields(const struct dpcap_vm_prog *prog, struct dpcap_vm_log *log)
{
	for (uint32_t i = 0; i < prog->n_ctx_fields; i++) {
		const struct dpcap_vm_ctx_field *field = &prog->ctx_fields[i];
		bool scalar = field->kind == DPCAP_VM_CTX_SCALAR;

		if (i >= UINT16_MAX || field->kind > DPCAP_VM_CTX_PACKET_END ||
		    !is_access_size(field->size) || !is_access_size(field->host_size) ||
		    field->host_offset > INT16_MAX || (scalar && field->size < field->host_size) ||
		    (!scalar && (field->host_size != 8 || field->size < 4 || field->writable)) ||
		    (field->writable && field->size != field->host_size)) {
			dpcap_vm_log_printf(log, "context field %u makes no sense\n", i);
			return -EINVAL;
		}
	}
	return 0;
}

/* The field at the pointer, noted for the instruction. */
static int find_field(struct verifier *v, struct state *state, uint32_t pc,
		      const struct reg *pointer, unsigned int size,
		      const struct dpcap_vm_ctx_field **out)
{
	int64_t offset = v->prog->insns[pc].offset;

	/* The pointer includes the instruction's offset. */
	if (!scalar_is_const(&pointer->value) || pointer->value.word.smin != offset)
		return refuse(v, state, pc, "access by a context pointer that was moved");
	for (uint32_t i = 0; i < v->prog->n_ctx_fields; i++) {
		const struct dpcap_vm_ctx_field *field = &v->prog->ctx_fields[i];

		if (field->offset != offset || field->size != size)
			continue;
		v->prog->aux[pc].ctx_field = (uint16_t)(i + 1);
		*out = field;
		return 0;
	}
	return refuse(v, state, pc, "the context has no field of %u bytes at %" PRId64, size, offset);
}

int ctx_load(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
	     unsigned int size, bool sign, struct reg *out)
{
	const struct dpcap_vm_ctx_field *field;
	int rc = find_field(v, state, pc, pointer, size, &field);

	if (rc)
		return rc;
	if (sign && (field->kind != DPCAP_VM_CTX_SCALAR || field->size != field->host_size))
		return refuse(v, state, pc, "this context field cannot be sign-extended");
	switch (field->kind) {
	case DPCAP_VM_CTX_PACKET:
		*out = reg_pointer(REGION_PACKET, 0, 0);
		break;
	case DPCAP_VM_CTX_PACKET_END:
		*out = reg_pointer(REGION_PACKET, 0, 0);
		out->form = form_len();
		out->value = state->len;
		break;
	default:
		*out = new_number(v, loaded_value(field->host_size, sign));
		break;
	}
	return 0;
}

int ctx_store(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
	      unsigned int size, const struct reg *value)
{
	const struct dpcap_vm_ctx_field *field;
	int rc = find_field(v, state, pc, pointer, size, &field);

	if (rc)
		return rc;
	if (!field->writable)
		return refuse(v, state, pc, "the context field at %u is read-only", field->offset);
	if (reg_is_pointer(value))
		return refuse(v, state, pc, "a pointer is stored outside the stack");
	return 0;
}

void ctx_rewrite(struct dpcap_vm_prog *prog)
{
	static const uint8_t sizes[] = {[1] = BPF_B, [2] = BPF_H, [4] = BPF_W, [8] = BPF_DW};

	for (uint32_t pc = 0; pc < prog->n_insns; pc++) {
		struct dpcap_insn *insn = &prog->insns[pc];
		const struct dpcap_vm_ctx_field *field;

		if (!prog->aux[pc].ctx_field)
			continue;
		field = &prog->ctx_fields[prog->aux[pc].ctx_field - 1];
		insn->opcode = (insn->opcode & ~BPF_DW) | sizes[field->host_size];
		insn->offset = (int16_t)field->host_offset;
	}
}
