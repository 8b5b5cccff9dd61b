/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verifier: walks every way through the program with what is known instead of
 * values.
 *
 * Blocks are walked in an order in which all ways to a block come before it, so
 * states that meet are brought together there: first into one, which makes the
 * time linear; where that proves too little, up to 8 and then 64 are kept apart.
 * A loop is walked round by round, its states of one round kept apart from those
 * of the next, until no state is left in it. That proves its end, and the number
 * of instructions walked bounds the number executed.
 */
#include <errno.h>
#include <stdlib.h>

#include "verifier.h"

#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* States waiting at once, beyond which they are joined at once. */
#define MAX_LIVE_STATES 4096
/* Blocks looked at, which costs time even where no state enters them. */
#define MAX_VISITS 20000000

/* The states at one place. */
struct set {
	struct state *first;
	uint32_t n;
};

/* A function being walked. */
struct walk {
	struct verifier *v;
	const struct function *function;
	struct set *at;	   /* by block of the function: states that enter it */
	struct set *exits; /* of the caller: states after the return */
};

static int walk_function(struct verifier *v, const struct function *function,
			 struct state *state, struct set *exits);

struct reg new_number(struct verifier *v, struct scalar value)
{
	return reg_from_scalar(value, v->next_symbol++);
}

int check_readable(struct verifier *v, struct state *state, uint32_t pc, unsigned int n)
{
	switch (state_reg(state, n)->type) {
	case REG_UNINIT:
		return refuse(v, state, pc, "r%u is not initialised", n);
	case REG_PART:
		return refuse(v, state, pc, "r%u is a part of a pointer", n);
	case REG_MIXED:
		return refuse(v, state, pc,
			      "r%u is a different kind of value on different ways to here", n);
	}
	return 0;
}

static void set_free(struct verifier *v, struct set *set)
{
	while (set->first) {
		struct state *state = set->first;

		set->first = state->next;
		state_free(state);
		v->live_states--;
	}
	set->n = 0;
}

static struct state *set_take(struct verifier *v, struct set *set)
{
	struct state *state = set->first;

	if (state) {
		set->first = state->next;
		set->n--;
		state->next = NULL;
		v->live_states--;
	}
	return state;
}

/* Registers that nobody reads any more should not keep states apart. */
static void forget_dead(struct state *state, uint16_t live)
{
	struct reg *regs = state_frame(state)->regs;

	for (unsigned int i = 0; i < BPF_REG_FP; i++)
		if (!(live >> i & 1))
			regs[i].type = REG_UNINIT;
}

/* Takes the state over. live: registers that may be read from here. */
static void set_add(struct verifier *v, struct set *set, struct state *state, uint16_t live)
{
	struct state *other, *alike = NULL;

	forget_dead(state, live);
	for (other = set->first; other; other = other->next) {
		if (state_includes(other, state)) {
			state_free(state);
			return;
		}
		if (!alike && state_same_shape(other, state))
			alike = other;
	}
	if (set->n < (v->live_states < MAX_LIVE_STATES ? v->max_states : 1)) {
		state->next = set->first;
		set->first = state;
		set->n++;
		v->live_states++;
		return;
	}
	v->joined = true;
	state_join(alike ? alike : set->first, state, &v->next_symbol);
	state_free(state);
}

static void add_to_block(struct walk *walk, uint32_t block, struct state *state)
{
	set_add(walk->v, &walk->at[block - walk->function->first_block], state,
		walk->v->cfg.blocks[block].live_in);
}

static int walk_insn(struct verifier *v, struct state *state, uint32_t pc)
{
	const struct dpcap_insn *insn = &v->prog->insns[pc];

	switch (insn_class(insn)) {
	case BPF_LD:
		return verify_lddw(v, state, pc);
	case BPF_LDX:
		return verify_load(v, state, pc);
	case BPF_ST:
		return verify_store(v, state, pc);
	case BPF_STX:
		return insn_mode(insn) == BPF_ATOMIC ? verify_atomic(v, state, pc)
						     : verify_store(v, state, pc);
	case BPF_ALU:
	case BPF_ALU64:
		return verify_alu(v, state, pc);
	}
	return verify_helper_call(v, state, pc);
}

/* Both ways of a conditional jump. Takes the state over. */
static int walk_jump(struct walk *walk, const struct block *block, struct state *state, uint32_t pc)
{
	struct state *taken = state_clone(state);
	bool possible = false;
	int rc = taken ? verify_jump(walk->v, taken, pc, true, &possible) : -ENOMEM;

	if (!rc && possible)
		add_to_block(walk, block->jump, taken);
	else
		state_free(taken);
	possible = false;
	if (!rc)
		rc = verify_jump(walk->v, state, pc, false, &possible);
	if (!rc && possible)
		add_to_block(walk, block->next, state);
	else
		state_free(state);
	return rc;
}

