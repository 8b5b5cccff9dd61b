/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second, slow interpreter, written from RFC 9669 alone. It checks at run time
 * what the verifier claims to have proved: every access against the memory that the
 * program was given, and the number of instructions.
 */
#ifndef DPCAP_TESTS_REFVM_H
#define DPCAP_TESTS_REFVM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "isa.h"
#include "prog.h"

struct refvm_region {
	uint8_t *base;
	uint64_t size;
	bool writable;
};

struct refvm {
	const struct dpcap_vm_prog *prog;
	struct refvm_region memory, rodata;
	uint64_t max_steps;

	/* While it runs. */
	uint64_t regs[BPF_N_REGS];
	uint32_t pc, depth;
	uint64_t steps;
	struct {
		uint64_t saved[4];
		uint32_t ret;
	} calls[DPCAP_VM_MAX_FRAMES];
	uint8_t stack[DPCAP_VM_MAX_FRAMES * DPCAP_VM_STACK_SIZE] __attribute__((aligned(16)));

	/* Called before each instruction; may be NULL. */
	void (*observer)(struct refvm *vm, void *arg);
	void *observer_arg;
	const char *error; /* what went wrong */
};

/* r10 of a frame. */
static inline uint64_t refvm_frame(const struct refvm *vm, uint32_t depth)
{
	return (uintptr_t)vm->stack + sizeof(vm->stack) - (uint64_t)depth * DPCAP_VM_STACK_SIZE;
}

static inline bool refvm_in(struct refvm_region region, uint64_t address, uint64_t size)
{
	uint64_t offset = address - (uintptr_t)region.base;

	return size <= region.size && offset <= region.size - size;
}

/* Memory that the program may touch at that address, or NULL. */
static inline uint8_t *refvm_memory(struct refvm *vm, uint64_t address, uint64_t size, bool write)
{
	const struct refvm_region stack = {vm->stack, sizeof(vm->stack), true};

	if (refvm_in(vm->memory, address, size) && (!write || vm->memory.writable))
		return vm->memory.base + (address - (uintptr_t)vm->memory.base);
	if (refvm_in(vm->rodata, address, size) && !write)
		return vm->rodata.base + (address - (uintptr_t)vm->rodata.base);
	/* The frames of the functions that are running. */
	if (refvm_in(stack, address, size) &&
	    address >= refvm_frame(vm, vm->depth) - DPCAP_VM_STACK_SIZE)
		return vm->stack + (address - (uintptr_t)vm->stack);
	vm->error = write ? "store outside its memory" : "load outside its memory";
	return NULL;
}

static inline uint64_t refvm_alu(const struct dpcap_insn *insn, uint64_t a, uint64_t b, unsigned n)
{
	uint64_t mask = n == 64 ? UINT64_MAX : UINT32_MAX;
	int64_t sa = n == 64 ? (int64_t)a : (int32_t)a, sb = n == 64 ? (int64_t)b : (int32_t)b;

	a &= mask;
	b &= mask;
	switch (insn_code(insn)) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		if (insn->offset)
			return sb == 0 ? 0 : sb == -1 ? 0 - a : (uint64_t)(sa / sb);
		return b ? a / b : 0;
	case BPF_MOD:
		if (insn->offset)
			return sb == 0 ? a : sb == -1 ? 0 : (uint64_t)(sa % sb);
		return b ? a % b : a;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return a << (b & (n - 1));
	case BPF_RSH:
		return a >> (b & (n - 1));
	case BPF_ARSH:
		return (uint64_t)(sa >> (b & (n - 1)));
	case BPF_NEG:
		return 0 - a;
	default: /* BPF_MOV */
		if (insn->offset == 8)
			return (uint64_t)(int8_t)b;
		if (insn->offset == 16)
			return (uint64_t)(int16_t)b;
		return insn->offset == 32 ? (uint64_t)(int32_t)b : b;
	}
}

static inline uint64_t refvm_end(const struct dpcap_insn *insn, uint64_t a)
{
	bool swap = insn_class(insn) == BPF_ALU64 || insn_is_x(insn);

	switch (insn->imm) {
	case 16:
		return swap ? __builtin_bswap16((uint16_t)a) : (uint16_t)a;
	case 32:
		return swap ? __builtin_bswap32((uint32_t)a) : (uint32_t)a;
	default:
		return swap ? __builtin_bswap64(a) : a;
	}
}

