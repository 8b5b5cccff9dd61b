/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every operation on edge values, in many pairs of registers (division and shifts have
 * their own on x86): interpreter, JIT and an independent model agree.
 */
#include "engines.h"

static const uint64_t edges[] = {
	0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff, 0x1234, 0x7fff, 0x8000, 0xffff,
	0x10000, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff, 0x100000000,
	0x123456789abcdef0, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffff80000000,
	0xffffffff7fffffff, 0xfffffffffffffffe, 0xffffffffffffffff,
};

static const int32_t edge_imms[] = {
	0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 0x1234, 0x7fff, 0x8000, 0xffff,
	0x10000, INT32_MAX, INT32_MIN, INT32_MIN + 1, -128, -129, -2, -1,
};

/* r0 to r9 become rax, rdi, rsi, rdx, rcx, r8 and others. */
static const uint8_t pairs[][2] = {
	{0, 1}, {1, 0}, {0, 0}, {2, 3}, {3, 2}, {3, 3}, {4, 5}, {5, 4}, {4, 4}, {0, 3}, {3, 0},
	{0, 4}, {4, 0}, {3, 4}, {4, 3}, {6, 7}, {7, 6}, {8, 9}, {9, 8}, {9, 9}, {1, 4}, {4, 1},
};

/* The X bit of TO_BE tells another thing. */
static bool reads_src(const struct dpcap_insn *insn)
{
	return insn_is_x(insn) && !(insn_class(insn) == BPF_ALU && insn_code(insn) == BPF_END);
}

static int64_t model_signed(uint8_t code, bool is64, int64_t a, int64_t b)
{
	if (b == 0)
		return code == BPF_DIV ? 0 : a;
	/* In 128 bits nothing overflows. */
	if (!is64) {
		a = (int32_t)a;
		b = (int32_t)b;
	}
	return (int64_t)(code == BPF_DIV ? (__int128)a / b : (__int128)a % b);
}

/* RFC 9669 section 4.1, told once more. */
static uint64_t model_alu(const struct dpcap_insn *insn, uint64_t a, uint64_t b)
{
	bool is64 = insn_class(insn) == BPF_ALU64;
	uint8_t code = insn_code(insn);
	unsigned bits = is64 ? 64 : 32;
	unsigned __int128 wide;
	uint64_t result;

	if (!is64) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (code) {
	case BPF_ADD:
		result = a + b;
		break;
	case BPF_SUB:
		result = a - b;
		break;
	case BPF_MUL:
		wide = (unsigned __int128)a * b;
		result = (uint64_t)wide;
		break;
	case BPF_DIV:
	case BPF_MOD:
		if (insn->offset == 1)
			result = (uint64_t)model_signed(code, is64, is64 ? (int64_t)a : (int32_t)a,
							is64 ? (int64_t)b : (int32_t)b);
		else if (b == 0)
			result = code == BPF_DIV ? 0 : a;
		else
			result = code == BPF_DIV ? a / b : a % b;
		break;
	case BPF_OR:
		result = a | b;
		break;
	case BPF_AND:
		result = a & b;
		break;
	case BPF_XOR:
		result = a ^ b;
		break;
	case BPF_LSH:
		result = a << (b % bits);
		break;
	case BPF_RSH:
		result = a >> (b % bits);
		break;
	case BPF_ARSH:
		result = is64 ? (uint64_t)((int64_t)a >> (b % bits)) :
				(uint64_t)(uint32_t)((int32_t)a >> (b % bits));
		break;
	case BPF_NEG:
		result = 0 - a;
		break;
	default: /* MOV, MOVSX */
		result = b;
		if (insn->offset == 8)
			result = (uint64_t)(int64_t)(int8_t)b;
		else if (insn->offset == 16)
			result = (uint64_t)(int64_t)(int16_t)b;
		else if (insn->offset == 32)
			result = (uint64_t)(int64_t)(int32_t)b;
		break;
	}
	return is64 ? result : (uint32_t)result;
}

static uint64_t model_end(const struct dpcap_insn *insn, uint64_t a)
{
	bool swap = insn_class(insn) == BPF_ALU64 || insn_is_x(insn);
	uint64_t result = 0;
	int i, bytes = insn->imm / 8;

	for (i = 0; i < bytes; i++)
		result |= (a >> 8 * i & 0xff) << 8 * (swap ? bytes - 1 - i : i);
	return result;
}

static bool model_jump(const struct dpcap_insn *insn, uint64_t a, uint64_t b)
{
	bool is64 = insn_class(insn) == BPF_JMP;
	int64_t sa = is64 ? (int64_t)a : (int32_t)a, sb = is64 ? (int64_t)b : (int32_t)b;

	if (!is64) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (insn_code(insn)) {
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
	case BPF_JSET:
		return (a & b) != 0;
	case BPF_JSGT:
		return sa > sb;
	case BPF_JSGE:
		return sa >= sb;
	case BPF_JSLT:
		return sa < sb;
	default:
		return sa <= sb;
	}
}

static uint64_t model(const struct dpcap_insn *insn, uint64_t a, uint64_t b)
{
	uint8_t class = insn_class(insn);

	if (class == BPF_JMP || class == BPF_JMP32)
		return model_jump(insn, a, b);
	return insn_code(insn) == BPF_END ? model_end(insn, a) : model_alu(insn, a, b);
}

/*
 * r3 and r4 go through the stack into the two registers, so that one program serves
 * all values. Every other register is given a value, and they are summed up: an
 * operation must not touch them.
 */
