/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls and returns: RFC 9669 section 4.3.1 and 4.3.2. */
#include <errno.h>

#include "maps.h"
#include "verifier.h"

/* More than any memory that a program can name; keeps ends of spans small. */
#define MAX_ARGUMENT_SIZE (UINT64_C(1) << 32)

/* A call of a helper that is being checked. */
struct call {
	const struct dpcap_vm_helper *helper;
	const struct dpcap_vm_map_def *map; /* of the DPCAP_VM_ARG_MAP seen so far */
	uint32_t map_index;
};

/* What may be read, or written, at the pointer in register n. */
static int check_memory(struct verifier *v, struct state *state, uint32_t pc, unsigned int n,
			uint32_t size, bool write, bool certain)
{
	const struct reg pointer = *state_reg(state, n);

	if (!reg_is_pointer(&pointer))
		return refuse(v, state, pc, "r%u is a number, not a pointer to memory", n);
	if (pointer.region == REGION_STACK)
		return stack_argument(v, state, pc, &pointer, size, write, certain);
	return check_access(v, state, pc, &pointer, size, write);
}

/* Memory in register n whose size is in register n + 1. */
static int check_sized_memory(struct verifier *v, struct state *state, uint32_t pc,
			      const struct call *call, unsigned int n)
{
	bool write = call->helper->args[n - 1] == DPCAP_VM_ARG_MEM_WRITABLE;
	bool may_be_zero;
	const struct reg *size;
	struct reg end;
	int rc = check_readable(v, state, pc, n + 1);

	if (rc)
		return rc;
	may_be_zero = call->helper->args[n] == DPCAP_VM_ARG_SIZE_OR_ZERO;
	size = state_reg(state, n + 1);
	if (!reg_is_scalar(size))
		return refuse(v, state, pc, "r%u is a pointer, not a size", n + 1);
	if (size->value.word.umin == 0 && !may_be_zero)
		return refuse(v, state, pc, "the size in r%u may be 0", n + 1);
	if (size->value.word.umax == 0)
		return 0;
	/* A size known by its relation to the packet's length. */
	if (reg_is_pointer(state_reg(state, n)) && state_reg(state, n)->region == REGION_PACKET &&
	    !write && size->value.word.smin >= 0 && state_reg(state, n)->value.word.smin >= 0 &&
	    !state_reg(state, n)->or_null && size->value.word.smax <= POINTER_OFFSET_LIMIT) {
		end = *state_reg(state, n);
		if (form_add(end.form, size->form, &end.form)) {
			end.value = scalar_alu(SCALAR_ADD, &end.value, &size->value);
			if (state_room(state, &end) >= 0)
				return 0;
		}
	}
	if (size->value.word.umax >= MAX_ARGUMENT_SIZE)
		return refuse(v, state, pc, "the size in r%u has no bound", n + 1);
	return check_memory(v, state, pc, n, (uint32_t)size->value.word.umax, write,
			    scalar_is_const(&size->value));
}

static int check_map_argument(struct verifier *v, struct state *state, uint32_t pc,
			      struct call *call, unsigned int n)
{
	const struct reg *reg = state_reg(state, n);

	if (!reg_is_pointer(reg) || reg->region != REGION_MAP)
		return refuse(v, state, pc, "r%u is not a map", n);
	call->map_index = reg->object;
	call->map = &v->prog->maps[reg->object]->def;
	return 0;
}

static int check_argument(struct verifier *v, struct state *state, uint32_t pc, struct call *call,
			  unsigned int n)
{
	enum dpcap_vm_arg kind = call->helper->args[n - 1];
	int rc;

	if (kind == DPCAP_VM_ARG_NONE)
		return 0;
	rc = check_readable(v, state, pc, n);
	if (rc)
		return rc;
	switch (kind) {
	case DPCAP_VM_ARG_SCALAR:
		if (!reg_is_scalar(state_reg(state, n)))
			return refuse(v, state, pc, "r%u is a pointer, %s takes a number", n,
				      call->helper->name);
		return 0;
	case DPCAP_VM_ARG_MAP:
		return check_map_argument(v, state, pc, call, n);
	case DPCAP_VM_ARG_MAP_KEY:
	case DPCAP_VM_ARG_MAP_VALUE:
		if (!call->map)
			break;
		return check_memory(v, state, pc, n,
				    kind == DPCAP_VM_ARG_MAP_KEY ? call->map->key_size
								 : call->map->value_size,
				    false, true);
	case DPCAP_VM_ARG_MEM:
	case DPCAP_VM_ARG_MEM_WRITABLE:
		if (n == 5 || (call->helper->args[n] != DPCAP_VM_ARG_SIZE &&
			       call->helper->args[n] != DPCAP_VM_ARG_SIZE_OR_ZERO))
			break;
		return check_sized_memory(v, state, pc, call, n);
	case DPCAP_VM_ARG_SIZE:
	case DPCAP_VM_ARG_SIZE_OR_ZERO:
		return 0; /* checked with its memory */
	default:
		break;
	}
	return refuse(v, state, pc, "the signature of helper %s makes no sense", call->helper->name);
}

