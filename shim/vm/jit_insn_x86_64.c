/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Translating instructions, one by one or a few at once where the machine has one for
 * them. A few can be taken at once only if nothing jumps between them.
 */
#if defined(__x86_64__)
#include "jit_x86_64.h"

static const struct dpcap_insn *insn_at(const struct jit *jit, uint32_t pc)
{
	return &jit->prog->insns[pc];
}

static uint8_t dst_reg(const struct jit *jit, const struct dpcap_insn *insn)
{
	return jit->reg[insn_dst(insn)];
}

static uint8_t src_reg(const struct jit *jit, const struct dpcap_insn *insn)
{
	return jit->reg[insn_src(insn)];
}

static enum x64_width insn_width(const struct dpcap_insn *insn)
{
	return insn_class(insn) == BPF_ALU64 || insn_class(insn) == BPF_JMP ? W64 : W32;
}

static bool is_op(const struct dpcap_insn *insn, uint8_t opcode)
{
	return insn->opcode == opcode;
}

/* The instruction behind, if it can be taken together with this one; NULL if not. */
static const struct dpcap_insn *fusible(const struct jit *jit, uint32_t pc)
{
	if (pc + 1 >= jit->function.end || jit->prog->aux[pc + 1].jump_target)
		return NULL;
	return insn_at(jit, pc + 1);
}

/* The flags now show the value of this register compared with 0. */
static void flags_show(struct jit *jit, uint8_t reg, enum x64_width w)
{
	jit->flags_reg = reg;
	jit->flags_width = w;
}

static void emit_mov(struct jit *jit, const struct dpcap_insn *insn)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (!insn_is_x(insn))
		x64_mov_imm(&jit->as, dst,
			    w == W64 ? (uint64_t)(int64_t)insn->imm : (uint32_t)insn->imm);
	else if (insn->offset != 0)
		x64_sign_extend(&jit->as, w, (uint8_t)insn->offset, dst, src_reg(jit, insn));
	else if (w == W32 || dst != src_reg(jit, insn))
		x64_mov(&jit->as, w, dst, src_reg(jit, insn));
}

static void emit_two_operands(struct jit *jit, const struct dpcap_insn *insn, enum x64_alu op)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (insn_is_x(insn)) {
		x64_alu(&jit->as, w, op, dst, src_reg(jit, insn));
	} else if (op == X_XOR && insn->imm == -1) {
		x64_unary(&jit->as, w, X_NOT, dst);
		return; /* the one that sets no flags */
	} else {
		/* A mask without sign bit clears the upper half: the short form does it too. */
		if (op == X_AND && insn->imm >= 0)
			w = W32;
		x64_alu_imm(&jit->as, w, op, dst, insn->imm);
	}
	flags_show(jit, dst, w);
}

static void emit_mul(struct jit *jit, const struct dpcap_insn *insn)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn);

	if (insn_is_x(insn))
		x64_imul(&jit->as, w, dst, src_reg(jit, insn));
	else
		x64_imul_imm(&jit->as, w, dst, dst, insn->imm);
}

static void emit_shift(struct jit *jit, const struct dpcap_insn *insn, enum x64_shift op)
{
	enum x64_width w = insn_width(insn);
	uint8_t dst = dst_reg(jit, insn), count = insn->imm & (w == W64 ? 63 : 31);

	if (insn_is_x(insn)) {
		jit_emit_shift_by_register(jit, w, op, dst, src_reg(jit, insn));
	} else if (count != 0) {
		x64_shift_imm(&jit->as, w, op, dst, count);
		flags_show(jit, dst, w);
	} else if (w == W32) {
		x64_mov(&jit->as, W32, dst, dst);
	}
}

static void emit_neg(struct jit *jit, const struct dpcap_insn *insn)
{
	x64_unary(&jit->as, insn_width(insn), X_NEG, dst_reg(jit, insn));
	flags_show(jit, dst_reg(jit, insn), insn_width(insn));
}

/* The machine is little-endian: TO_LE only cuts off. */
static void emit_end(struct jit *jit, const struct dpcap_insn *insn)
{
	bool swap = insn_class(insn) == BPF_ALU64 || insn_is_x(insn);
	uint8_t dst = dst_reg(jit, insn);

	switch (insn->imm) {
	case 16:
		if (swap)
			x64_swap16(&jit->as, dst);
		x64_zero_extend(&jit->as, 16, dst, dst);
		break;
	case 32:
		if (swap)
			x64_bswap(&jit->as, W32, dst);
		else
			x64_mov(&jit->as, W32, dst, dst);
		break;
	default:
		if (swap)
			x64_bswap(&jit->as, W64, dst);
		break;
	}
}

