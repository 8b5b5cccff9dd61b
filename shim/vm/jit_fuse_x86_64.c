/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several instructions of eBPF that are one of the machine. They can be taken together
 * only if nothing jumps between them, and if what the ones in between leave in registers
 * is overwritten by the last.
 */
#if defined(__x86_64__)
#include "jit_x86_64.h"

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

/* r0 >>= 63, with any sign; perhaps r0 &= not 0; exit: the sign bit alone decides. */
static uint32_t fuse_bit63_exit(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc), *next = fusible(jit, pc);
	uint32_t n = 2;

	if (!jit->exit_bit63 || insn_dst(insn) != 0 || insn->imm != 63 || !next)
		return 0;
	if (is_op(insn, BPF_ALU64 | BPF_K | BPF_ARSH)) {
		if (is_op(next, BPF_ALU64 | BPF_K | BPF_AND) && insn_dst(next) == 0 &&
		    next->imm != 0) {
			next = fusible(jit, pc + 1);
			n = 3;
		}
	} else if (!is_op(insn, BPF_ALU64 | BPF_K | BPF_RSH)) {
		return 0;
	}
	if (!next || next->opcode != BPF_OPCODE_EXIT)
		return 0;
	jit->exit_bit63(jit);
	return n;
}

/* dst = load; the byte swap behind it, if there is one. Slots dealt with. */
static uint32_t emit_load_and_swap(struct jit *jit, uint32_t pc, struct x64_mem mem)
{
	const struct dpcap_insn *load = insn_at(jit, pc), *next = fusible(jit, pc);
	uint8_t bytes = (uint8_t)insn_mem_size(load), dst = dst_reg(jit, load);
	struct x64_asm *as = &jit->as;

	if (insn_mode(load) == BPF_MEMSX) {
		x64_load_signed(as, bytes, dst, mem);
		return 1;
	}
	if (!next || insn_dst(next) != insn_dst(load) || next->imm != bytes * 8 ||
	    (!is_op(next, BPF_ALU | BPF_X | BPF_END) && !is_op(next, BPF_ALU64 | BPF_K | BPF_END))) {
		x64_load(as, bytes, dst, mem);
		return 1;
	}
	if (bytes == 2) {
		/* movbe with 16 bits would keep the upper bits of dst. */
		x64_load(as, 2, dst, mem);
		x64_swap16(as, dst);
	} else if (jit->cpu & DPCAP_VM_CPU_MOVBE) {
		x64_load_be(as, bytes, dst, mem);
	} else {
		x64_load(as, bytes, dst, mem);
		x64_bswap(as, bytes == 8 ? W64 : W32, dst);
	}
	return 2;
}

/* What a register holds: table + base + (index << scale) + disp. */
struct address {
	uint8_t base; /* machine registers, NO_REG: none */
	uint8_t index;
	uint8_t scale;
	bool has_table;
	uint64_t table;
	int64_t disp;
};

static bool address_add_reg(struct address *address, uint8_t reg)
{
	if (address->base == NO_REG) {
		address->base = reg;
		return true;
	}
	if (address->index != NO_REG)
		return false;
	address->index = reg;
	if (reg == RSP) {
		address->index = address->base;
		address->base = RSP;
	}
	return address->index != RSP;
}

static bool address_uses(const struct address *address, uint8_t reg)
{
	return address->base == reg || address->index == reg;
}

/* Only what is scaled may be there yet. */
static bool address_shift(struct address *address, int32_t count)
{
	if (address->has_table || address->index != NO_REG || address->disp != 0 ||
	    address->base == RSP || count < 1 || count > 3)
		return false;
	address->index = address->base;
	address->base = NO_REG;
	address->scale = (uint8_t)count;
	return true;
}