/* By number, or by a register that holds a known number. */
static int find_helper(struct verifier *v, struct state *state, uint32_t pc,
		       const struct dpcap_vm_helper **helper)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	uint64_t id = (uint32_t)insn->imm;
	const struct reg *reg;
	int rc;

	if (insn_is_x(insn)) {
		rc = check_readable(v, state, pc, insn_dst(insn));
		if (rc)
			return rc;
		reg = state_reg(state, insn_dst(insn));
		if (!reg_is_scalar(reg) || !scalar_is_const(&reg->value))
			return refuse(v, state, pc, "r%u does not hold a known helper", insn_dst(insn));
		id = reg->value.bits.value;
	}
	*helper = dpcap_vm_find_helper(v->prog, id);
	if (!*helper)
		return refuse(v, state, pc, "there is no helper %lld", (long long)id);
	return 0;
}

/* r1 to r5 are gone, r0 is the result, memory given away to write is unknown. */
int verify_helper_call(struct verifier *v, struct state *state, uint32_t pc)
{
	struct call call = {0};
	struct reg *regs;
	int rc = find_helper(v, state, pc, &call.helper);

	for (unsigned int n = 1; n <= 5 && !rc; n++)
		rc = check_argument(v, state, pc, &call, n);
	if (rc)
		return rc;
	if (call.helper->ret == DPCAP_VM_RET_MAP_VALUE_OR_NULL && !call.map)
		return refuse(v, state, pc, "the signature of helper %s makes no sense",
			      call.helper->name);
	regs = state_frame(state)->regs;
	for (unsigned int n = 1; n <= 5; n++)
		regs[n].type = REG_UNINIT;
	if (call.helper->ret == DPCAP_VM_RET_SCALAR) {
		regs[0] = new_number(v, scalar_unknown());
		return 0;
	}
	regs[0] = reg_pointer(REGION_MAP_VALUE, call.map_index, 0);
	regs[0].or_null = true;
	regs[0].null_id = v->next_symbol++;
	return 0;
}

/* The callee gets r1 to r5; it returns r0, and r6 to r9 are as they were. */
int verify_local_call(struct verifier *v, struct state *state, uint32_t pc)
{
	struct reg *caller;

	if (state->n_frames == DPCAP_VM_MAX_FRAMES)
		return refuse(v, state, pc, "calls are nested more than %d deep",
			      DPCAP_VM_MAX_FRAMES);
	if (!state_push_frame(state))
		return -ENOMEM;
	caller = state->frames[state->n_frames - 2]->regs;
	for (unsigned int i = 1; i <= 5; i++) {
		*state_reg(state, i) = caller[i];
		caller[i].type = REG_UNINIT;
	}
	caller[0].type = REG_UNINIT;
	return 0;
}

/* Leaves the callee's frame; at the end of the program, checks the result. */
int verify_exit(struct verifier *v, struct state *state, uint32_t pc)
{
	struct reg result = *state_reg(state, 0);
	int rc;

	if (state->n_frames == 1) {
		rc = check_readable(v, state, pc, 0);
		if (rc)
			return rc;
		if (reg_is_pointer(&result))
			return refuse(v, state, pc, "the program returns a pointer");
		return 0;
	}
	if (reg_is_pointer(&result) && result.region == REGION_STACK &&
	    result.object == state->n_frames - 1)
		return refuse(v, state, pc, "a function returns a pointer to its own stack");
	state_pop_frame(state);
	*state_reg(state, 0) = result;
	return 0;
}