static void emit_alu(struct jit *jit, const struct dpcap_insn *insn)
{
	switch (insn_code(insn)) {
	case BPF_ADD:
		emit_two_operands(jit, insn, X_ADD);
		break;
	case BPF_SUB:
		emit_two_operands(jit, insn, X_SUB);
		break;
	case BPF_OR:
		emit_two_operands(jit, insn, X_OR);
		break;
	case BPF_AND:
		emit_two_operands(jit, insn, X_AND);
		break;
	case BPF_XOR:
		emit_two_operands(jit, insn, X_XOR);
		break;
	case BPF_MUL:
		emit_mul(jit, insn);
		break;
	case BPF_DIV:
	case BPF_MOD:
		jit_emit_division(jit, insn);
		break;
	case BPF_LSH:
		emit_shift(jit, insn, X_SHL);
		break;
	case BPF_RSH:
		emit_shift(jit, insn, X_SHR);
		break;
	case BPF_ARSH:
		emit_shift(jit, insn, X_SAR);
		break;
	case BPF_NEG:
		emit_neg(jit, insn);
		break;
	case BPF_END:
		emit_end(jit, insn);
		break;
	default:
		emit_mov(jit, insn);
		break;
	}
}

/* The condition under which the machine jumps; unsigned and signed compares of dst with the operand. */
static enum x64_cond jump_cond(uint8_t code)
{
	switch (code) {
	case BPF_JEQ:
		return CC_E;
	case BPF_JNE:
	case BPF_JSET: /* after test */
		return CC_NE;
	case BPF_JGT:
		return CC_A;
	case BPF_JGE:
		return CC_AE;
	case BPF_JLT:
		return CC_C;
	case BPF_JLE:
		return CC_BE;
	case BPF_JSGT:
		return CC_G;
	case BPF_JSGE:
		return CC_GE;
	case BPF_JSLT:
		return CC_L;
	default:
		return CC_LE;
	}
}

/* The flags of the last instruction answer the comparison with 0. */
static bool flags_answer(const struct jit *jit, uint8_t code, uint8_t dst, enum x64_width w)
{
	if (jit->flags_reg != dst || (code != BPF_JEQ && code != BPF_JNE))
		return false;
	/* A 32-bit result has a zero upper half, but not the other way round. */
	return jit->flags_width == W32 || w == W64;
}

static void emit_compare(struct jit *jit, const struct dpcap_insn *insn)
{
	uint8_t code = insn_code(insn), dst = dst_reg(jit, insn);
	enum x64_width w = insn_width(insn);
	struct x64_asm *as = &jit->as;

	if (code == BPF_JSET) {
		if (insn_is_x(insn))
			x64_test(as, w, dst, src_reg(jit, insn));
		else
			x64_test_imm(as, w, dst, insn->imm);
	} else if (insn_is_x(insn)) {
		x64_alu(as, w, X_CMP, dst, src_reg(jit, insn));
	} else if (insn->imm != 0) {
		x64_alu_imm(as, w, X_CMP, dst, insn->imm);
	} else if (!flags_answer(jit, code, dst, w)) {
		x64_test(as, w, dst, dst);
	}
}

int jit_known_exit(const struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *mov = insn_at(jit, pc), *next = mov + 1;

	if (!jit->known_exits || pc + 1 >= jit->function.end || next->opcode != BPF_OPCODE_EXIT)
		return -1;
	if (insn_dst(mov) != 0 || (mov->opcode != (BPF_ALU64 | BPF_K | BPF_MOV) &&
				   mov->opcode != (BPF_ALU | BPF_K | BPF_MOV)))
		return -1;
	return mov->imm != 0;
}

/* Where a jump to the instruction at pc really leads. */
static uint32_t target_label(const struct jit *jit, uint32_t pc)
{
	int exit = jit_known_exit(jit, pc);

	return exit >= 0 ? jit->exit_labels[exit] : jit_label(jit, pc);
}

static bool ends_flow(const struct dpcap_insn *insn)
{
	return insn->opcode == BPF_OPCODE_EXIT || insn->opcode == (BPF_JMP | BPF_JA) ||
	       insn->opcode == (BPF_JMP32 | BPF_JA);
}

/* `r0 = constant; exit` goes straight to where its result is dealt with. */
static uint32_t fuse_known_exit(struct jit *jit, uint32_t pc)
{
	int exit = jit_known_exit(jit, pc);

	if (exit < 0 || !fusible(jit, pc))
		return 0;
	/* Every jump to it was led past it: without a way from above it is dead. */
	if (pc == jit->function.start || !ends_flow(insn_at(jit, pc - 1)))
		x64_jmp(&jit->as, jit->exit_labels[exit]);
	return 2;
}

