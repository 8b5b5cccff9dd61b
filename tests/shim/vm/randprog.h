/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs out of bytes: any bytes make a program that is well-formed, and often one
 * that the verifier accepts, as idioms of bounds checks are among the building stones.
 */
#ifndef DPCAP_TESTS_RANDPROG_H
#define DPCAP_TESTS_RANDPROG_H

#include "vmtest.h"

#define RANDPROG_MAX_INSNS 96

struct randprog {
	const uint8_t *bytes;
	size_t n_bytes, used;
	struct dpcap_insn insns[RANDPROG_MAX_INSNS + 32];
	uint32_t n;
	uint32_t exits[RANDPROG_MAX_INSNS]; /* jumps to the end, patched when it is known */
	uint32_t n_exits;
};

/* 0 when the bytes are used up. */
static inline uint8_t randprog_byte(struct randprog *p)
{
	return p->used < p->n_bytes ? p->bytes[p->used++] : 0;
}

static inline void randprog_emit(struct randprog *p, struct dpcap_insn insn)
{
	p->insns[p->n++] = insn;
}

/* A jump to the end of the program. */
static inline void randprog_exit(struct randprog *p, struct dpcap_insn insn)
{
	p->exits[p->n_exits++] = p->n;
	randprog_emit(p, insn);
}

/* Numbers at which things change. */
static inline int32_t randprog_imm(struct randprog *p)
{
	static const int32_t special[] = {
		0, 1, -1, 2, 3, 4, 7, 8, 14, 15, 16, 31, 32, 33, 63, 64, 0xff, 0xffff, 0x7fff,
		-8, -20, INT32_MAX, INT32_MIN, INT32_MIN + 1, 0x10000, 0xf0f0, 0x40000000, 60, 20, 34, 12,
	};
	uint8_t kind = randprog_byte(p);
	int32_t imm;

	if (kind < 160)
		return special[kind % N_ELEMENTS(special)];
	if (kind < 224)
		return (int8_t)randprog_byte(p);
	imm = randprog_byte(p);
	imm |= randprog_byte(p) << 8;
	imm |= randprog_byte(p) << 16;
	return imm | (int32_t)((uint32_t)randprog_byte(p) << 24);
}

/* Any register but the frame pointer, now and then it too; seldom r1 and r2, so that
 * the packet stays at hand. */
static inline unsigned randprog_reg(struct randprog *p)
{
	static const uint8_t regs[] = {0, 3, 4, 5, 6, 7, 8, 9, 0, 3, 4, 5, 6, 7, 8, 9,
				       0, 3, 4, 5, 6, 7, 8, 9, 0, 3, 4, 5, 6, 1, 2, 10};

	return regs[randprog_byte(p) % N_ELEMENTS(regs)];
}

static inline unsigned randprog_writable(struct randprog *p)
{
	unsigned reg = randprog_reg(p);

	return reg == BPF_REG_FP ? 0 : reg;
}

static inline uint8_t randprog_size(struct randprog *p)
{
	static const uint8_t sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

	return sizes[randprog_byte(p) & 3];
}

static inline void randprog_alu(struct randprog *p)
{
	static const uint8_t codes[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV,  BPF_OR,  BPF_AND,
					BPF_LSH, BPF_RSH, BPF_MOD, BPF_XOR,  BPF_MOV, BPF_ARSH,
					BPF_AND, BPF_ADD, BPF_SUB, BPF_ARSH, BPF_RSH};
	static const int16_t extend[] = {8, 16, 32, 0};
	uint8_t kind = randprog_byte(p);
	uint8_t class = kind & 1 ? BPF_ALU : BPF_ALU64;
	uint8_t code = codes[(kind >> 2) % N_ELEMENTS(codes)];
	unsigned dst = randprog_writable(p);
	struct dpcap_insn insn;

	if (kind & 2)
		insn = INSN(class | BPF_X | code, dst, randprog_reg(p), 0, 0);
	else
		insn = INSN(class | BPF_K | code, dst, 0, 0, randprog_imm(p));
	if ((code == BPF_DIV || code == BPF_MOD) && kind & 128)
		insn.offset = 1;
	if (code == BPF_MOV && kind & 2 && kind & 128)
		insn.offset = extend[randprog_byte(p) % (class == BPF_ALU ? 2 : 4)];
	randprog_emit(p, insn);
}

static inline void randprog_unary(struct randprog *p)
{
	static const uint8_t bits[] = {16, 32, 64};
	uint8_t kind = randprog_byte(p);
	unsigned dst = randprog_writable(p);

	switch (kind & 3) {
	case 0:
		randprog_emit(p, INSN((kind & 4 ? BPF_ALU : BPF_ALU64) | BPF_NEG, dst, 0, 0, 0));
		break;
	case 1:
		randprog_emit(p, LE(dst, bits[kind / 4 % 3]));
		break;
	case 2:
		randprog_emit(p, BE(dst, bits[kind / 4 % 3]));
		break;
	default:
		randprog_emit(p, BSWAP(dst, bits[kind / 4 % 3]));
		break;
	}
}

