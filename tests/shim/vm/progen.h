/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random programs that are valid by construction: registers are numbers from the start
 * (but r9 and r10, which point to memory and stay), every access lies inside, jumps go
 * forward. The same seed gives the same program everywhere.
 */
#ifndef DPCAP_TESTS_PROGEN_H
#define DPCAP_TESTS_PROGEN_H

#include "vmtest.h"

#define GEN_MAX_INSNS 1024
#define GEN_MEM_SIZE 64	 /* bytes behind r9 in the program */
#define GEN_STACK_SIZE 32 /* bytes below r10 that are initialised; r9 of local functions */
#define GEN_RODATA_SIZE 64
#define GEN_HELPER_ID 7
#define GEN_MAX_JUMPS 256

struct gen {
	bool tables;	 /* set before: programs may use GEN_RODATA_SIZE bytes of read-only tables */
	uint64_t random; /* state */
	enum dpcap_vm_prog_type type;
	struct dpcap_insn insns[GEN_MAX_INSNS];
	uint32_t n;
	bool in_function;
	/* Jumps waiting for the start of a statement to lead to. */
	uint32_t jumps[GEN_MAX_JUMPS];
	uint32_t n_jumps;
	uint32_t calls[GEN_MAX_JUMPS]; /* of the one local function */
	uint32_t n_calls;
};

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled"). */
static uint64_t gen_random(struct gen *gen)
{
	gen->random ^= gen->random >> 12;
	gen->random ^= gen->random << 25;
	gen->random ^= gen->random >> 27;
	return gen->random * 0x2545f4914f6cdd1d;
}

static uint32_t gen_below(struct gen *gen, uint32_t n)
{
	return (uint32_t)(gen_random(gen) >> 32) % n;
}

/* Values at the edges more often than others. */
static uint64_t gen_value(struct gen *gen)
{
	uint64_t value = gen_random(gen);

	switch (gen_below(gen, 6)) {
	case 0:
		return value;
	case 1:
		return value & 0xff;
	case 2:
		return (uint64_t)(int64_t)(int32_t)value;
	case 3:
		return 1ull << (value & 63);
	case 4:
		return (1ull << (value & 63)) - 1;
	default:
		return 0 - (value & 3);
	}
}

static void gen_emit(struct gen *gen, struct dpcap_insn insn)
{
	gen->insns[gen->n++] = insn;
}

static uint8_t gen_number_reg(struct gen *gen)
{
	return (uint8_t)gen_below(gen, 9);
}

static void gen_set(struct gen *gen, uint8_t reg)
{
	uint64_t value = gen_value(gen);

	if ((int64_t)value == (int32_t)value && gen_below(gen, 2)) {
		gen_emit(gen, MOV_K(reg, value));
	} else {
		const struct dpcap_insn lddw[] = {LDDW(reg, value)};

		gen_emit(gen, lddw[0]);
		gen_emit(gen, lddw[1]);
	}
}

static void gen_alu(struct gen *gen)
{
	static const uint8_t codes[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,  BPF_AND, BPF_LSH,
					BPF_RSH, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH};
	uint8_t class = gen_below(gen, 3) ? BPF_ALU64 : BPF_ALU;
	uint8_t code = codes[gen_below(gen, sizeof(codes))], dst = gen_number_reg(gen);
	int16_t offset = (code == BPF_DIV || code == BPF_MOD) && gen_below(gen, 2);

	if (gen_below(gen, 2))
		gen_emit(gen, INSN(class | code | BPF_X, dst, gen_number_reg(gen), offset, 0));
	else
		gen_emit(gen, INSN(class | code, dst, 0, offset, gen_value(gen)));
}

static void gen_unary(struct gen *gen)
{
	static const uint8_t bits[] = {16, 32, 64}, movsx[] = {8, 16, 32};
	uint8_t dst = gen_number_reg(gen), src = gen_number_reg(gen), i = (uint8_t)gen_below(gen, 3);

	switch (gen_below(gen, 7)) {
	case 0:
		gen_emit(gen, LE(dst, bits[i]));
		break;
	case 1:
		gen_emit(gen, BE(dst, bits[i]));
		break;
	case 2:
		gen_emit(gen, BSWAP(dst, bits[i]));
		break;
	case 3:
		gen_emit(gen, ALU64_K(BPF_NEG, dst, 0));
		break;
	case 4:
		gen_emit(gen, ALU32_K(BPF_NEG, dst, 0));
		break;
	case 5:
		gen_emit(gen, INSN(BPF_ALU64 | BPF_X | BPF_MOV, dst, src, movsx[i], 0));
		break;
	default:
		gen_emit(gen, INSN(BPF_ALU | BPF_X | BPF_MOV, dst, src, movsx[i % 2], 0));
		break;
	}
}

