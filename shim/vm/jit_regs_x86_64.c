/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers and stack frame of a function.
 *
 *   r0      r1      r2      r3      r4      r5      r6 to r9         r10
 *   rax     rdi     rsi     rdx     rcx     r8      what is free     rsp or rbp
 *
 * r0 to r5 lie where the System V ABI has result and arguments, so that calls move
 * nothing. In a leaf function r6 to r9 take caller-saved registers first; r10 is rsp
 * itself while the red zone holds the stack: most filters need no prologue at all.
 */
#if defined(__x86_64__)
#include <string.h>

#include "jit_x86_64.h"

#define BIT(n) (1u << (n))

static const uint8_t fixed_map[] = {RAX, RDI, RSI, RDX, RCX, R8};
/* R12 and R13 last: as a base they take a byte more. */
static const uint8_t callee_saved[] = {RBX, RBP, R14, R15, R13, R12};

static bool insn_reads_src(const struct dpcap_insn *insn)
{
	switch (insn_class(insn)) {
	case BPF_LDX:
	case BPF_STX:
		return true;
	case BPF_LD:
	case BPF_ST:
		return false;
	default:
		if (insn_code(insn) == BPF_END && insn_class(insn) == BPF_ALU)
			return false;
		return insn_is_x(insn) && insn->opcode != BPF_OPCODE_CALLX;
	}
}

static bool insn_writes_dst(const struct dpcap_insn *insn)
{
	uint8_t class = insn_class(insn);

	return class == BPF_LD || class == BPF_LDX || class == BPF_ALU || class == BPF_ALU64;
}

/* Needs TEMP2 and TEMP3. */
static bool insn_needs_temps(const struct dpcap_insn *insn)
{
	uint8_t class = insn_class(insn);

	if (class == BPF_ALU || class == BPF_ALU64)
		return insn_code(insn) == BPF_DIV || insn_code(insn) == BPF_MOD;
	return class == BPF_STX && insn_mode(insn) == BPF_ATOMIC && (insn->imm & BPF_FETCH);
}

/* Bytes below r10 that the instruction makes necessary. */
static uint32_t insn_stack(const struct dpcap_insn *insn)
{
	uint8_t class = insn_class(insn);
	bool base_is_fp;

	base_is_fp = class == BPF_LDX ? insn_src(insn) == BPF_REG_FP :
		     class == BPF_ST || class == BPF_STX ? insn_dst(insn) == BPF_REG_FP :
							   false;
	/* A copy of r10 may reach everything. */
	if (insn_reads_src(insn) && insn_src(insn) == BPF_REG_FP && class != BPF_LDX)
		return DPCAP_VM_STACK_SIZE;
	return base_is_fp && insn->offset < 0 ? (uint32_t)-insn->offset : 0;
}

static void analyse_insn(struct jit_function *function, const struct dpcap_insn *insn)
{
	uint32_t stack;

	if (insn->opcode == BPF_OPCODE_CALL || insn->opcode == BPF_OPCODE_CALLX)
		function->calls = true;
	if (insn->opcode != BPF_OPCODE_CALL)
		function->used |= BIT(insn_dst(insn));
	if (insn_reads_src(insn))
		function->used |= BIT(insn_src(insn));
	if (insn_writes_dst(insn))
		function->written |= BIT(insn_dst(insn));
	if (insn_class(insn) == BPF_STX && insn_mode(insn) == BPF_ATOMIC && (insn->imm & BPF_FETCH))
		function->written |= BIT(insn->imm == BPF_ATOMIC_CMPXCHG ? 0 : insn_src(insn));
	function->needs_temps |= insn_needs_temps(insn);
	stack = insn_stack(insn);
	if (stack > function->stack)
		function->stack = stack;
}

struct jit_function jit_analyse(const struct dpcap_vm_prog *prog, uint32_t start)
{
	struct jit_function function = {.start = start, .used = BIT(0)};
	uint32_t pc = start;

	do {
		const struct dpcap_insn *insn = &prog->insns[pc];

		analyse_insn(&function, insn);
		pc += insn->opcode == BPF_OPCODE_LDDW ? 2 : 1;
	} while (pc < prog->n_insns && !prog->aux[pc].function_start);
	function.end = pc;
	if (function.calls)
		function.used |= 0x3f; /* r0 to r5 */
	return function;
}

/* Machine registers that hold nothing, the cheap ones first. */
static void list_free(struct jit *jit)
{
	const struct jit_function *function = &jit->function;
	uint32_t i;

	jit->n_free = 0;
	if (!function->calls) {
		if (!function->needs_temps) {
			jit->free[jit->n_free++] = TEMP3;
			jit->free[jit->n_free++] = TEMP2;
		}
		for (i = 5; i >= 1; i--)
			if (!(function->used & BIT(i)))
				jit->free[jit->n_free++] = fixed_map[i];
	}
	for (i = 0; i < sizeof(callee_saved); i++)
		if (callee_saved[i] != RBP || !jit->frame)
			jit->free[jit->n_free++] = callee_saved[i];
}

static bool is_callee_saved(uint8_t reg)
{
	return memchr(callee_saved, reg, sizeof(callee_saved)) != NULL;
}

uint8_t jit_take_register(struct jit *jit)
{
	uint8_t reg = jit->free[0];

	if (jit->n_free == 0)
		return NO_REG;
	jit->n_free--;
	memmove(jit->free, jit->free + 1, jit->n_free);
	if (is_callee_saved(reg))
		jit->saved[jit->n_saved++] = reg;
	return reg;
}

void jit_map_registers(struct jit *jit, const struct jit_function *function)
{
	uint32_t i;

	jit->function = *function;
	jit->n_saved = 0;
	jit->frame = function->stack > 0 && (function->calls || function->stack > RED_ZONE);
	list_free(jit);
	memcpy(jit->reg, fixed_map, sizeof(fixed_map));
	for (i = 6; i <= 9; i++)
		jit->reg[i] = function->used & BIT(i) ? jit_take_register(jit) : NO_REG;
	jit->reg[BPF_REG_FP] = jit->frame ? RBP : RSP;
}

/*
 *   caller's frame
 *   return address        rsp is a multiple of 16 above it
 *   saved registers
 *   saved rbp             only with a frame; rbp points here: r10
 *   stack of the program  rsp points to its low end
 */
void jit_emit_prologue(struct jit *jit)
{
	struct x64_asm *as = &jit->as;
	uint32_t i, pushed;

	for (i = 0; i < jit->n_saved; i++)
		x64_push(as, jit->saved[i]);
	pushed = 8 + 8 * jit->n_saved;
	jit->rsp_down = 0;
	if (jit->frame) {
		x64_push(as, RBP);
		x64_mov(as, W64, RBP, RSP);
		pushed += 8;
		jit->rsp_down = (jit->function.stack + 7) & ~7u;
	}
	/* Who calls must leave rsp at a multiple of 16. */
	if (jit->function.calls)
		jit->rsp_down += -(pushed + jit->rsp_down) & 15;
	if (jit->rsp_down > 0)
		x64_alu_imm(as, W64, X_SUB, RSP, (int32_t)jit->rsp_down);
}

void jit_emit_epilogue(struct jit *jit)
{
	struct x64_asm *as = &jit->as;
	uint32_t i;

	if (jit->frame)
		x64_leave(as);
	else if (jit->rsp_down > 0)
		x64_alu_imm(as, W64, X_ADD, RSP, (int32_t)jit->rsp_down);
	for (i = jit->n_saved; i > 0; i--)
		x64_pop(as, jit->saved[i - 1]);
	x64_ret(as);
}
#endif