/* Takes the state over. */
static int walk_call(struct walk *walk, const struct block *block, struct state *state, uint32_t pc)
{
	struct verifier *v = walk->v;
	const struct dpcap_insn *insn = &v->prog->insns[pc];
	struct set exits = {0};
	int rc = verify_local_call(v, state, pc);

	if (rc) {
		state_free(state);
		return rc;
	}
	rc = walk_function(v, cfg_function_at(&v->cfg, pc + 1 + (uint32_t)insn->imm), state, &exits);
	while (!rc && exits.first)
		add_to_block(walk, block->next, set_take(v, &exits));
	set_free(v, &exits);
	return rc;
}

/* Takes the state over. */
static int walk_exit(struct walk *walk, struct state *state, uint32_t pc)
{
	bool is_last = state->n_frames == 1;
	int rc = verify_exit(walk->v, state, pc);

	if (rc || is_last)
		state_free(state);
	else
		set_add(walk->v, walk->exits, state, UINT16_MAX);
	return rc;
}

/* Takes the state over. */
static int walk_state(struct walk *walk, const struct block *block, struct state *state)
{
	struct verifier *v = walk->v;
	const struct dpcap_insn *insns = v->prog->insns;
	uint32_t pc;

	v->steps += block->end - block->start;
	if (v->steps > v->max_steps) {
		int rc = refuse(v, state, block->start,
				"the program is not proved to end within %u instructions",
				DPCAP_VM_MAX_STEPS);

		state_free(state);
		return rc;
	}
	for (pc = block->start; pc < block->end; pc++) {
		const struct dpcap_insn *insn = &insns[pc];
		uint8_t class = insn_class(insn);
		int rc;

		if (v->observer)
			v->observer(v->observer_arg, pc, state);
		if (class == BPF_JMP || class == BPF_JMP32) {
			if (insn_code(insn) == BPF_JA) {
				add_to_block(walk, block->jump, state);
				return 0;
			}
			if (insn->opcode == BPF_OPCODE_EXIT)
				return walk_exit(walk, state, pc);
			if (insn_code(insn) != BPF_CALL)
				return walk_jump(walk, block, state, pc);
			if (!insn_is_x(insn) && insn_src(insn) == BPF_CALL_LOCAL)
				return walk_call(walk, block, state, pc);
		}
		rc = walk_insn(v, state, pc);
		if (rc) {
			state_free(state);
			return rc;
		}
		if (insn->opcode == BPF_OPCODE_LDDW)
			pc++;
	}
	add_to_block(walk, block->next, state);
	return 0;
}

static int walk_block(struct walk *walk, uint32_t number)
{
	const struct block *block = &walk->v->cfg.blocks[number];
	/* A block may jump to itself: what it adds belongs to the next round. */
	struct set now = walk->at[number - walk->function->first_block];
	int rc = 0;

	if (++walk->v->visits > MAX_VISITS) {
		dpcap_vm_log_printf(walk->v->log, "insn %u: the program takes too long to verify\n",
				    block->start);
		return -EINVAL;
	}
	walk->at[number - walk->function->first_block] = (struct set){0};
	while (!rc && now.first)
		rc = walk_state(walk, block, set_take(walk->v, &now));
	set_free(walk->v, &now);
	return rc;
}

/* Each state of old is included in one of now: whatever happened from old will
 * happen again. */
static bool set_repeats(const struct set *old, const struct set *now)
{
	for (const struct state *a = old->first; a; a = a->next) {
		const struct state *b = now->first;

		while (b && !state_includes(b, a))
			b = b->next;
		if (!b)
			return false;
	}
	return old->first != NULL;
}

static int set_copy(struct verifier *v, struct set *copy, const struct set *set)
{
	set_free(v, copy);
	for (const struct state *state = set->first; state; state = state->next) {
		struct state *clone = state_clone(state);

		if (!clone)
			return -ENOMEM;
		clone->next = copy->first;
		copy->first = clone;
		copy->n++;
		v->live_states++;
	}
	return 0;
}

static int walk_range(struct walk *walk, uint32_t start, uint32_t end);

/* Round by round, until no state comes back to the head. Rounds 1, 2, 4, 8, ... are
 * remembered: a later one that includes them will never end. */
static int walk_loop(struct walk *walk, uint32_t place)
{
	struct verifier *v = walk->v;
	const struct order *order = &v->cfg.order[place];
	uint32_t start = v->cfg.blocks[order->block].start;
	struct set *head = &walk->at[order->block - walk->function->first_block];
	struct set remembered = {0};
	int rc = 0;

	for (uint32_t round = 0; !rc; round++) {
		if (round && !head->first)
			break;
		if (set_repeats(&remembered, head)) {
			rc = refuse(v, head->first, start,
				    "the loop that starts here is not proved to end: round %u "
				    "brings nothing new",
				    round);
			break;
		}
		if (round && !(round & (round - 1)))
			rc = set_copy(v, &remembered, head);
		if (!rc)
			rc = walk_block(walk, order->block);
		if (!rc)
			rc = walk_range(walk, place + 1, order->loop_end);
	}
	set_free(v, &remembered);
	return rc;
}