/* Take one more operation on dst into the address; false: it does not fit. */
static bool address_extend(const struct jit *jit, struct address *address,
			   const struct dpcap_insn *insn)
{
	switch (insn->opcode) {
	case BPF_ALU64 | BPF_X | BPF_ADD:
		return insn_src(insn) != insn_dst(insn) &&
		       address_add_reg(address, src_reg(jit, insn));
	case BPF_ALU64 | BPF_K | BPF_ADD:
		address->disp += insn->imm;
		return x64_fits32(address->disp);
	case BPF_ALU64 | BPF_K | BPF_LSH:
		return address_shift(address, insn->imm);
	default:
		return false;
	}
}

/* The address that the first instruction makes; the slots it takes, 0: it makes none. */
static uint32_t address_start(const struct jit *jit, struct address *address, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);

	*address = (struct address){.base = NO_REG, .index = NO_REG};
	if (is_op(insn, BPF_OPCODE_LDDW)) {
		address->has_table = true;
		address->table = dpcap_vm_lddw_value(jit->prog, insn);
		return 2;
	}
	if (is_op(insn, BPF_ALU64 | BPF_X | BPF_MOV) && insn->offset == 0 &&
	    insn_src(insn) != insn_dst(insn)) {
		address->base = src_reg(jit, insn);
		return 1;
	}
	address->base = dst_reg(jit, insn);
	return address_extend(jit, address, insn) ? 1 : 0;
}

/* Can be a memory operand of a load, with this offset. */
static bool address_loadable(const struct address *address, int16_t offset)
{
	if (!x64_fits32(address->disp + offset))
		return false;
	if (address->has_table)
		return address->base == NO_REG || address->index == NO_REG;
	return address->base != NO_REG;
}

/* One `lea` that is as fast as an addition: two parts. */
static bool address_is_lea(const struct address *address)
{
	return !address->has_table && address->base != NO_REG &&
	       (address->index != NO_REG) + (address->disp != 0) == 1;
}

static struct x64_mem address_operand(struct jit *jit, const struct address *address,
				      int16_t offset)
{
	struct x64_mem mem = {.base = address->base,
			      .index = address->index,
			      .scale = address->scale,
			      .disp = (int32_t)(address->disp + offset)};

	if (address->has_table) {
		x64_mov_imm(&jit->as, TEMP, address->table);
		if (mem.base != NO_REG)
			mem.index = mem.base;
		mem.base = TEMP;
		if (mem.index == RSP)
			mem = (struct x64_mem){.base = RSP, .index = TEMP, .disp = mem.disp};
	}
	return mem;
}

/*
 * dst is made an address step by step and then overwritten by what lies there: a load
 * with base, scaled index and displacement. Or, without the load: lea.
 *
 *	dst = a; dst <<= 2; dst += b; dst = *(u32 *)(dst + 8)	mov dst, [b + a*4 + 8]
 *	dst = a; dst += b					lea dst, [a + b]
 */
static uint32_t fuse_address(struct jit *jit, uint32_t pc)
{
	uint8_t reg = insn_dst(insn_at(jit, pc));
	struct address address, lea = {0};
	uint32_t n = address_start(jit, &address, pc), n_lea = 0;
	const struct dpcap_insn *next, *table = NULL;

	if (n == 0)
		return 0;
	while ((next = fusible(jit, pc + n - 1)) != NULL) {
		if (is_op(next, BPF_OPCODE_LDDW) && !table && insn_dst(next) != reg &&
		    !address_uses(&address, dst_reg(jit, next))) {
			/* May as well be loaded before. */
			table = next;
			n += 2;
			continue;
		}
		if (insn_class(next) == BPF_LDX && insn_src(next) == reg && insn_dst(next) == reg &&
		    address_loadable(&address, next->offset)) {
			if (table)
				x64_mov_imm(&jit->as, dst_reg(jit, table),
					    dpcap_vm_lddw_value(jit->prog, table));
			return n + emit_load_and_swap(
					   jit, pc + n,
					   address_operand(jit, &address, next->offset));
		}
		if (insn_dst(next) != reg || !address_extend(jit, &address, next))
			break;
		n++;
		if (address_is_lea(&address) && !table) {
			lea = address;
			n_lea = n;
		}
	}
	if (n_lea > 1)
		x64_lea(&jit->as, W64, jit->reg[reg], address_operand(jit, &lea, 0));
	return n_lea;
}

