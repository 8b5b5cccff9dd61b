/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be checked without following the program (RFC 9669, section 3: "unused
 * fields SHALL be cleared to zero"). A program that passes can be decoded without
 * another look at its fields.
 */
#include <errno.h>

#include "isa.h"
#include "maps.h"
#include "prog.h"

/* Fields of an instruction that mean something; all others must be zero. */
enum {
	USES_DST = 1,
	USES_SRC = 2,
	USES_OFFSET = 4,
	USES_IMM = 8,
	UNKNOWN = 16,
};

static unsigned alu_fields(const struct dpcap_insn *insn)
{
	unsigned operand = insn_is_x(insn) ? USES_SRC : USES_IMM;
	bool alu64 = insn_class(insn) == BPF_ALU64;

	switch (insn_code(insn)) {
	case BPF_NEG:
		return insn_is_x(insn) ? UNKNOWN : USES_DST;
	case BPF_END:
		if (alu64 && insn_is_x(insn))
			return UNKNOWN;
		if (insn->imm != 16 && insn->imm != 32 && insn->imm != 64)
			return UNKNOWN;
		return USES_DST | USES_IMM;
	case BPF_DIV:
	case BPF_MOD:
		if (insn->offset != 0 && insn->offset != 1)
			return UNKNOWN;
		return USES_DST | operand | USES_OFFSET;
	case BPF_MOV:
		if (insn->offset == 0)
			return USES_DST | operand;
		if (!insn_is_x(insn))
			return UNKNOWN;
		if (insn->offset != 8 && insn->offset != 16 && !(alu64 && insn->offset == 32))
			return UNKNOWN;
		return USES_DST | USES_SRC | USES_OFFSET;
	case 0xe0:
	case 0xf0:
		return UNKNOWN;
	default:
		return USES_DST | operand;
	}
}

static unsigned jmp_fields(const struct dpcap_insn *insn)
{
	bool jmp32 = insn_class(insn) == BPF_JMP32;

	switch (insn_code(insn)) {
	case BPF_JA:
		if (insn_is_x(insn))
			return UNKNOWN;
		return jmp32 ? USES_IMM : USES_OFFSET;
	case BPF_CALL:
		if (jmp32)
			return UNKNOWN;
		if (insn_is_x(insn))
			return USES_DST; /* the register that holds the helper's number */
		return USES_SRC | USES_IMM;
	case BPF_EXIT:
		return jmp32 || insn_is_x(insn) ? UNKNOWN : 0;
	case 0xe0:
	case 0xf0:
		return UNKNOWN;
	default:
		return USES_DST | USES_OFFSET | (insn_is_x(insn) ? USES_SRC : USES_IMM);
	}
}

static unsigned atomic_fields(const struct dpcap_insn *insn)
{
	uint8_t size = insn->opcode & BPF_DW;

	if (size != BPF_W && size != BPF_DW)
		return UNKNOWN;
	switch (insn->imm) {
	case BPF_ADD:
	case BPF_ADD | BPF_FETCH:
	case BPF_OR:
	case BPF_OR | BPF_FETCH:
	case BPF_AND:
	case BPF_AND | BPF_FETCH:
	case BPF_XOR:
	case BPF_XOR | BPF_FETCH:
	case BPF_ATOMIC_XCHG:
	case BPF_ATOMIC_CMPXCHG:
		return USES_DST | USES_SRC | USES_OFFSET | USES_IMM;
	default:
		return UNKNOWN;
	}
}

/* Which fields the instruction uses, or UNKNOWN. */
static unsigned insn_fields(const struct dpcap_insn *insn)
{
	switch (insn_class(insn)) {
	case BPF_LD:
		/* The legacy packet loads (section 5.5) are left out: deprecated. */
		return insn->opcode == BPF_OPCODE_LDDW ? USES_DST | USES_SRC | USES_IMM : UNKNOWN;
	case BPF_LDX:
		if (insn_mode(insn) == BPF_MEM ||
		    (insn_mode(insn) == BPF_MEMSX && insn_mem_size(insn) < 8))
			return USES_DST | USES_SRC | USES_OFFSET;
		return UNKNOWN;
	case BPF_ST:
		return insn_mode(insn) == BPF_MEM ? USES_DST | USES_OFFSET | USES_IMM : UNKNOWN;
	case BPF_STX:
		if (insn_mode(insn) == BPF_MEM)
			return USES_DST | USES_SRC | USES_OFFSET;
		return insn_mode(insn) == BPF_ATOMIC ? atomic_fields(insn) : UNKNOWN;
	case BPF_ALU:
	case BPF_ALU64:
		return alu_fields(insn);
	default:
		return jmp_fields(insn);
	}
}

/* The instruction changes the register in its destination field. */
static bool writes_dst(const struct dpcap_insn *insn)
{
	switch (insn_class(insn)) {
	case BPF_LD:
	case BPF_LDX:
	case BPF_ALU:
	case BPF_ALU64:
		return true;
	default:
		return false;
	}
}

/* The instruction changes the register in its source field. */
static bool writes_src(const struct dpcap_insn *insn)
{
	return insn_class(insn) == BPF_STX && insn_mode(insn) == BPF_ATOMIC &&
	       (insn->imm & BPF_FETCH) && insn->imm != BPF_ATOMIC_CMPXCHG;
}

struct checker {
	struct dpcap_vm_prog *prog;
	struct dpcap_vm_log *log;
};

#define REFUSE(checker, pc, ...)                                                                   \
	do {                                                                                       \
		dpcap_vm_log_printf((checker)->log, "instruction %u: ", pc);                       \
		dpcap_vm_log_printf((checker)->log, __VA_ARGS__);                                  \
		dpcap_vm_log_printf((checker)->log, "\n");                                         \
		return -EINVAL;                                                                    \
	} while (0)

static int check_fields(const struct checker *checker, uint32_t pc)
{
	const struct dpcap_insn *insn = &checker->prog->insns[pc];
	unsigned fields = insn_fields(insn);
	/* A call tells what it calls in the source field. */
	bool src_is_register = insn->opcode != BPF_OPCODE_CALL && insn->opcode != BPF_OPCODE_LDDW;

	if (fields & UNKNOWN)
		REFUSE(checker, pc, "unknown opcode 0x%02x with offset %d and imm %d", insn->opcode,
		       insn->offset, insn->imm);
	if (insn_dst(insn) >= (fields & USES_DST ? BPF_N_REGS : 1))
		REFUSE(checker, pc, "bad destination register %u", insn_dst(insn));
	if (src_is_register && insn_src(insn) >= (fields & USES_SRC ? BPF_N_REGS : 1))
		REFUSE(checker, pc, "bad source register %u", insn_src(insn));
	if ((writes_dst(insn) && insn_dst(insn) == BPF_REG_FP) ||
	    (writes_src(insn) && insn_src(insn) == BPF_REG_FP))
		REFUSE(checker, pc, "r10 is read-only");
	if (!(fields & USES_OFFSET) && insn->offset != 0)
		REFUSE(checker, pc, "offset %d where none is used", insn->offset);
	if (!(fields & USES_IMM) && insn->imm != 0)
		REFUSE(checker, pc, "imm %d where none is used", insn->imm);
	return 0;
}

/* The verifier proves what is read behind the offset. */
static int check_map_value(const struct checker *checker, uint32_t pc)
{
	const struct dpcap_vm_prog *prog = checker->prog;
	const struct dpcap_insn *insn = &prog->insns[pc];
	const struct dpcap_vm_map *map;
	uint64_t size;

	if ((uint32_t)insn->imm > prog->n_maps)
		REFUSE(checker, pc, "there is no map %d", insn->imm - 1);
	map = prog->maps[insn->imm - 1];
	if (map->def.type != DPCAP_VM_MAP_ARRAY)
		REFUSE(checker, pc, "map %s is no array", map->def.name);
	size = (uint64_t)map->value_stride * map->def.max_entries;
	if ((uint32_t)insn[1].imm >= size)
		REFUSE(checker, pc, "offset %u is outside the %llu bytes of map %s",
		       (uint32_t)insn[1].imm, (unsigned long long)size, map->def.name);
	return 0;
}

static int check_lddw(const struct checker *checker, uint32_t pc)
{
	const struct dpcap_vm_prog *prog = checker->prog;
	const struct dpcap_insn *insn = &prog->insns[pc];

	if (pc + 1 == prog->n_insns)
		REFUSE(checker, pc, "the second half of a 64-bit immediate load is missing");
	if (insn[1].opcode != 0 || insn[1].regs != 0 || insn[1].offset != 0)
		REFUSE(checker, pc + 1, "bad second half of a 64-bit immediate load");
	prog->aux[pc + 1].second_slot = true;
	switch (insn_src(insn)) {
	case BPF_LDDW_IMM:
		return 0;
	case BPF_LDDW_MAP_BY_INDEX:
		if ((uint32_t)insn->imm >= prog->n_maps)
			REFUSE(checker, pc, "there is no map %d", insn->imm);
		if (insn[1].imm != 0)
			REFUSE(checker, pc + 1, "bad second half of the load of a map");
		return 0;
	case BPF_LDDW_MAP_VALUE_BY_INDEX:
		if (insn->imm != 0)
			return check_map_value(checker, pc);
		if ((uint32_t)insn[1].imm >= prog->rodata_size)
			REFUSE(checker, pc, "offset %u is outside the %u bytes of read-only tables",
			       (uint32_t)insn[1].imm, prog->rodata_size);
		return 0;
	default:
		REFUSE(checker, pc, "64-bit immediate load of unknown kind %u", insn_src(insn));
	}
}

/* Targets are marked first and judged when all second slots are known. */
static int mark_target(const struct checker *checker, uint32_t pc, int64_t target)
{
	if (target < 0 || target >= checker->prog->n_insns)
		REFUSE(checker, pc, "jumps out of the program, to instruction %lld",
		       (long long)target);
	checker->prog->aux[target].jump_target = true;
	return 0;
}

static int check_call(const struct checker *checker, uint32_t pc)
{
	const struct dpcap_vm_prog *prog = checker->prog;
	const struct dpcap_insn *insn = &prog->insns[pc];
	int64_t target = (int64_t)pc + 1 + insn->imm;

	switch (insn_src(insn)) {
	case BPF_CALL_HELPER:
		if (!dpcap_vm_find_helper(prog, (uint32_t)insn->imm))
			REFUSE(checker, pc, "there is no helper %d", insn->imm);
		return 0;
	case BPF_CALL_LOCAL:
		if (target < 0 || target >= prog->n_insns)
			REFUSE(checker, pc, "calls out of the program, instruction %lld",
			       (long long)target);
		prog->aux[target].function_start = true;
		return 0;
	default:
		REFUSE(checker, pc, "call of unknown kind %u", insn_src(insn));
	}
}

static int check_jump(const struct checker *checker, uint32_t pc)
{
	const struct dpcap_insn *insn = &checker->prog->insns[pc];

	if (insn->opcode == BPF_OPCODE_EXIT || insn->opcode == BPF_OPCODE_CALLX)
		return 0;
	if (insn->opcode == BPF_OPCODE_CALL)
		return check_call(checker, pc);
	if (insn->opcode == (BPF_JMP32 | BPF_JA))
		return mark_target(checker, pc, (int64_t)pc + 1 + insn->imm);
	return mark_target(checker, pc, (int64_t)pc + 1 + insn->offset);
}

/* Execution cannot go on behind this instruction. */
static bool ends_flow(const struct dpcap_insn *insn)
{
	return insn->opcode == BPF_OPCODE_EXIT || insn->opcode == (BPF_JMP | BPF_JA) ||
	       insn->opcode == (BPF_JMP32 | BPF_JA);
}

static int check_insn(const struct checker *checker, uint32_t pc)
{
	const struct dpcap_insn *insn = &checker->prog->insns[pc];
	int ret = check_fields(checker, pc);

	if (ret != 0)
		return ret;
	if (insn->opcode == BPF_OPCODE_LDDW)
		return check_lddw(checker, pc);
	if (insn_class(insn) == BPF_JMP || insn_class(insn) == BPF_JMP32)
		return check_jump(checker, pc);
	return 0;
}

/* The target of a jump, or pc itself for every other instruction. */
static uint32_t jump_target(const struct dpcap_insn *insn, uint32_t pc)
{
	uint8_t class = insn_class(insn);

	if ((class != BPF_JMP && class != BPF_JMP32) || insn->opcode == BPF_OPCODE_EXIT ||
	    insn_code(insn) == BPF_CALL)
		return pc;
	if (insn->opcode == (BPF_JMP32 | BPF_JA))
		return pc + 1 + (uint32_t)insn->imm;
	return pc + 1 + (uint32_t)insn->offset;
}

/* A function is left by exit alone and entered by call alone. */
static int check_functions(const struct checker *checker)
{
	const struct dpcap_vm_prog *prog = checker->prog;
	uint32_t pc, end, start = 0, last = 0;

	for (start = 0; start < prog->n_insns; start = end) {
		for (end = start + 1; end < prog->n_insns; end++)
			if (prog->aux[end].function_start)
				break;
		for (pc = start; pc < end; pc++) {
			const struct dpcap_vm_insn_aux *aux = &prog->aux[pc];
			uint32_t target;

			if (aux->second_slot) {
				if (aux->jump_target || aux->function_start)
					REFUSE(checker, pc,
					       "is jumped to, inside a 64-bit immediate load");
				continue;
			}
			target = jump_target(&prog->insns[pc], pc);
			if (target < start || target >= end)
				REFUSE(checker, pc, "jumps into another function, to instruction %u",
				       target);
			last = pc;
		}
		if (!ends_flow(&prog->insns[last]))
			REFUSE(checker, last, "execution runs into the next function");
	}
	return 0;
}

int dpcap_vm_check_structure(struct dpcap_vm_prog *prog, struct dpcap_vm_log *log)
{
	const struct checker checker = {.prog = prog, .log = log};
	uint32_t pc, last = 0;
	int ret;

	prog->aux[0].function_start = true;
	for (pc = 0; pc < prog->n_insns; pc++) {
		if (prog->aux[pc].second_slot)
			continue;
		last = pc;
		ret = check_insn(&checker, pc);
		if (ret != 0)
			return ret;
	}
	if (!ends_flow(&prog->insns[last]))
		REFUSE(&checker, last, "execution runs past the end of the program");
	return check_functions(&checker);
}
