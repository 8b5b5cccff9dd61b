/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls and returns: RFC 9669 section 4.3.1 and 4.3.2. */
#include <errno.h>

#include "verifier.h"

int verify_helper_call(struct verifier *v, struct state *state, uint32_t pc)
{
	return refuse(v, state, pc, "there is no helper %d", v->prog->insns[pc].imm);
}

/* The callee gets r1 to r5; it returns r0, and r6 to r9 are as they were. */
int verify_local_call(struct verifier *v, struct state *state, uint32_t pc)
{
	struct reg *caller;

	if (state->n_frames == MAX_FRAMES)
		return refuse(v, state, pc, "calls are nested more than %d deep", MAX_FRAMES);
	state_frame(state)->return_to = pc + 1;
	if (!state_push_frame(state))
		return -ENOMEM;
	caller = state->frames[state->n_frames - 2]->regs;
	for (unsigned int i = 1; i <= 5; i++) {
		state_reg(state, i)[0] = caller[i];
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