/* r0 >>= 63; exit */
static uint32_t fuse_bit63_exit(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc), *next = fusible(jit, pc);

	if (!jit->exit_bit63 || !next || next->opcode != BPF_OPCODE_EXIT ||
	    !is_op(insn, BPF_ALU64 | BPF_K | BPF_RSH) || insn->imm != 63 || insn_dst(insn) != 0)
		return 0;
	jit->exit_bit63(jit);
	return 2;
}

static void emit_jump(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	uint32_t target = pc + 1 + (uint32_t)insn->offset;

	switch (insn_code(insn)) {
	case BPF_JA:
		if (insn_class(insn) == BPF_JMP32)
			target = pc + 1 + (uint32_t)insn->imm;
		x64_jmp(&jit->as, target_label(jit, target));
		break;
	case BPF_CALL:
		jit_emit_call(jit, pc);
		break;
	case BPF_EXIT:
		jit->exit(jit);
		break;
	default:
		emit_compare(jit, insn);
		x64_jcc(&jit->as, jump_cond(insn_code(insn)), target_label(jit, target));
		break;
	}
}

/* load; to_be of the same size: movbe */
static bool fuse_load_be(struct jit *jit, const struct dpcap_insn *load,
			 const struct dpcap_insn *next)
{
	uint8_t bytes = (uint8_t)insn_mem_size(load);

	if (!(jit->cpu & DPCAP_VM_CPU_MOVBE) || !next || insn_mode(load) != BPF_MEM || bytes < 4)
		return false;
	if (insn_dst(next) != insn_dst(load) || next->imm != bytes * 8)
		return false;
	if (!is_op(next, BPF_ALU | BPF_X | BPF_END) && !is_op(next, BPF_ALU64 | BPF_K | BPF_END))
		return false;
	x64_load_be(&jit->as, bytes, dst_reg(jit, load),
		    x64_at(src_reg(jit, load), load->offset));
	return true;
}

static void emit_load(struct jit *jit, const struct dpcap_insn *insn)
{
	struct x64_mem mem = x64_at(src_reg(jit, insn), insn->offset);
	uint8_t bytes = (uint8_t)insn_mem_size(insn);

	if (insn_mode(insn) == BPF_MEMSX)
		x64_load_signed(&jit->as, bytes, dst_reg(jit, insn), mem);
	else
		x64_load(&jit->as, bytes, dst_reg(jit, insn), mem);
}

/* dst = src; dst += what: lea */
static bool fuse_mov_add(struct jit *jit, const struct dpcap_insn *mov,
			 const struct dpcap_insn *next)
{
	uint8_t dst = dst_reg(jit, mov), src = src_reg(jit, mov), index;

	if (is_op(next, BPF_ALU64 | BPF_K | BPF_ADD)) {
		x64_lea(&jit->as, W64, dst, x64_at(src, next->imm));
		return true;
	}
	if (!is_op(next, BPF_ALU64 | BPF_X | BPF_ADD) || insn_src(next) == insn_dst(mov))
		return false;
	index = src_reg(jit, next);
	if (index == RSP) {
		index = src;
		src = RSP;
	}
	if (index == RSP)
		return false;
	x64_lea(&jit->as, W64, dst, x64_at_index(src, index, 0, 0));
	return true;
}

/* dst = src; dst shifted by count: the form with three operands */
static bool fuse_mov_shift(struct jit *jit, const struct dpcap_insn *mov,
			   const struct dpcap_insn *next)
{
	enum x64_shift op;

	if (!(jit->cpu & DPCAP_VM_CPU_BMI2) || insn_class(next) != BPF_ALU64 || !insn_is_x(next) ||
	    insn_src(next) == insn_dst(mov))
		return false;
	switch (insn_code(next)) {
	case BPF_LSH:
		op = X_SHL;
		break;
	case BPF_RSH:
		op = X_SHR;
		break;
	case BPF_ARSH:
		op = X_SAR;
		break;
	default:
		return false;
	}
	x64_shiftx(&jit->as, W64, op, dst_reg(jit, mov), src_reg(jit, mov), src_reg(jit, next));
	return true;
}

/* dst = ~src; dst &= mask: andn. src and dst may be the same. */
static bool fuse_not_and(struct jit *jit, uint8_t src, const struct dpcap_insn *not_insn,
			 const struct dpcap_insn *next)
{
	uint8_t dst = dst_reg(jit, not_insn);

	if (!(jit->cpu & DPCAP_VM_CPU_BMI1) || !next || !is_op(not_insn, BPF_ALU64 | BPF_K | BPF_XOR) ||
	    not_insn->imm != -1)
		return false;
	if (!is_op(next, BPF_ALU64 | BPF_X | BPF_AND) || insn_dst(next) != insn_dst(not_insn) ||
	    insn_src(next) == insn_dst(not_insn))
		return false;
	x64_andn(&jit->as, W64, dst, src, src_reg(jit, next));
	flags_show(jit, dst, W64);
	return true;
}

