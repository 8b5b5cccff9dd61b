/* SPDX-License-Identifier: BSD-3-Clause */
/* Which instructions the interpreter does at once. */
#include "interp.h"
#include "isa.h"

#define NOTHING DPCAP_VM_N_OPS

/* The operation at pc, NOTHING behind the end. The second slot of lddw is never asked for. */
static enum dpcap_vm_op_kind kind_at(const struct dpcap_vm_prog *prog, uint32_t pc)
{
	return pc < prog->n_insns ? dpcap_vm_op_kind(&prog->insns[pc]) : NOTHING;
}

/* DPCAP_VM_OPS_LOAD_ENDS, in its order: 0 is the load alone. */
static unsigned load_end(enum dpcap_vm_op_kind kind)
{
	switch (kind) {
	case OP_JEQ32K:
		return 1;
	case OP_JNE32K:
		return 2;
	case OP_JSET32K:
		return 3;
	case OP_JEQ64K:
		return 4;
	case OP_JNE64K:
		return 5;
	default:
		return 0;
	}
}

/* A load, with all that follows on its register; NOTHING: no load. */
static enum dpcap_vm_op_kind load_kind(const struct dpcap_vm_prog *prog, uint32_t pc)
{
	const struct dpcap_insn *load = &prog->insns[pc];
	enum dpcap_vm_op_kind kind = kind_at(prog, pc), next = kind_at(prog, pc + 1), fused;
	uint8_t dst = insn_dst(load);
	bool next_is_ours = pc + 1 < prog->n_insns && insn_dst(&load[1]) == dst;

	switch (kind) {
	case OP_LDX8:
		fused = OP_FUSED_LDX8;
		break;
	case OP_LDX16:
		fused = next_is_ours && next == OP_BE16 ? OP_FUSED_LDXBE16 : OP_FUSED_LDX16;
		break;
	case OP_LDX32:
		fused = next_is_ours && next == OP_BE32 ? OP_FUSED_LDXBE32 : OP_FUSED_LDX32;
		break;
	default:
		return NOTHING;
	}
	pc += fused == OP_FUSED_LDXBE16 || fused == OP_FUSED_LDXBE32 ? 2 : 1;
	if (pc < prog->n_insns && insn_dst(&prog->insns[pc]) == dst)
		fused += load_end(kind_at(prog, pc));
	return fused;
}

static enum dpcap_vm_op_kind mov_kind(const struct dpcap_vm_prog *prog, uint32_t pc)
{
	const struct dpcap_insn *insn = &prog->insns[pc];
	enum dpcap_vm_op_kind kind = kind_at(prog, pc), next = kind_at(prog, pc + 1);

	if (next == OP_EXIT && kind != OP_MOV64X)
		return kind == OP_MOV64K ? OP_MOV64K_EXIT : OP_MOV32K_EXIT;
	if (kind != OP_MOV64X || next == NOTHING || insn_dst(&insn[1]) != insn_dst(insn))
		return kind;
	if (next == OP_ADD64K)
		return OP_MOV64X_ADD64K;
	/* The operand is read before dst is written. */
	if (next == OP_ADD64X && insn_src(&insn[1]) != insn_dst(insn))
		return OP_MOV64X_ADD64X;
	return kind;
}

enum dpcap_vm_op_kind dpcap_vm_fused_kind(const struct dpcap_vm_prog *prog, uint32_t pc)
{
	enum dpcap_vm_op_kind kind = kind_at(prog, pc), load;

	switch (kind) {
	case OP_JLT64K:
		load = pc + 1 < prog->n_insns ? load_kind(prog, pc + 1) : NOTHING;
		/* FUSED_x and GUARD_x lie six apart. */
		return load == NOTHING ? kind : load + (OP_GUARD_LDX8 - OP_FUSED_LDX8);
	case OP_LDX8:
	case OP_LDX16:
	case OP_LDX32:
		return load_kind(prog, pc);
	case OP_MOV64X:
	case OP_MOV64K:
	case OP_MOV32K:
		return mov_kind(prog, pc);
	default:
		return kind;
	}
}