static inline struct dpcap_insn randprog_condition(struct randprog *p)
{
	static const uint8_t codes[] = {BPF_JEQ,  BPF_JGT,  BPF_JGE, BPF_JSET, BPF_JNE, BPF_JSGT,
					BPF_JSGE, BPF_JLT, BPF_JLE,  BPF_JSLT, BPF_JSLE};
	uint8_t kind = randprog_byte(p);
	uint8_t class = kind & 1 ? BPF_JMP32 : BPF_JMP;
	uint8_t code = codes[(kind >> 2) % N_ELEMENTS(codes)];
	unsigned dst = randprog_reg(p);

	if (kind & 2)
		return INSN(class | BPF_X | code, dst, randprog_reg(p), 0, 0);
	return INSN(class | BPF_K | code, dst, 0, 0, randprog_imm(p));
}

static inline void randprog_jump(struct randprog *p)
{
	struct dpcap_insn insn = randprog_condition(p);
	int8_t distance = (int8_t)randprog_byte(p);

	/* Mostly forward; patched to stay inside. */
	insn.offset = distance > -124 ? (distance & 7) : -(distance & 7) - 1;
	randprog_emit(p, insn);
}

static inline void randprog_memory(struct randprog *p)
{
	uint8_t kind = randprog_byte(p), size = randprog_size(p);
	unsigned pointer = kind & 1 ? 10 : kind & 0xe0 ? 1 : randprog_reg(p);
	int16_t offset = pointer == 10 ? (int16_t)(-(int)(randprog_byte(p) % 33))
				       : (int16_t)(randprog_byte(p) % 32 - 1);

	switch (kind >> 2 & 7) {
	case 0:
		randprog_emit(p, ST(size, pointer, offset, randprog_imm(p)));
		break;
	case 1:
	case 2:
		randprog_emit(p, STX(size, pointer, offset, randprog_reg(p)));
		break;
	case 3:
		randprog_emit(p, LDXSX(size == BPF_DW ? BPF_B : size, randprog_writable(p), pointer,
				       offset));
		break;
	case 4: {
		static const uint8_t ops[] = {BPF_ADD, BPF_OR, BPF_AND, BPF_XOR,
					      BPF_ADD | BPF_FETCH, BPF_XOR | BPF_FETCH,
					      BPF_ATOMIC_XCHG, BPF_ATOMIC_CMPXCHG};

		randprog_emit(p, ATOMIC(size & BPF_H ? BPF_DW : BPF_W, ops[randprog_byte(p) & 7],
					pointer, offset & ~7, randprog_writable(p)));
		break;
	}
	default:
		randprog_emit(p, LDX(size, randprog_writable(p), pointer, offset));
		break;
	}
}

/* if (x + c > len) goto end; y = pkt + x; load of y, in several spellings. */
static inline void randprog_checked_load(struct randprog *p)
{
	uint8_t kind = randprog_byte(p), size = randprog_size(p), more = randprog_byte(p);
	unsigned x = 3 + more % 3, t = 6 + more / 4 % 3, y = 9;
	int32_t c = randprog_byte(p) % 24;

	if (kind & 1)
		randprog_emit(p, LDX(BPF_B, x, 1, randprog_byte(p) % 16));
	else if (kind & 2)
		randprog_emit(p, ALU64_K(BPF_AND, x, randprog_byte(p)));
	if (kind & 4)
		randprog_emit(p, ALU64_K(BPF_LSH, x, more & 7));
	switch (kind >> 3 & 7) {
	case 0:
	case 1:
		randprog_emit(p, MOV_X(t, x));
		randprog_emit(p, ALU64_K(BPF_ADD, t, c));
		randprog_exit(p, JMP_X(kind & 64 ? BPF_JGT : BPF_JSGT, t, 2, 0));
		break;
	case 2:
		randprog_emit(p, ALU32_X(BPF_MOV, t, x));
		randprog_emit(p, ALU32_K(BPF_ADD, t, c));
		randprog_exit(p, JMP32_X(kind & 64 ? BPF_JGT : BPF_JGE, t, 2, 0));
		break;
	case 3:
		randprog_emit(p, MOV_X(t, 2));
		randprog_emit(p, ALU64_K(BPF_SUB, t, c));
		randprog_exit(p, JMP_X(kind & 64 ? BPF_JGT : BPF_JSGT, x, t, 0));
		break;
	case 4:
		randprog_emit(p, MOV_X(t, 2));
		randprog_emit(p, ALU64_X(BPF_SUB, t, x));
		randprog_exit(p, JMP_K(kind & 64 ? BPF_JLT : BPF_JSLT, t, c, 0));
		break;
	case 5:
		randprog_emit(p, MOV_X(t, 1));
		randprog_emit(p, ALU64_X(BPF_ADD, t, x));
		randprog_emit(p, ALU64_K(BPF_ADD, t, c));
		randprog_emit(p, MOV_X(0, 1));
		randprog_emit(p, ALU64_X(BPF_ADD, 0, 2));
		randprog_exit(p, JMP_X(kind & 64 ? BPF_JGT : BPF_JGE, t, 0, 0));
		randprog_emit(p, MOV_K(0, 0));
		break;
	case 6: /* a clamp without a branch */
		randprog_emit(p, MOV_X(t, x));
		randprog_emit(p, ALU64_K(BPF_ADD, t, c - 1));
		randprog_emit(p, ALU64_X(BPF_SUB, t, 2));
		randprog_emit(p, ALU64_K(BPF_ARSH, t, 63));
		randprog_emit(p, ALU64_X(BPF_AND, x, t));
		break;
	default:
		randprog_exit(p, JMP_K(BPF_JLT, 2, c + 16, 0));
		break;
	}
	randprog_emit(p, MOV_X(y, 1));
	randprog_emit(p, ALU64_X(BPF_ADD, y, x));
	randprog_emit(p, LDX(size, randprog_writable(p), y, (int16_t)(randprog_byte(p) % 24) - 2));
}