/* A base register and an offset with room for size bytes. */
static uint8_t gen_place(struct gen *gen, uint32_t size, bool writes, bool aligned, int16_t *offset)
{
	bool stack = gen_below(gen, 2) || (writes && !gen->in_function && gen->type == DPCAP_VM_PACKET);
	uint32_t room = stack || gen->in_function ? GEN_STACK_SIZE : GEN_MEM_SIZE;
	uint32_t at = gen_below(gen, room - size + 1);

	if (aligned)
		at &= ~(size - 1);
	*offset = (int16_t)(stack ? (int)at - GEN_STACK_SIZE : (int)at);
	return stack ? BPF_REG_FP : 9;
}

static const uint8_t gen_sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

static void gen_load(struct gen *gen)
{
	uint32_t i = gen_below(gen, 4);
	bool sign = i < 3 && gen_below(gen, 3) == 0;
	uint8_t base, dst = gen_number_reg(gen);
	int16_t offset;

	base = gen_place(gen, 1u << i, false, false, &offset);
	gen_emit(gen, INSN(BPF_LDX | (sign ? BPF_MEMSX : BPF_MEM) | gen_sizes[i], dst, base, offset, 0));
	if (gen_below(gen, 3) == 0 && i > 0)
		gen_emit(gen, BE(dst, 8 << i));
}

static void gen_store(struct gen *gen)
{
	uint32_t i = gen_below(gen, 4);
	int16_t offset;
	uint8_t base = gen_place(gen, 1u << i, true, false, &offset);

	if (gen_below(gen, 2))
		gen_emit(gen, STX(gen_sizes[i], base, offset, gen_number_reg(gen)));
	else
		gen_emit(gen, ST(gen_sizes[i], base, offset, gen_value(gen)));
}

static void gen_atomic(struct gen *gen)
{
	static const int32_t ops[] = {
		BPF_ADD, BPF_OR, BPF_AND, BPF_XOR, BPF_ADD | BPF_FETCH, BPF_OR | BPF_FETCH,
		BPF_AND | BPF_FETCH, BPF_XOR | BPF_FETCH, BPF_ATOMIC_XCHG, BPF_ATOMIC_CMPXCHG,
	};
	uint32_t i = 2 + gen_below(gen, 2);
	int16_t offset;
	uint8_t base = gen_place(gen, 1u << i, true, true, &offset);

	gen_emit(gen, ATOMIC(gen_sizes[i], ops[gen_below(gen, N_ELEMENTS(ops))], base, offset,
			     gen_number_reg(gen)));
}

/* A place found at run time: base plus a masked number. */
static void gen_load_indexed(struct gen *gen)
{
	uint8_t address = gen_number_reg(gen), dst = gen_number_reg(gen);

	gen_emit(gen, ALU64_K(BPF_AND, address, GEN_STACK_SIZE / 2 - 1));
	gen_emit(gen, ALU64_X(BPF_ADD, address, 9));
	gen_emit(gen, LDX(gen_sizes[gen_below(gen, 4)], dst, address, gen_below(gen, 8)));
	if (dst != address)
		gen_set(gen, address);
}

/* An address of several parts, overwritten by what lies there. */
static void gen_load_scaled(struct gen *gen)
{
	uint8_t index = gen_number_reg(gen), dst = gen_number_reg(gen), size = (uint8_t)gen_below(gen, 4);
	uint8_t scale = (uint8_t)gen_below(gen, 4);

	gen_emit(gen, ALU64_K(BPF_AND, index, 1));
	if (gen->tables && gen_below(gen, 2) && dst != index) {
		const struct dpcap_insn table[] = {LDDW_RODATA(dst, (int)gen_below(gen, 40))};

		gen_emit(gen, table[0]);
		gen_emit(gen, table[1]);
		gen_emit(gen, ALU64_X(BPF_ADD, dst, index));
	} else if (dst != index && gen_below(gen, 2)) {
		gen_emit(gen, MOV_X(dst, 9));
		gen_emit(gen, ALU64_K(BPF_LSH, index, scale));
		gen_emit(gen, ALU64_X(BPF_ADD, dst, index));
	} else {
		if (dst != index)
			gen_emit(gen, MOV_X(dst, index));
		if (scale > 0)
			gen_emit(gen, ALU64_K(BPF_LSH, dst, scale));
		gen_emit(gen, ALU64_X(BPF_ADD, dst, 9));
	}
	if (gen_below(gen, 2))
		gen_emit(gen, ALU64_K(BPF_ADD, dst, gen_below(gen, 4)));
	gen_emit(gen, LDX(gen_sizes[size], dst, dst, gen_below(gen, 8)));
	if (size > 0 && gen_below(gen, 2))
		gen_emit(gen, BE(dst, 8 << size));
}