static int walk_range(struct walk *walk, uint32_t start, uint32_t end)
{
	const struct order *order = walk->v->cfg.order;
	int rc = 0;

	for (uint32_t i = start; i < end && !rc; i = MAX(i + 1, order[i].loop_end))
		rc = order[i].loop_end > i ? walk_loop(walk, i) : walk_block(walk, order[i].block);
	return rc;
}

/* Takes the state over; it has the function's frame. */
static int walk_function(struct verifier *v, const struct function *function, struct state *state,
			 struct set *exits)
{
	struct walk walk = {.v = v, .function = function, .exits = exits};
	int rc;

	v->visits += function->n_blocks / 8;
	walk.at = calloc(function->n_blocks, sizeof(*walk.at));
	if (!walk.at) {
		state_free(state);
		return -ENOMEM;
	}
	add_to_block(&walk, function->first_block, state);
	rc = walk_range(&walk, function->first_order, function->first_order + function->n_order);
	for (uint32_t i = 0; i < function->n_blocks; i++)
		set_free(v, &walk.at[i]);
	free(walk.at);
	return rc;
}

/* What holds when the program is called: dpcap_vm.h. */
static struct state *entry_state(struct verifier *v)
{
	struct state *state = state_new();
	struct reg *regs;

	if (!state)
		return NULL;
	if (!state_push_frame(state)) {
		state_free(state);
		return NULL;
	}
	regs = state_frame(state)->regs;
	state->len = scalar_from_unsigned(0, MAX_PACKET_LEN);
	if (v->prog->type == DPCAP_VM_MEMORY) {
		regs[1] = reg_pointer(REGION_MEMORY, 0, 0);
		regs[2] = reg_const(v->prog->mem_size);
		return state;
	}
	if (v->prog->type == DPCAP_VM_CONTEXT) {
		regs[1] = reg_pointer(REGION_CONTEXT, 0, 0);
		return state;
	}
	regs[1] = reg_pointer(REGION_PACKET, 0, 0);
	regs[2] = reg_from_scalar(state->len, 0);
	regs[2].form = form_len();
	regs[3] = new_number(v, scalar_unknown());
	regs[4] = new_number(v, scalar_unknown());
	return state;
}

static int walk_program(struct verifier *v)
{
	struct state *state;
	struct set exits = {0};
	int rc;

	if (v->observer)
		v->observer(v->observer_arg, 0, NULL);
	for (uint32_t pc = 0; pc < v->prog->n_insns; pc++) {
		v->prog->aux[pc].plain_access = false;
		v->prog->aux[pc].ctx_field = 0;
	}
	v->steps = 0;
	v->visits = 0;
	v->next_symbol = 1;
	v->stack_used = 0;
	v->joined = false;
	state = entry_state(v);
	if (!state)
		return -ENOMEM;
	rc = walk_function(v, &v->cfg.functions[0], state, &exits);
	set_free(v, &exits);
	return rc;
}

int verify_observed(struct dpcap_vm_prog *prog, struct dpcap_vm_log *log, verify_observer observer,
		    void *arg)
{
	static const uint32_t max_states[] = {1, 8, 64};
	struct verifier v = {
		.prog = prog,
		.log = log,
		.observer = observer,
		.observer_arg = arg,
	};
	size_t log_start = log->used;
	int rc;

	rc = cfg_build(&v.cfg, prog, log);
	if (!rc)
		rc = ctx_check_fields(prog, log);
	if (rc)
		goto out;
	for (uint32_t i = 0; i < sizeof(max_states) / sizeof(max_states[0]); i++) {
		log->used = log_start;
		v.max_states = max_states[i];
		/* A loop that ends soon is not missed by a first short look. */
		v.max_steps = i ? MAX(DPCAP_VM_MAX_STEPS, 16 * (uint64_t)prog->n_insns)
				: 16 * (uint64_t)prog->n_insns + 20000;
		rc = walk_program(&v);
		if (rc != -EINVAL)
			break;
		/* Keeping states apart makes walks longer, not shorter. */
		if (i ? !v.joined || v.steps > v.max_steps : !v.joined && v.steps <= v.max_steps)
			break;
	}
	if (rc)
		goto out;
	for (uint32_t i = 0; i < v.cfg.n_order; i++) {
		const struct block *block = &v.cfg.blocks[v.cfg.order[i].block];

		for (uint32_t pc = block->start; pc < block->end; pc++)
			prog->aux[pc].reachable = true;
	}
	ctx_rewrite(prog);
	prog->stack_used = (v.stack_used + 7) & ~7u;
	log->used = log_start;
	if (log->text && log_start < log->size)
		log->text[log_start] = '\0';
out:
	cfg_free(&v.cfg);
	return rc;
}

int dpcap_vm_verify(struct dpcap_vm_prog *prog, struct dpcap_vm_log *log)
{
	return verify_observed(prog, log, NULL, NULL);
}