/* Offsets that are sums: what was checked is added up in another order, or has an index below
 * a checked number of bytes; sometimes one byte too far. The numbers are small, so that among
 * packets of every short length there is one that ends exactly there. */
static inline void randprog_summed_load(struct randprog *p)
{
	uint8_t kind = randprog_byte(p), size = randprog_size(p), more = randprog_byte(p);
	unsigned x = 3 + more % 3, z = 6 + (more >> 2 & 1), t = 8, y = 9;
	int32_t c = randprog_byte(p) % 8;

	randprog_exit(p, JMP_K(BPF_JLT, 2, 8, 0));
	randprog_emit(p, LDX(BPF_B, x, 1, more % 4));
	randprog_emit(p, ALU64_K(BPF_AND, x, more >> 4));
	if (kind & 1) {
		randprog_emit(p, LDX(BPF_B, z, 1, 5));
		randprog_emit(p, ALU64_K(BPF_AND, z, 7));
	}
	if (kind & 2)
		randprog_emit(p, ALU64_K(BPF_LSH, x, 1));
	randprog_emit(p, MOV_X(t, x));
	randprog_emit(p, kind & 4 ? ALU64_X(BPF_ADD, t, z) : ALU32_X(BPF_ADD, t, z));
	randprog_emit(p, ALU64_K(kind & 8 ? BPF_ADD : BPF_OR, t, c));
	randprog_exit(p, JMP_X(kind & 16 ? BPF_JGT : BPF_JSGE, t, 2, 0));
	if (kind & 32) /* joined with itself */
		randprog_emit(p, JMP_K(BPF_JEQ, 5, more, 0));
	randprog_emit(p, MOV_X(y, 1));
	if (kind & 64) {
		/* z is a number of bytes, x + i one of them */
		int32_t i = randprog_byte(p) % 8;

		randprog_exit(p, JMP_K(kind & 128 ? BPF_JLE : BPF_JSLT, z, i, 0));
		randprog_emit(p, ALU64_K(BPF_ADD, y, i));
	} else {
		randprog_emit(p, ALU64_X(BPF_ADD, y, kind & 128 ? z : x));
	}
	randprog_emit(p, ALU64_X(BPF_ADD, y, x));
	randprog_emit(p, LDX(size, randprog_writable(p), y, (int16_t)(randprog_byte(p) % 8)));
}

/* A loop that counts a register up or down to a limit. */
static inline void randprog_loop(struct randprog *p)
{
	static const uint8_t codes[] = {BPF_JLT, BPF_JNE, BPF_JLE, BPF_JSLT};
	uint8_t kind = randprog_byte(p);
	unsigned counter = 6 + (kind & 3);
	uint32_t start;

	if (counter == 9)
		counter = 5;
	randprog_emit(p, MOV_K(counter, randprog_byte(p) % 4));
	start = p->n;
	for (int i = kind >> 2 & 3; i > 0; i--)
		randprog_alu(p);
	if (kind & 64)
		randprog_memory(p);
	randprog_emit(p, ALU64_K(BPF_ADD, counter, 1 + (kind >> 4 & 1)));
	randprog_emit(p, JMP_K(codes[kind >> 4 & 3], counter, randprog_byte(p) % 24,
			       (int)start - (int)p->n - 1));
}