static uint32_t write_program(struct dpcap_insn *out, struct dpcap_insn insn)
{
	uint8_t dst = insn_dst(&insn), src = insn_src(&insn), class = insn_class(&insn), reg;
	bool jumps = class == BPF_JMP || class == BPF_JMP32;
	bool has_src = reads_src(&insn);
	uint32_t n = 0;

	out[n++] = STX(BPF_DW, 10, -8, 3);
	out[n++] = STX(BPF_DW, 10, -16, 4);
	for (reg = 0; reg <= 9; reg++)
		out[n++] = MOV_K(reg, reg + 100);
	out[n++] = LDX(BPF_DW, dst, 10, -8);
	if (has_src)
		out[n++] = LDX(BPF_DW, src, 10, -16);
	if (jumps)
		insn.offset = 2;
	out[n++] = insn;
	if (jumps) {
		out[n++] = MOV_K(dst, 0);
		out[n++] = JA(1);
		out[n++] = MOV_K(dst, 1);
	}
	for (reg = 0; reg <= 9; reg++)
		if (reg != dst)
			out[n++] = ALU64_X(BPF_ADD, dst, reg);
	out[n++] = MOV_X(0, dst);
	out[n++] = EXIT();
	return n;
}

static void check_values(const struct engines *engines, const struct dpcap_insn *insn, uint64_t a,
			 uint64_t b)
{
	uint8_t dst = insn_dst(insn), src = insn_src(insn), reg;
	bool has_src = reads_src(insn);
	uint64_t wanted;
	char what[128];
	size_t i;

	if (has_src && src == dst)
		a = b; /* loaded last */
	wanted = model(insn, a, has_src ? b : (uint64_t)(int64_t)insn->imm);
	for (reg = 0; reg <= 9; reg++)
		if (reg != dst)
			wanted += has_src && reg == src ? b : reg + 100u;
	snprintf(what, sizeof(what), "opcode %02x offset %d imm %d r%u r%u of %" PRIx64 " %" PRIx64,
		 insn->opcode, insn->offset, insn->imm, dst, src, a, b);
	check_equal(what, dpcap_vm_interp(engines->progs[0], NULL, 0, a, b), wanted);
	for (i = 0; i < N_CPU_VARIANTS; i++)
		if (engines->entries[i])
			check_equal(what, engines->entries[i](NULL, 0, a, b), wanted);
}

static void check_insn(struct dpcap_insn insn)
{
	bool has_src = reads_src(&insn);
	struct dpcap_insn program[48];
	struct dpcap_vm_load_attr attr = {.insns = program, .type = DPCAP_VM_PACKET};
	struct engines engines;
	char log[1024];
	size_t i, j;

	attr.n_insns = write_program(program, insn);
	if (engines_load(&engines, &attr, log, sizeof(log)) != 0) {
		fprintf(stderr, "opcode %02x: %s", insn.opcode, log);
		vmtest_failures++;
		return;
	}
	for (i = 0; i < N_ELEMENTS(edges); i++)
		for (j = 0; j < (has_src ? N_ELEMENTS(edges) : 1); j++)
			check_values(&engines, &insn, edges[i], edges[j]);
	engines_free(&engines);
}

static void check_both_operands(uint8_t class_and_code, int16_t offset)
{
	size_t i, j;

	for (i = 0; i < N_ELEMENTS(pairs); i++)
		check_insn(INSN(class_and_code | BPF_X, pairs[i][0], pairs[i][1], offset, 0));
	/* Each destination of the pairs once is enough; all are in the first column. */
	for (i = 0; i < N_ELEMENTS(pairs); i += 3)
		for (j = 0; j < N_ELEMENTS(edge_imms); j++)
			check_insn(INSN(class_and_code, pairs[i][0], 0, offset, edge_imms[j]));
}

static void check_alu(uint8_t class)
{
	static const uint8_t codes[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,  BPF_AND,
					BPF_LSH, BPF_RSH, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH};
	static const uint8_t movsx_bits[] = {8, 16, 32};
	size_t i, j;

	for (i = 0; i < N_ELEMENTS(codes); i++)
		check_both_operands(class | codes[i], 0);
	check_both_operands(class | BPF_DIV, 1);
	check_both_operands(class | BPF_MOD, 1);
	for (i = 0; i < N_ELEMENTS(pairs); i++) {
		check_insn(INSN(class | BPF_NEG, pairs[i][0], 0, 0, 0));
		for (j = 0; j < (class == BPF_ALU64 ? 3 : 2); j++)
			check_insn(INSN(class | BPF_X | BPF_MOV, pairs[i][0], pairs[i][1],
					movsx_bits[j], 0));
	}
}

static void check_end(void)
{
	static const int bits[] = {16, 32, 64};
	size_t i, j;

	for (i = 0; i < N_ELEMENTS(pairs); i++)
		for (j = 0; j < N_ELEMENTS(bits); j++) {
			check_insn(LE(pairs[i][0], bits[j]));
			check_insn(BE(pairs[i][0], bits[j]));
			check_insn(BSWAP(pairs[i][0], bits[j]));
		}
}

static void check_jumps(uint8_t class)
{
	static const uint8_t codes[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,	BPF_JLT, BPF_JLE,
					BPF_JSET, BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE};
	size_t i;

	for (i = 0; i < N_ELEMENTS(codes); i++)
		check_both_operands(class | codes[i], 0);
}

int main(void)
{
	check_alu(BPF_ALU64);
	check_alu(BPF_ALU);
	check_end();
	check_jumps(BPF_JMP);
	check_jumps(BPF_JMP32);
	return vmtest_failures != 0;
}
