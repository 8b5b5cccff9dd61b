/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Liveness: which registers somebody will still read. The usual backward data-flow
 * analysis (Aho et al., "Compilers", section 9.2.5); without backward jumps one pass
 * is enough.
 */
#if defined(__x86_64__)
#include <stdlib.h>

#include "jit_x86_64.h"

#define BIT(n) ((uint16_t)(1u << (n)))
#define ARGUMENTS 0x3e	      /* r1 to r5 */
#define CALLER_SAVED 0x3f     /* r0 to r5 */
#define ALWAYS BIT(BPF_REG_FP)

struct effect {
	uint16_t reads;
	uint16_t writes;
};

static struct effect alu_effect(const struct dpcap_insn *insn)
{
	bool is_end = insn_code(insn) == BPF_END;
	struct effect effect = {.writes = BIT(insn_dst(insn))};

	if (insn_code(insn) != BPF_MOV)
		effect.reads |= BIT(insn_dst(insn));
	if (insn_is_x(insn) && !is_end)
		effect.reads |= BIT(insn_src(insn));
	return effect;
}

static struct effect jmp_effect(const struct dpcap_insn *insn)
{
	switch (insn_code(insn)) {
	case BPF_JA:
		return (struct effect){0};
	case BPF_EXIT:
		return (struct effect){.reads = BIT(0)};
	case BPF_CALL:
		return (struct effect){
			.reads = ARGUMENTS | (insn_is_x(insn) ? BIT(insn_dst(insn)) : 0),
			.writes = CALLER_SAVED,
		};
	default:
		return (struct effect){
			.reads = BIT(insn_dst(insn)) | (insn_is_x(insn) ? BIT(insn_src(insn)) : 0),
		};
	}
}

static struct effect stx_effect(const struct dpcap_insn *insn)
{
	struct effect effect = {.reads = BIT(insn_dst(insn)) | BIT(insn_src(insn))};

	if (insn_mode(insn) != BPF_ATOMIC || !(insn->imm & BPF_FETCH))
		return effect;
	if (insn->imm == BPF_ATOMIC_CMPXCHG) {
		effect.reads |= BIT(0);
		effect.writes = BIT(0);
	} else {
		effect.writes = BIT(insn_src(insn));
	}
	return effect;
}

static struct effect insn_effect(const struct dpcap_insn *insn)
{
	switch (insn_class(insn)) {
	case BPF_LD:
		return (struct effect){.writes = BIT(insn_dst(insn))};
	case BPF_LDX:
		return (struct effect){.reads = BIT(insn_src(insn)), .writes = BIT(insn_dst(insn))};
	case BPF_ST:
		return (struct effect){.reads = BIT(insn_dst(insn))};
	case BPF_STX:
		return stx_effect(insn);
	case BPF_ALU:
	case BPF_ALU64:
		return alu_effect(insn);
	default:
		return jmp_effect(insn);
	}
}

/* The target of a jump; pc itself for everything else. */
static uint32_t jump_target(const struct dpcap_insn *insn, uint32_t pc)
{
	uint8_t class = insn_class(insn);

	if ((class != BPF_JMP && class != BPF_JMP32) || insn_code(insn) == BPF_CALL ||
	    insn_code(insn) == BPF_EXIT)
		return pc;
	if (insn_code(insn) == BPF_JA && class == BPF_JMP32)
		return pc + 1 + (uint32_t)insn->imm;
	return pc + 1 + (uint32_t)insn->offset;
}

/* One pass from the end. Returns whether a loop may need another. */
static bool pass(const struct dpcap_vm_prog *prog, uint16_t *live)
{
	bool again = false;
	uint32_t pc;

	for (pc = prog->n_insns; pc-- > 0;) {
		const struct dpcap_insn *insn = &prog->insns[pc];
		uint32_t target, slots = insn->opcode == BPF_OPCODE_LDDW ? 2 : 1;
		struct effect effect;
		uint16_t out = 0, in;

		if (prog->aux[pc].second_slot)
			continue;
		target = jump_target(insn, pc);
		if (!ends_flow(insn))
			out |= live[pc + slots];
		if (target != pc)
			out |= live[target];
		effect = insn_effect(insn);
		in = (uint16_t)((out & ~effect.writes) | effect.reads | ALWAYS);
		if (in != live[pc] && prog->aux[pc].jump_target)
			again = true;
		live[pc] = in;
	}
	return again;
}

static bool jumps_back(const struct dpcap_vm_prog *prog)
{
	uint32_t pc;

	for (pc = 0; pc < prog->n_insns; pc++)
		if (!prog->aux[pc].second_slot && jump_target(&prog->insns[pc], pc) < pc)
			return true;
	return false;
}

uint16_t *jit_liveness(const struct dpcap_vm_prog *prog)
{
	uint16_t *live = calloc(prog->n_insns + 1, sizeof(*live));
	bool loops;

	if (!live)
		return NULL;
	loops = jumps_back(prog);
	while (pass(prog, live) && loops)
		;
	return live;
}
#endif