static inline void randprog_table(struct randprog *p)
{
	uint8_t kind = randprog_byte(p);
	unsigned pointer = 6 + (kind & 3), index = 3 + (kind >> 2 & 1);

	randprog_emit(p, INSN(BPF_OPCODE_LDDW, pointer, BPF_LDDW_MAP_VALUE_BY_INDEX, 0, 0));
	randprog_emit(p, INSN(0, 0, 0, 0, randprog_byte(p) % 64));
	if (kind & 8)
		randprog_emit(p, ALU64_K(BPF_RSH, index, 56 + (kind >> 5)));
	else if (kind & 16)
		randprog_emit(p, ALU64_K(BPF_AND, index, randprog_byte(p)));
	randprog_emit(p, ALU64_X(BPF_ADD, pointer, index));
	randprog_emit(p, LDX(randprog_size(p), randprog_writable(p), pointer, 0));
}

static inline void randprog_stone(struct randprog *p)
{
	uint8_t kind = randprog_byte(p);

	if (kind < 96)
		randprog_alu(p);
	else if (kind < 106)
		randprog_unary(p);
	else if (kind < 140)
		randprog_jump(p);
	else if (kind < 176)
		randprog_memory(p);
	else if (kind < 206)
		randprog_checked_load(p);
	else if (kind < 220)
		randprog_summed_load(p);
	else if (kind < 232)
		randprog_exit(p, randprog_condition(p));
	else if (kind < 240)
		randprog_table(p);
	else if (kind < 250)
		randprog_loop(p);
	else
		randprog_emit(p, CALL_LOCAL(0)); /* patched to the function */
}

/* Jumps that would leave the function or land in a 64-bit load go to the next
 * instruction instead. */
static inline void randprog_patch(struct randprog *p, uint32_t end, uint32_t function)
{
	for (uint32_t i = 0; i < p->n_exits; i++)
		p->insns[p->exits[i]].offset = (int16_t)(end - p->exits[i] - 1);
	for (uint32_t pc = 0; pc < p->n; pc++) {
		struct dpcap_insn *insn = &p->insns[pc];
		uint8_t class = insn_class(insn);
		int64_t target = (int64_t)pc + 1 + insn->offset, low, high;

		if (insn->opcode == BPF_OPCODE_CALL)
			insn->imm = (int32_t)(function - pc - 1);
		if ((class != BPF_JMP && class != BPF_JMP32) || insn_code(insn) == BPF_CALL ||
		    insn_code(insn) == BPF_EXIT)
			continue;
		low = pc < function ? 0 : function;
		high = pc < function ? end : p->n - 1;
		if (target < low || target > high ||
		    (p->insns[target].opcode == 0 && target > 0 &&
		     p->insns[target - 1].opcode == BPF_OPCODE_LDDW))
			insn->offset = 0;
	}
}

/* Registers that programs of this kind get nothing in are set first. */
static inline void randprog_make(struct randprog *p, const uint8_t *bytes, size_t n_bytes,
				 enum dpcap_vm_prog_type type)
{
	uint32_t end, function;
	uint8_t check;

	p->bytes = bytes;
	p->n_bytes = n_bytes;
	p->used = p->n = p->n_exits = 0;
	randprog_emit(p, MOV_K(0, 0));
	if (type == DPCAP_VM_MEMORY) {
		randprog_emit(p, LDX(BPF_DW, 3, 1, 0));
		randprog_emit(p, LDX(BPF_W, 4, 1, 8));
	}
	randprog_emit(p, MOV_K(5, randprog_imm(p)));
	randprog_emit(p, MOV_X(6, 3));
	randprog_emit(p, MOV_X(7, 4));
	randprog_emit(p, MOV_K(8, randprog_imm(p)));
	randprog_emit(p, MOV_X(9, 3));
	check = randprog_byte(p);
	for (int16_t i = 1; i <= (check >> 5 & 3) + 1; i++)
		randprog_emit(p, ST(BPF_DW, 10, (int16_t)(-8 * i), i));
	if (check & 1)
		randprog_exit(p, JMP_K(BPF_JLT, 2, check / 2 % 64, 0));
	while (p->used < p->n_bytes && p->n < RANDPROG_MAX_INSNS - 16)
		randprog_stone(p);
	end = p->n;
	randprog_emit(p, EXIT());
	/* A function that adds up what it is given. */
	function = p->n;
	randprog_emit(p, MOV_X(0, 3));
	randprog_emit(p, ALU64_X(BPF_ADD, 0, 4));
	randprog_emit(p, STX(BPF_DW, 10, -8, 0));
	randprog_emit(p, EXIT());
	randprog_patch(p, end, function);
}

#endif /* DPCAP_TESTS_RANDPROG_H */
