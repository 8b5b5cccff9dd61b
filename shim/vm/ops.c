/* SPDX-License-Identifier: BSD-3-Clause */
#include "ops.h"

#include "isa.h"

/* The first of the four that DPCAP_VM_OPS_WXK makes, in its order. */
#define WXK(name) OP_##name##64X

static enum dpcap_vm_op_kind pick_wxk(enum dpcap_vm_op_kind first, const struct dpcap_insn *insn)
{
	bool is32 = insn_class(insn) == BPF_ALU || insn_class(insn) == BPF_JMP32;

	return first + (is32 ? 2 : 0) + (insn_is_x(insn) ? 0 : 1);
}

static enum dpcap_vm_op_kind mov_kind(const struct dpcap_insn *insn)
{
	bool alu64 = insn_class(insn) == BPF_ALU64;

	switch (insn->offset) {
	case 8:
		return alu64 ? OP_MOVSX64_8 : OP_MOVSX32_8;
	case 16:
		return alu64 ? OP_MOVSX64_16 : OP_MOVSX32_16;
	case 32:
		return OP_MOVSX64_32;
	default:
		return pick_wxk(WXK(MOV), insn);
	}
}

static enum dpcap_vm_op_kind end_kind(const struct dpcap_insn *insn)
{
	enum dpcap_vm_op_kind first = insn_is_x(insn) ? OP_BE16 : OP_LE16;

	if (insn_class(insn) == BPF_ALU64)
		first = OP_BSWAP16;
	return first + (insn->imm == 16 ? 0 : insn->imm == 32 ? 1 : 2);
}

static enum dpcap_vm_op_kind alu_kind(const struct dpcap_insn *insn)
{
	bool is_signed = insn->offset == 1;

	switch (insn_code(insn)) {
	case BPF_ADD:
		return pick_wxk(WXK(ADD), insn);
	case BPF_SUB:
		return pick_wxk(WXK(SUB), insn);
	case BPF_MUL:
		return pick_wxk(WXK(MUL), insn);
	case BPF_DIV:
		return pick_wxk(is_signed ? WXK(SDIV) : WXK(DIV), insn);
	case BPF_MOD:
		return pick_wxk(is_signed ? WXK(SMOD) : WXK(MOD), insn);
	case BPF_OR:
		return pick_wxk(WXK(OR), insn);
	case BPF_AND:
		return pick_wxk(WXK(AND), insn);
	case BPF_XOR:
		return pick_wxk(WXK(XOR), insn);
	case BPF_LSH:
		return pick_wxk(WXK(LSH), insn);
	case BPF_RSH:
		return pick_wxk(WXK(RSH), insn);
	case BPF_ARSH:
		return pick_wxk(WXK(ARSH), insn);
	case BPF_NEG:
		return insn_class(insn) == BPF_ALU64 ? OP_NEG64 : OP_NEG32;
	case BPF_END:
		return end_kind(insn);
	default:
		return mov_kind(insn);
	}
}

static enum dpcap_vm_op_kind call_kind(const struct dpcap_insn *insn)
{
	if (insn_is_x(insn))
		return OP_CALLX;
	return insn_src(insn) == BPF_CALL_LOCAL ? OP_CALL_LOCAL : OP_CALL;
}

static enum dpcap_vm_op_kind jmp_kind(const struct dpcap_insn *insn)
{
	switch (insn_code(insn)) {
	case BPF_JA:
		return insn_class(insn) == BPF_JMP32 ? OP_JAL : OP_JA;
	case BPF_JEQ:
		return pick_wxk(WXK(JEQ), insn);
	case BPF_JNE:
		return pick_wxk(WXK(JNE), insn);
	case BPF_JGT:
		return pick_wxk(WXK(JGT), insn);
	case BPF_JGE:
		return pick_wxk(WXK(JGE), insn);
	case BPF_JLT:
		return pick_wxk(WXK(JLT), insn);
	case BPF_JLE:
		return pick_wxk(WXK(JLE), insn);
	case BPF_JSET:
		return pick_wxk(WXK(JSET), insn);
	case BPF_JSGT:
		return pick_wxk(WXK(JSGT), insn);
	case BPF_JSGE:
		return pick_wxk(WXK(JSGE), insn);
	case BPF_JSLT:
		return pick_wxk(WXK(JSLT), insn);
	case BPF_JSLE:
		return pick_wxk(WXK(JSLE), insn);
	case BPF_CALL:
		return call_kind(insn);
	default:
		return OP_EXIT;
	}
}

static enum dpcap_vm_op_kind atomic_kind(const struct dpcap_insn *insn)
{
	bool is32 = insn_mem_size(insn) == 4;
	unsigned variant = (is32 ? 1 : 0) + (insn->imm & BPF_FETCH ? 2 : 0);

	switch (insn->imm & ~BPF_FETCH) {
	case BPF_ADD:
		return OP_ATOMIC_ADD64 + variant;
	case BPF_OR:
		return OP_ATOMIC_OR64 + variant;
	case BPF_AND:
		return OP_ATOMIC_AND64 + variant;
	case BPF_XOR:
		return OP_ATOMIC_XOR64 + variant;
	case BPF_ATOMIC_XCHG & ~BPF_FETCH:
		return is32 ? OP_XCHG32 : OP_XCHG64;
	default:
		return is32 ? OP_CMPXCHG32 : OP_CMPXCHG64;
	}
}

/* Operations of 1, 2, 4 and 8 bytes stand in this order. */
static unsigned size_index(const struct dpcap_insn *insn)
{
	return (unsigned)__builtin_ctz(insn_mem_size(insn));
}

enum dpcap_vm_op_kind dpcap_vm_op_kind(const struct dpcap_insn *insn)
{
	switch (insn_class(insn)) {
	case BPF_LD:
		return OP_LDDW;
	case BPF_LDX:
		return (insn_mode(insn) == BPF_MEM ? OP_LDX8 : OP_LDXS8) + size_index(insn);
	case BPF_ST:
		return OP_ST8 + size_index(insn);
	case BPF_STX:
		if (insn_mode(insn) == BPF_ATOMIC)
			return atomic_kind(insn);
		return OP_STX8 + size_index(insn);
	case BPF_ALU:
	case BPF_ALU64:
		return alu_kind(insn);
	default:
		return jmp_kind(insn);
	}
}