/* Jumps to the start of a later statement. */
static void gen_jump(struct gen *gen)
{
	static const uint8_t codes[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,	BPF_JLT, BPF_JLE,
					BPF_JSET, BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE};
	uint8_t op = codes[gen_below(gen, sizeof(codes))] | (gen_below(gen, 2) ? BPF_JMP : BPF_JMP32);
	uint8_t dst = gen_number_reg(gen);

	if (gen->n_jumps == GEN_MAX_JUMPS)
		return;
	gen->jumps[gen->n_jumps++] = gen->n;
	if (gen_below(gen, 3) == 0)
		gen_emit(gen, INSN(op, dst, 0, 0, 0));
	else if (gen_below(gen, 2))
		gen_emit(gen, INSN(op, dst, 0, 0, gen_value(gen)));
	else
		gen_emit(gen, INSN(op | BPF_X, dst, gen_number_reg(gen), 0, 0));
}

/* What every filter consists of: is the packet long enough, load, swap, compare. */
static void gen_guarded_load(struct gen *gen)
{
	static const uint8_t codes[] = {BPF_JEQ, BPF_JNE, BPF_JSET, BPF_JGT};
	uint8_t dst = gen_number_reg(gen), class = gen_below(gen, 2) ? BPF_JMP : BPF_JMP32;
	uint32_t size = gen_below(gen, 3);

	if (gen->n_jumps + 2 > GEN_MAX_JUMPS)
		return;
	gen->jumps[gen->n_jumps++] = gen->n;
	gen_emit(gen, JMP_K(BPF_JLT, gen_number_reg(gen), gen_value(gen), 0));
	gen_emit(gen, LDX(gen_sizes[size], dst, 9, gen_below(gen, 16)));
	if (size > 0 && gen_below(gen, 2))
		gen_emit(gen, BE(dst, 8 << size));
	gen->jumps[gen->n_jumps++] = gen->n;
	gen_emit(gen, INSN(class | codes[gen_below(gen, 4)], dst, 0, 0, gen_value(gen)));
}

static void gen_land_jumps(struct gen *gen, bool all)
{
	uint32_t i, kept = 0;

	for (i = 0; i < gen->n_jumps; i++) {
		uint32_t from = gen->jumps[i];

		if (from + 1 < gen->n && (all || gen_below(gen, 4) == 0))
			gen->insns[from].offset = (int16_t)(gen->n - from - 1);
		else
			gen->jumps[kept++] = from;
	}
	gen->n_jumps = kept;
}

static void gen_call(struct gen *gen)
{
	uint8_t reg;

	if (gen->in_function || gen_below(gen, 2) || gen->n_calls == GEN_MAX_JUMPS) {
		gen_emit(gen, CALL(GEN_HELPER_ID));
	} else {
		gen->calls[gen->n_calls++] = gen->n;
		gen_emit(gen, CALL_LOCAL(0));
	}
	for (reg = 1; reg <= 5; reg++)
		gen_set(gen, reg);
}

/* What the JIT takes together. */
static void gen_idiom(struct gen *gen)
{
	uint8_t a = gen_number_reg(gen), b = gen_number_reg(gen), c = gen_number_reg(gen);

	switch (gen_below(gen, 5)) {
	case 0:
		gen_emit(gen, MOV_X(a, b));
		gen_emit(gen, ALU64_K(BPF_ADD, a, gen_value(gen)));
		break;
	case 1:
		gen_emit(gen, MOV_X(a, b));
		gen_emit(gen, ALU64_X(BPF_ADD, a, c));
		break;
	case 2:
		gen_emit(gen, MOV_X(a, b));
		gen_emit(gen, ALU64_K(BPF_XOR, a, -1));
		gen_emit(gen, ALU64_X(BPF_AND, a, c));
		break;
	case 3:
		gen_emit(gen, ALU64_K(BPF_XOR, a, -1));
		gen_emit(gen, ALU64_X(BPF_AND, a, c));
		break;
	default:
		gen_emit(gen, MOV_X(a, b));
		gen_emit(gen, ALU64_X(gen_below(gen, 2) ? BPF_LSH : BPF_ARSH, a, c));
		break;
	}
}