static inline bool refvm_holds(const struct dpcap_insn *insn, uint64_t a, uint64_t b)
{
	bool half = insn_class(insn) == BPF_JMP32;
	int64_t sa = half ? (int32_t)a : (int64_t)a, sb = half ? (int32_t)b : (int64_t)b;

	if (half) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (insn_code(insn)) {
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JSET:
		return a & b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
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

static inline bool refvm_atomic(struct refvm *vm, const struct dpcap_insn *insn)
{
	uint64_t address = vm->regs[insn_dst(insn)] + (uint64_t)(int64_t)insn->offset;
	uint64_t *src = &vm->regs[insn_src(insn)], old = 0, value;
	unsigned size = insn_mem_size(insn);
	uint8_t *memory = refvm_memory(vm, address, size, true);

	if (!memory)
		return false;
	if (address % size) {
		vm->error = "atomic operation that is not aligned";
		return false;
	}
	memcpy(&old, memory, size);
	switch (insn->imm & ~BPF_FETCH) {
	case BPF_ADD:
		value = old + *src;
		break;
	case BPF_OR:
		value = old | *src;
		break;
	case BPF_AND:
		value = old & *src;
		break;
	case BPF_XOR:
		value = old ^ *src;
		break;
	default:
		value = *src;
		break;
	}
	if (insn->imm == BPF_ATOMIC_CMPXCHG) {
		if (old != (size == 8 ? vm->regs[0] : (uint32_t)vm->regs[0]))
			value = old;
		vm->regs[0] = old;
	} else if (insn->imm & BPF_FETCH) {
		*src = old;
	}
	memcpy(memory, &value, size);
	return true;
}

static inline bool refvm_load_store(struct refvm *vm, const struct dpcap_insn *insn)
{
	unsigned size = insn_mem_size(insn);
	bool load = insn_class(insn) == BPF_LDX;
	uint64_t base = vm->regs[load ? insn_src(insn) : insn_dst(insn)], value = 0;
	uint8_t *memory;

	if (insn_class(insn) == BPF_STX && insn_mode(insn) == BPF_ATOMIC)
		return refvm_atomic(vm, insn);
	memory = refvm_memory(vm, base + (uint64_t)(int64_t)insn->offset, size, !load);
	if (!memory)
		return false;
	if (!load) {
		value = insn_class(insn) == BPF_ST ? (uint64_t)(int64_t)insn->imm
						   : vm->regs[insn_src(insn)];
		memcpy(memory, &value, size);
		return true;
	}
	memcpy(&value, memory, size);
	if (insn_mode(insn) == BPF_MEMSX)
		value = (uint64_t)((int64_t)(value << (64 - 8 * size)) >> (64 - 8 * size));
	vm->regs[insn_dst(insn)] = value;
	return true;
}

static inline void refvm_call(struct refvm *vm, const struct dpcap_insn *insn)
{
	memcpy(vm->calls[vm->depth].saved, &vm->regs[6], sizeof(vm->calls[0].saved));
	vm->calls[vm->depth].ret = vm->pc + 1;
	vm->depth++;
	vm->regs[BPF_REG_FP] = refvm_frame(vm, vm->depth);
	vm->pc = vm->pc + 1 + (uint32_t)insn->imm;
}

/* One instruction; false: the program has ended, or error is set. */
static inline bool refvm_step(struct refvm *vm)
{
	const struct dpcap_insn *insn = &vm->prog->insns[vm->pc];
	uint64_t *dst = &vm->regs[insn_dst(insn)];
	uint64_t operand = insn_is_x(insn) ? vm->regs[insn_src(insn)] : (uint64_t)(int64_t)insn->imm;

	switch (insn_class(insn)) {
	case BPF_ALU:
	case BPF_ALU64:
		if (insn_code(insn) == BPF_END)
			*dst = refvm_end(insn, *dst);
		else if (insn_class(insn) == BPF_ALU64)
			*dst = refvm_alu(insn, *dst, operand, 64);
		else
			*dst = (uint32_t)refvm_alu(insn, *dst, operand, 32);
		vm->pc++;
		return true;
	case BPF_LD:
		*dst = insn_src(insn) == BPF_LDDW_IMM
			       ? insn_imm64(insn)
			       : (uintptr_t)vm->rodata.base + (uint32_t)insn[1].imm;
		vm->pc += 2;
		return true;
	case BPF_LDX:
	case BPF_ST:
	case BPF_STX:
		vm->pc++;
		return refvm_load_store(vm, insn);
	}
	switch (insn_code(insn)) {
	case BPF_EXIT:
		if (vm->depth == 0)
			return false;
		vm->depth--;
		memcpy(&vm->regs[6], vm->calls[vm->depth].saved, sizeof(vm->calls[0].saved));
		vm->regs[BPF_REG_FP] = refvm_frame(vm, vm->depth);
		vm->pc = vm->calls[vm->depth].ret;
		return true;
	case BPF_CALL:
		if (insn_src(insn) != BPF_CALL_LOCAL || vm->depth + 1 == DPCAP_VM_MAX_FRAMES) {
			vm->error = "call that should have been refused";
			return false;
		}
		refvm_call(vm, insn);
		return true;
	case BPF_JA:
		vm->pc += 1 + (uint32_t)(insn_class(insn) == BPF_JMP32 ? insn->imm : insn->offset);
		return true;
	}
	vm->pc += refvm_holds(insn, *dst, operand) ? 1 + (uint32_t)insn->offset : 1;
	return true;
}

/* False: error tells what the verifier should have refused. */
static inline bool refvm_run(struct refvm *vm, uint64_t wirelen, uint64_t meta, uint64_t *result)
{
	/* What is not initialised may be anything. */
	memset(vm->regs, 0xa5, sizeof(vm->regs));
	memset(vm->stack, 0xa5, sizeof(vm->stack));
	vm->pc = vm->depth = 0;
	vm->steps = 0;
	vm->error = NULL;
	vm->regs[1] = (uintptr_t)vm->memory.base;
	vm->regs[2] = vm->memory.size;
	vm->regs[3] = wirelen;
	vm->regs[4] = meta;
	vm->regs[BPF_REG_FP] = refvm_frame(vm, 0);
	do {
		if (vm->steps++ == vm->max_steps) {
			vm->error = "does not end";
			return false;
		}
		if (vm->observer)
			vm->observer(vm, vm->observer_arg);
		if (vm->error)
			return false;
	} while (refvm_step(vm));
	*result = vm->regs[0];
	return !vm->error;
}

#endif /* DPCAP_TESTS_REFVM_H */