/*
 * index <<= 2; dst += index; dst = load [dst + offset], and index is of no more use:
 *	mov dst, [dst + index*4 + offset]
 */
static uint32_t fuse_scaled_index(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *shift = insn_at(jit, pc), *add = fusible(jit, pc), *load;
	uint8_t index = insn_dst(shift), reg;

	if (!is_op(shift, BPF_ALU64 | BPF_K | BPF_LSH) || shift->imm < 1 || shift->imm > 3 || !add ||
	    !is_op(add, BPF_ALU64 | BPF_X | BPF_ADD) || insn_src(add) != index ||
	    insn_dst(add) == index)
		return 0;
	load = fusible(jit, pc + 1);
	reg = insn_dst(add);
	if (!load || insn_class(load) != BPF_LDX || insn_src(load) != reg || insn_dst(load) != reg ||
	    live_after(jit, pc + 2, index))
		return 0;
	return 2 + emit_load_and_swap(jit, pc + 2,
				      x64_at_index(jit->reg[reg], jit->reg[index],
						   (uint8_t)shift->imm, load->offset));
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

/* dst = src; dst *= constant: the form with three operands */
static bool fuse_mov_mul(struct jit *jit, const struct dpcap_insn *mov,
			 const struct dpcap_insn *next)
{
	if (!is_op(next, BPF_ALU64 | BPF_K | BPF_MUL) && !is_op(next, BPF_ALU | BPF_K | BPF_MUL))
		return false;
	x64_imul_imm(&jit->as, insn_width(next), dst_reg(jit, mov), src_reg(jit, mov), next->imm);
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

/* dst = src; and something that takes three operands. */
static uint32_t fuse_mov(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *mov = insn_at(jit, pc), *next = fusible(jit, pc);

	if (!is_op(mov, BPF_ALU64 | BPF_X | BPF_MOV) || mov->offset != 0 || !next ||
	    insn_dst(next) != insn_dst(mov) || insn_src(mov) == insn_dst(mov))
		return 0;
	if (fuse_not_and(jit, src_reg(jit, mov), next, fusible(jit, pc + 1)))
		return 3;
	return fuse_mov_shift(jit, mov, next) || fuse_mov_mul(jit, mov, next) ? 2 : 0;
}

/* A jump between two constant results: no jump. */
static uint32_t fuse_verdict(struct jit *jit, uint32_t pc)
{
	struct jit_verdict verdict;

	if (!jit_verdict(jit, pc, &verdict))
		return 0;
	jit_emit_verdict(jit, pc, verdict.when);
	jit->exit_carry(jit, verdict.value);
	return 3;
}

uint32_t jit_fuse(struct jit *jit, uint32_t pc)
{
	const struct dpcap_insn *insn = insn_at(jit, pc);
	uint32_t n;

	switch (insn_class(insn)) {
	case BPF_LD:
		return fuse_address(jit, pc);
	case BPF_LDX:
		return emit_load_and_swap(jit, pc, x64_at(src_reg(jit, insn), insn->offset));
	case BPF_ALU:
		return fuse_known_exit(jit, pc);
	case BPF_ALU64:
		n = fuse_known_exit(jit, pc);
		if (n == 0)
			n = fuse_bit63_exit(jit, pc);
		if (n == 0)
			n = fuse_mov(jit, pc);
		if (n == 0)
			n = fuse_scaled_index(jit, pc);
		if (n == 0)
			n = fuse_address(jit, pc);
		if (n == 0 && fuse_not_and(jit, dst_reg(jit, insn), insn, fusible(jit, pc)))
			n = 2;
		return n;
	case BPF_JMP:
	case BPF_JMP32:
		return fuse_verdict(jit, pc);
	default:
		return 0;
	}
}
#endif