/* How many instructions were taken together, 0: none. */
static uint32_t fuse_mov(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *mov = insn_at(jit, pc), *next = fusible(jit, pc);

	if (!is_op(mov, BPF_ALU64 | BPF_X | BPF_MOV) || mov->offset != 0 || !next ||
	    insn_dst(next) != insn_dst(mov) || insn_src(mov) == insn_dst(mov))
		return 0;
	if (fuse_not_and(jit, src_reg(jit, mov), next, fusible(jit, pc + 1)))
		return 3;
	return fuse_mov_add(jit, mov, next) || fuse_mov_shift(jit, mov, next) ? 2 : 0;
}

/*
 * dst = address of a table; dst += index; dst = load [dst + offset]:
 *	mov temp, address; mov dst, [temp + index + offset]
 */
static uint32_t fuse_table_load(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *lddw = insn_at(jit, pc), *add, *load;
	uint64_t address;

	if (pc + 3 >= jit->function.end || jit->prog->aux[pc + 2].jump_target ||
	    jit->prog->aux[pc + 3].jump_target)
		return 0;
	add = insn_at(jit, pc + 2);
	load = insn_at(jit, pc + 3);
	if (!is_op(add, BPF_ALU64 | BPF_X | BPF_ADD) || insn_dst(add) != insn_dst(lddw) ||
	    insn_src(add) == insn_dst(lddw) || insn_src(add) == BPF_REG_FP)
		return 0;
	if (insn_class(load) != BPF_LDX || insn_mode(load) != BPF_MEM ||
	    insn_src(load) != insn_dst(lddw) || insn_dst(load) != insn_dst(lddw))
		return 0;
	address = dpcap_vm_lddw_value(jit->prog, lddw);
	x64_mov_imm(&jit->as, TEMP, address);
	x64_load(&jit->as, (uint8_t)insn_mem_size(load), dst_reg(jit, load),
		 x64_at_index(TEMP, src_reg(jit, add), 0, load->offset));
	return 4;
}

/* Translate the instruction at pc; the number of slots dealt with. */
static uint32_t emit_insn(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	uint8_t flags_reg = jit->flags_reg;
	uint32_t n;

	jit->flags_reg = NO_REG;
	switch (insn_class(insn)) {
	case BPF_LD:
		n = fuse_table_load(jit, pc);
		if (n != 0)
			return n;
		x64_mov_imm(&jit->as, dst_reg(jit, insn), dpcap_vm_lddw_value(jit->prog, insn));
		return 2;
	case BPF_LDX:
		if (fuse_load_be(jit, insn, fusible(jit, pc)))
			return 2;
		emit_load(jit, insn);
		return 1;
	case BPF_ST:
		x64_store_imm(&jit->as, (uint8_t)insn_mem_size(insn),
			      x64_at(dst_reg(jit, insn), insn->offset), insn->imm);
		return 1;
	case BPF_STX:
		if (insn_mode(insn) == BPF_ATOMIC)
			jit_emit_atomic(jit, insn);
		else
			x64_store(&jit->as, (uint8_t)insn_mem_size(insn),
				  x64_at(dst_reg(jit, insn), insn->offset), src_reg(jit, insn));
		return 1;
	case BPF_ALU:
	case BPF_ALU64:
		n = fuse_known_exit(jit, pc);
		if (n == 0)
			n = fuse_bit63_exit(jit, pc);
		if (n == 0)
			n = fuse_mov(jit, pc);
		if (n != 0)
			return n;
		if (fuse_not_and(jit, dst_reg(jit, insn), insn, fusible(jit, pc)))
			return 2;
		emit_alu(jit, insn);
		return 1;
	default:
		jit->flags_reg = flags_reg;
		emit_jump(jit, pc);
		jit->flags_reg = NO_REG;
		return 1;
	}
}

void jit_emit_body(struct jit *jit)
{
	uint32_t pc = jit->function.start;

	jit->flags_reg = NO_REG;
	while (pc < jit->function.end && x64_reserve(&jit->as)) {
		if (jit->prog->aux[pc].jump_target) {
			x64_place(&jit->as, jit_label(jit, pc));
			jit->flags_reg = NO_REG;
		}
		pc += emit_insn(jit, pc);
	}
}
#endif
