/* SPDX-License-Identifier: BSD-3-Clause */
/* What a register is said to be before and after one instruction. */
#include "vmtest.h"
#include "verifier.h"

/* From r0, made of wirelen by the instructions before the last but one, to r0 after
 * that one. As the log prints it. */
struct interval_case {
	const char *name;
	struct dpcap_insn insns[12];
	const char *before, *after;
};

#define R0_FROM(...) {MOV_X(0, 3), __VA_ARGS__, EXIT()}
#define BYTE ALU64_K(BPF_AND, 0, 0xff)
#define SIGNED_BYTE INSN(BPF_ALU64 | BPF_MOV | BPF_X, 0, 0, 8, 0)

static const struct interval_case cases[] = {
	{"mov", R0_FROM(MOV_K(0, -1)), "scalar()", "-1"},
	{"mov32", R0_FROM(ALU32_K(BPF_MOV, 0, -1)), "scalar()", "4294967295"},
	{"mov32 register", R0_FROM(ALU32_X(BPF_MOV, 0, 0)), "scalar()",
	 "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"movsx8", R0_FROM(SIGNED_BYTE), "scalar()", "scalar(smin=-128,smax=127)"},
	{"movsx8 of a byte", R0_FROM(BYTE, SIGNED_BYTE), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(smin=-128,smax=127)"},
	{"movsx8 32", R0_FROM(INSN(BPF_ALU | BPF_MOV | BPF_X, 0, 0, 8, 0)), "scalar()",
	 "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"movsx16", R0_FROM(INSN(BPF_ALU64 | BPF_MOV | BPF_X, 0, 0, 16, 0)), "scalar()",
	 "scalar(smin=-32768,smax=32767)"},
	{"movsx32", R0_FROM(INSN(BPF_ALU64 | BPF_MOV | BPF_X, 0, 0, 32, 0)), "scalar()",
	 "scalar(smin=-2147483648,smax=2147483647)"},
	{"and", R0_FROM(ALU64_K(BPF_AND, 0, 0xf0)), "scalar()", "scalar(umax=240,var_off=(0; 0xf0))"},
	{"and of a mask of ones or zeros", R0_FROM(ALU64_K(BPF_ARSH, 0, 63), ALU64_K(BPF_AND, 0, -20)),
	 "scalar(smin=-1,smax=0)",
	 "scalar(umax=18446744073709551596,smin=-20,smax=0,umax32=4294967276,"
	 "var_off=(0; 0xffffffffffffffec))"},
	{"or", R0_FROM(BYTE, ALU64_K(BPF_OR, 0, 0x100)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umin=256,umax=511,var_off=(0x100; 0xff))"},
	{"or of negative numbers", R0_FROM(SIGNED_BYTE, ALU64_K(BPF_OR, 0, -4)),
	 "scalar(smin=-128,smax=127)",
	 "scalar(umin=18446744073709551612,smin=-4,smax=-1,umin32=4294967292,"
	 "var_off=(0xfffffffffffffffc; 0x3))"},
	{"xor", R0_FROM(BYTE, ALU64_K(BPF_XOR, 0, 0xf)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=255,var_off=(0; 0xff))"},
	{"xor32", R0_FROM(ALU32_K(BPF_XOR, 0, 1)), "scalar()",
	 "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"add", R0_FROM(BYTE, ALU64_K(BPF_ADD, 0, 5)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umin=5,umax=260,var_off=(0; 0x1ff))"},
	{"add32 that may wrap", R0_FROM(ALU32_K(BPF_ADD, 0, 5)), "scalar()",
	 "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"sub below 0", R0_FROM(BYTE, ALU64_K(BPF_SUB, 0, 5)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(smin=-5,smax=250)"},
	{"sub32 below 0", R0_FROM(BYTE, ALU32_K(BPF_SUB, 0, 5)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"mul", R0_FROM(BYTE, ALU64_K(BPF_MUL, 0, 12)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=3060,var_off=(0; 0xffc))"},
	{"mul of a negative number", R0_FROM(SIGNED_BYTE, ALU64_K(BPF_MUL, 0, -3)),
	 "scalar(smin=-128,smax=127)", "scalar(smin=-381,smax=384)"},
	{"div", R0_FROM(BYTE, ALU64_K(BPF_DIV, 0, 10)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=25,var_off=(0; 0x1f))"},
	{"div by 0", R0_FROM(BYTE, ALU64_K(BPF_DIV, 0, 0)), "scalar(umax=255,var_off=(0; 0xff))", "0"},
	{"div32", R0_FROM(ALU32_K(BPF_DIV, 0, 16)), "scalar()",
	 "scalar(umax=268435455,var_off=(0; 0xfffffff))"},
	{"sdiv", R0_FROM(SIGNED_BYTE, INSN(BPF_ALU64 | BPF_DIV | BPF_K, 0, 0, 1, -2)),
	 "scalar(smin=-128,smax=127)", "scalar(smin=-63,smax=64)"},
	{"sdiv by -1", R0_FROM(INSN(BPF_ALU64 | BPF_DIV | BPF_K, 0, 0, 1, -1)), "scalar()", "scalar()"},
	{"mod", R0_FROM(ALU64_K(BPF_MOD, 0, 10)), "scalar()", "scalar(umax=9,var_off=(0; 0xf))"},
	{"mod by a power of two", R0_FROM(ALU64_K(BPF_MOD, 0, 16)), "scalar()",
	 "scalar(umax=15,var_off=(0; 0xf))"},
	{"mod by 0", R0_FROM(BYTE, ALU64_K(BPF_MOD, 0, 0)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=255,var_off=(0; 0xff))"},
	{"smod", R0_FROM(INSN(BPF_ALU64 | BPF_MOD | BPF_K, 0, 0, 1, 10)), "scalar()",
	 "scalar(smin=-9,smax=9)"},
	{"lsh", R0_FROM(BYTE, ALU64_K(BPF_LSH, 0, 4)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=4080,var_off=(0; 0xff0))"},
	{"lsh by 64", R0_FROM(BYTE, ALU64_K(BPF_LSH, 0, 64)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=255,var_off=(0; 0xff))"},
	{"rsh", R0_FROM(ALU64_K(BPF_RSH, 0, 60)), "scalar()", "scalar(umax=15,var_off=(0; 0xf))"},
	{"rsh32", R0_FROM(ALU32_K(BPF_RSH, 0, 28)), "scalar()", "scalar(umax=15,var_off=(0; 0xf))"},
	{"arsh", R0_FROM(ALU64_K(BPF_ARSH, 0, 60)), "scalar()", "scalar(smin=-8,smax=7)"},
	{"arsh32", R0_FROM(ALU32_K(BPF_ARSH, 0, 31)), "scalar()",
	 "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"neg", R0_FROM(BYTE, INSN(BPF_ALU64 | BPF_NEG, 0, 0, 0, 0)),
	 "scalar(umax=255,var_off=(0; 0xff))", "scalar(smin=-255,smax=0)"},
	{"be16", R0_FROM(BE(0, 16)), "scalar()", "scalar(umax=65535,var_off=(0; 0xffff))"},
	{"be16 of a byte", R0_FROM(BYTE, BE(0, 16)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=65280,var_off=(0; 0xff00))"},
	{"le32", R0_FROM(LE(0, 32)), "scalar()", "scalar(umax=4294967295,var_off=(0; 0xffffffff))"},
	{"bswap64 of a byte", R0_FROM(BYTE, BSWAP(0, 64)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=18374686479671623680,smax=9151314442816847872,umax32=0,"
	 "var_off=(0; 0xff00000000000000))"},
	{"the length", R0_FROM(MOV_X(0, 2)), "scalar()", "len"},
	{"the length less 14", R0_FROM(MOV_X(0, 2), ALU64_K(BPF_SUB, 0, 14)), "len", "len-14"},
	{"the distance of pointers", R0_FROM(MOV_X(0, 1), ALU64_X(BPF_ADD, 0, 2), ALU64_X(BPF_SUB, 0, 1)),
	 "pkt(off=len,umax=2147483647,var_off=(0; 0x7fffffff))", "len"},

	/* A jump to the next instruction: both ways meet again. The other way leaves. */
	{"if r0 > 9 exit", R0_FROM(JMP_K(BPF_JGT, 0, 9, 0)), "scalar()", "scalar()"},
};

/* The way on which a jump is not taken; the other goes to the exit behind it. */
static const struct interval_case jump_cases[] = {
	{"!=", R0_FROM(JMP_K(BPF_JNE, 0, 9, 1)), "scalar()", "9"},
	{"==", R0_FROM(BYTE, JMP_K(BPF_JEQ, 0, 255, 1)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umax=254,var_off=(0; 0xff))"},
	{">", R0_FROM(JMP_K(BPF_JGT, 0, 9, 1)), "scalar()", "scalar(umax=9,var_off=(0; 0xf))"},
	{">=", R0_FROM(JMP_K(BPF_JGE, 0, 9, 1)), "scalar()", "scalar(umax=8,var_off=(0; 0xf))"},
	{"<", R0_FROM(BYTE, JMP_K(BPF_JLT, 0, 9, 1)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umin=9,umax=255,var_off=(0; 0xff))"},
	{"<=", R0_FROM(BYTE, JMP_K(BPF_JLE, 0, 9, 1)), "scalar(umax=255,var_off=(0; 0xff))",
	 "scalar(umin=10,umax=255,var_off=(0; 0xff))"},
	{"s>", R0_FROM(SIGNED_BYTE, JMP_K(BPF_JSGT, 0, -9, 1)), "scalar(smin=-128,smax=127)",
	 "scalar(umin=18446744073709551488,umax=18446744073709551607,smin=-128,smax=-9,"
	 "umin32=4294967168,umax32=4294967287,var_off=(0xffffffffffffff80; 0x7f))"},
	{"s<", R0_FROM(SIGNED_BYTE, JMP_K(BPF_JSLT, 0, 0, 1)), "scalar(smin=-128,smax=127)",
	 "scalar(umax=127,var_off=(0; 0x7f))"},
	{"&", R0_FROM(JMP_K(BPF_JSET, 0, -256, 1)), "scalar()", "scalar(umax=255,var_off=(0; 0xff))"},
	{"w >", R0_FROM(JMP32_K(BPF_JGT, 0, 9, 1)), "scalar()",
	 "scalar(umax=18446744069414584329,smax=9223372032559808521,umax32=9,"
	 "var_off=(0; 0xffffffff0000000f))"},
	{"w !=", R0_FROM(JMP32_K(BPF_JNE, 0, 9, 1)), "scalar()",
	 "scalar(umin=9,umax=18446744069414584329,smin=-9223372036854775799,smax=9223372032559808521,"
	 "umin32=9,umax32=9,var_off=(0x9; 0xffffffff00000000))"},
};

struct seen {
	uint32_t last; /* the instruction whose effect is looked at */
	char before[256], after[256];
};

/* Symbols are numbered as the verifier likes. */
static void without_symbol(char *text)
{
	char *id = strstr(text, "id"), *end = id;

	if (!id)
		return;
	/* id7, -id7 or id7+5 */
	end += strspn(end, "id0123456789");
	if (*end == '+' || *end == '-')
		end += 1 + strspn(end + 1, "0123456789");
	if (*end == ',')
		end++;
	if (id > text && id[-1] == '-')
		id--;
	memmove(id, end, strlen(end) + 1);
}

static void observe(void *arg, uint32_t pc, const struct state *state)
{
	struct seen *seen = arg;
	char *text = pc == seen->last ? seen->before : seen->after;

	if (!state || (pc != seen->last && pc != seen->last + 1))
		return;
	reg_format(&state->frames[0]->regs[0], text, sizeof(seen->before));
	without_symbol(text);
}

static void run_case(const struct interval_case *test, bool jump)
{
	struct dpcap_insn insns[N_ELEMENTS(test->insns) + 1] = {{0}};
	struct dpcap_vm_load_attr attr = {.insns = insns, .type = DPCAP_VM_PACKET};
	struct dpcap_vm_log log = {0};
	struct dpcap_vm_prog *prog;
	struct seen seen = {0};
	uint32_t n = 0;

	while (test->insns[n].opcode != BPF_OPCODE_EXIT) {
		insns[n] = test->insns[n];
		n++;
	}
	seen.last = n - 1;
	/* Pointers cannot be returned. */
	insns[n++] = (struct dpcap_insn)ALU64_X(BPF_MOV, 5, 0);
	if (jump)
		insns[n++] = (struct dpcap_insn)EXIT();
	insns[n++] = (struct dpcap_insn)MOV_K(0, 0);
	insns[n++] = (struct dpcap_insn)EXIT();
	if (jump)
		insns[seen.last].offset = 2;
	attr.insns = insns;
	attr.n_insns = n;
	prog = must_load(test->name, &attr);
	if (verify_observed(prog, &log, observe, &seen) != 0)
		exit(1);
	dpcap_vm_free(prog);
	if (strcmp(seen.before, test->before) != 0) {
		fprintf(stderr, "%s: before: %s, wanted %s\n", test->name, seen.before, test->before);
		vmtest_failures++;
	}
	if (strcmp(seen.after, test->after) != 0) {
		fprintf(stderr, "%s: after: %s, wanted %s\n", test->name, seen.after, test->after);
		vmtest_failures++;
	}
}

int main(void)
{
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		run_case(&cases[i], false);
	for (size_t i = 0; i < N_ELEMENTS(jump_cases); i++)
		run_case(&jump_cases[i], true);
	return vmtest_failures != 0;
}