static void gen_statement(struct gen *gen, bool calls)
{
	switch (gen_below(gen, 16)) {
	case 0:
	case 1:
	case 2:
		gen_load(gen);
		break;
	case 3:
		gen_store(gen);
		break;
	case 4:
		gen_atomic(gen);
		break;
	case 5:
		gen_load_indexed(gen);
		break;
	case 6:
		gen_unary(gen);
		break;
	case 12:
		gen_load_scaled(gen);
		break;
	case 13:
		gen_guarded_load(gen);
		break;
	case 7:
	case 8:
		gen_jump(gen);
		break;
	case 9:
	case 10:
		gen_idiom(gen);
		break;
	case 11:
		if (calls) {
			gen_call(gen);
			break;
		}
		/* fall through */
	default:
		gen_alu(gen);
		break;
	}
}

static void gen_statements(struct gen *gen, uint32_t n, bool calls)
{
	for (; n > 0; n--) {
		gen_land_jumps(gen, false);
		gen_statement(gen, calls);
	}
	gen_emit(gen, MOV_X(0, 0)); /* jumps have a place to go to */
	gen_land_jumps(gen, true);
}

static void gen_init_stack(struct gen *gen)
{
	int offset;

	for (offset = -GEN_STACK_SIZE; offset < 0; offset += 8)
		gen_emit(gen, ST(BPF_DW, 10, offset, gen_value(gen)));
}

/* All numbers make up the result. Some endings are those that burst entries treat specially. */
static void gen_end(struct gen *gen)
{
	uint8_t reg;

	for (reg = 1; reg <= 8; reg++)
		gen_emit(gen, ALU64_X(reg % 2 ? BPF_ADD : BPF_XOR, 0, reg));
	switch (gen_below(gen, 5)) {
	case 0:
		gen_emit(gen, ALU64_K(BPF_AND, 0, 1));
		break;
	case 1:
		gen_emit(gen, ALU64_K(BPF_RSH, 0, 63));
		break;
	case 2:
		gen_emit(gen, JMP_K(BPF_JSET, 0, 2, 2));
		gen_emit(gen, MOV_K(0, 0));
		gen_emit(gen, EXIT());
		gen_emit(gen, MOV_K(0, 3));
		break;
	case 3:
		gen_emit(gen, JMP_K(BPF_JSLT, 0, 0, 2));
		gen_emit(gen, MOV_K(0, -1));
		gen_emit(gen, EXIT());
		gen_emit(gen, ALU32_K(BPF_MOV, 0, 0));
		break;
	default:
		break;
	}
	gen_emit(gen, EXIT());
}

/* Returns the number of instructions in gen->insns. */
static uint32_t gen_program(struct gen *gen, uint64_t seed)
{
	bool calls, tables = gen->tables;
	uint8_t reg;
	uint32_t i;

	memset(gen, 0, sizeof(*gen));
	gen->tables = tables;
	gen->random = seed * 0x9e3779b97f4a7c15 + 1;
	gen_random(gen);
	gen->type = gen_below(gen, 2) ? DPCAP_VM_MEMORY : DPCAP_VM_PACKET;
	calls = gen_below(gen, 3) == 0;
	gen_emit(gen, MOV_X(9, 1));
	if (gen->type == DPCAP_VM_PACKET) {
		gen_emit(gen, JMP_K(BPF_JGE, 2, GEN_MEM_SIZE, 2));
		gen_emit(gen, MOV_K(0, 0));
		gen_emit(gen, EXIT());
	}
	gen_init_stack(gen);
	for (reg = 0; reg <= 8; reg++)
		/* Numbers from outside: the length; with a packet, that on the wire and the metadata. */
		if (reg != 2 && (gen->type == DPCAP_VM_MEMORY || (reg != 3 && reg != 4)))
			gen_set(gen, reg);
	gen_statements(gen, 1 + gen_below(gen, 60), calls);
	gen_end(gen);
	if (gen->n_calls > 0) {
		for (i = 0; i < gen->n_calls; i++)
			gen->insns[gen->calls[i]].imm = (int32_t)(gen->n - gen->calls[i] - 1);
		gen->in_function = true;
		gen_init_stack(gen);
		gen_emit(gen, MOV_X(9, 10));
		gen_emit(gen, ALU64_K(BPF_ADD, 9, -GEN_STACK_SIZE));
		gen_set(gen, 0);
		for (reg = 6; reg <= 8; reg++)
			gen_set(gen, reg);
		gen_statements(gen, 1 + gen_below(gen, 20), calls && gen_below(gen, 2));
		gen_end(gen);
	}
	return gen->n;
}

#endif /* DPCAP_TESTS_PROGEN_H */
