/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interpreter: threaded code. Each instruction is decoded once, into the address
 * of the label that executes it, and each label ends by jumping to the next one's
 * label, so that the branch predictor sees one jump for every kind of instruction.
 *
 * Nothing is checked here: the verifier has proved every access, call and jump.
 */
#include <endian.h>
#include <string.h>

#include "interp.h"
#include "isa.h"

/* What a local call puts aside: r6 to r9 and r10 belong to the caller. */
struct frame {
	const struct dpcap_vm_op *ret;
	uint64_t saved[5];
};

/* Memory that has no alignment. */
struct unaligned {
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
		int8_t s8;
		int16_t s16;
		int32_t s32;
	};
} __attribute__((packed, may_alias));

/* The verifier has proved that these are aligned within their memory. */
typedef uint32_t atomic32 __attribute__((may_alias));
typedef uint64_t atomic64 __attribute__((may_alias));

static const void *const *handler_table;

#define DST reg[op->dst]
#define SRC reg[op->src]
#define IMM op->imm
#define DST32 ((uint32_t)DST)
#define SRC32 ((uint32_t)SRC)
#define DSTS ((int64_t)DST)
#define SRCS ((int64_t)SRC)
#define DSTS32 ((int32_t)DST)
#define SRCS32 ((int32_t)SRC)
#define SIMM64 ((uint64_t)(int64_t)IMM)
#define SIMM32 ((uint32_t)IMM)

#define AT(base, field) (((struct unaligned *)(uintptr_t)((base) + (uint64_t)(int64_t)op->offset))->field)

#define DISPATCH() goto *op->handler
#define NEXT()                                                                                     \
	do {                                                                                       \
		op++;                                                                              \
		DISPATCH();                                                                        \
	} while (0)
#define JUMP_IF(condition)                                                                         \
	do {                                                                                       \
		if (condition) {                                                                   \
			op += op->offset + 1;                                                      \
			DISPATCH();                                                                \
		}                                                                                  \
		NEXT();                                                                            \
	} while (0)

/* Both widths of an operation, with a register and with an immediate. */
#define BINARY(name, expr64, expr32)                                                               \
	name##64X : { const uint64_t a = DST, b = SRC; DST = (expr64); } NEXT();                   \
	name##64K : { const uint64_t a = DST, b = SIMM64; DST = (expr64); } NEXT();                \
	name##32X : { const uint32_t a = DST32, b = SRC32; DST = (uint32_t)(expr32); } NEXT();     \
	name##32K : { const uint32_t a = DST32, b = SIMM32; DST = (uint32_t)(expr32); } NEXT();

#define COMPARE(name, operator)                                                                    \
	name##64X : JUMP_IF(DST operator SRC);                                                     \
	name##64K : JUMP_IF(DST operator SIMM64);                                                  \
	name##32X : JUMP_IF(DST32 operator SRC32);                                                 \
	name##32K : JUMP_IF(DST32 operator SIMM32);

#define COMPARE_SIGNED(name, operator)                                                             \
	name##64X : JUMP_IF(DSTS operator SRCS);                                                   \
	name##64K : JUMP_IF(DSTS operator (int64_t)IMM);                                           \
	name##32X : JUMP_IF(DSTS32 operator SRCS32);                                               \
	name##32K : JUMP_IF(DSTS32 operator IMM);

/*
 * A load and what is done with it, see DPCAP_VM_FUSED_OPS. n_be: slots of the byte
 * swap behind the load.
 */
#define LOAD_ENDS(name, n_be, value)                                                               \
	name : LOAD_NEXT(n_be, value); DISPATCH();                                                 \
	name##_JEQ32K : LOAD_NEXT(n_be, value); JUMP_IF(DST32 == SIMM32);                          \
	name##_JNE32K : LOAD_NEXT(n_be, value); JUMP_IF(DST32 != SIMM32);                          \
	name##_JSET32K : LOAD_NEXT(n_be, value); JUMP_IF(DST32 & SIMM32);                          \
	name##_JEQ64K : LOAD_NEXT(n_be, value); JUMP_IF(DST == SIMM64);                            \
	name##_JNE64K : LOAD_NEXT(n_be, value); JUMP_IF(DST != SIMM64);
#define LOAD_NEXT(n_be, value)                                                                     \
	DST = (value);                                                                             \
	op += 1 + (n_be)

/* The same behind `jlt`, which is the first slot. */
#define GUARD_ENDS(name, n_be, value)                                                              \
	name : GUARD(); LOAD_NEXT(n_be, value); DISPATCH();                                        \
	name##_JEQ32K : GUARD(); LOAD_NEXT(n_be, value); JUMP_IF(DST32 == SIMM32);                 \
	name##_JNE32K : GUARD(); LOAD_NEXT(n_be, value); JUMP_IF(DST32 != SIMM32);                 \
	name##_JSET32K : GUARD(); LOAD_NEXT(n_be, value); JUMP_IF(DST32 & SIMM32);                 \
	name##_JEQ64K : GUARD(); LOAD_NEXT(n_be, value); JUMP_IF(DST == SIMM64);                   \
	name##_JNE64K : GUARD(); LOAD_NEXT(n_be, value); JUMP_IF(DST != SIMM64);
#define GUARD()                                                                                    \
	if (DST < SIMM64) {                                                                        \
		op += op->offset + 1;                                                              \
		DISPATCH();                                                                        \
	}                                                                                          \
	op++

/* Read-modify-write; with fetch the source register receives the old value. */
#define ATOMIC(name, builtin)                                                                      \
	name##32 : builtin(ATOMIC_AT(atomic32), SRC32, __ATOMIC_SEQ_CST); NEXT();                  \
	name##64 : builtin(ATOMIC_AT(atomic64), SRC, __ATOMIC_SEQ_CST); NEXT();                    \
	FETCH_##name##32 : SRC = builtin(ATOMIC_AT(atomic32), SRC32, __ATOMIC_SEQ_CST); NEXT();    \
	FETCH_##name##64 : SRC = builtin(ATOMIC_AT(atomic64), SRC, __ATOMIC_SEQ_CST); NEXT();
#define ATOMIC_AT(type) ((type *)(uintptr_t)(DST + (uint64_t)(int64_t)op->offset))

#define CALL_HELPER(helper) reg[0] = (helper)->function(reg[1], reg[2], reg[3], reg[4], reg[5])

/* RFC 9669 section 4.1: INT_MIN / -1 is INT_MIN, INT_MIN % -1 is 0; by zero, see there. */
static inline int64_t sdiv64(int64_t a, int64_t b)
{
	if (b == 0)
		return 0;
	return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

static inline int64_t smod64(int64_t a, int64_t b)
{
	if (b == 0)
		return a;
	return b == -1 ? 0 : a % b;
}

static inline int32_t sdiv32(int32_t a, int32_t b)
{
	if (b == 0)
		return 0;
	return b == -1 ? (int32_t)(0 - (uint32_t)a) : a / b;
}

static inline int32_t smod32(int32_t a, int32_t b)
{
	if (b == 0)
		return a;
	return b == -1 ? 0 : a % b;
}

static inline uint16_t le16(uint64_t value) { return htole16((uint16_t)value); }
static inline uint32_t le32(uint64_t value) { return htole32((uint32_t)value); }
static inline uint16_t be16(uint64_t value) { return htobe16((uint16_t)value); }
static inline uint32_t be32(uint64_t value) { return htobe32((uint32_t)value); }

/* Without a program: hands out the table of labels. */
static uint64_t run(const struct dpcap_vm_prog *prog, void *mem, uint64_t len, uint64_t wirelen,
		    uint64_t meta)
{
#define LABEL(name) [OP_##name] = &&name,
	static const void *const labels[] = {DPCAP_VM_OPS(LABEL) DPCAP_VM_FUSED_OPS(LABEL)};
#undef LABEL
	uint8_t stack[DPCAP_VM_MAX_FRAMES][DPCAP_VM_STACK_SIZE] __attribute__((aligned(16)));
	struct frame frames[DPCAP_VM_MAX_FRAMES];
	struct frame *frame = frames;
	const struct dpcap_vm_op *op;
	uint64_t reg[BPF_N_REGS];

	if (!prog) {
		handler_table = labels;
		return 0;
	}
	/* No value is ever used uninitialised, but the compiler cannot know that. */
	memset(reg, 0, sizeof(reg));
	reg[1] = (uintptr_t)mem;
	reg[2] = len;
	reg[3] = wirelen;
	reg[4] = meta;
	reg[BPF_REG_FP] = (uintptr_t)stack + sizeof(stack);
	op = prog->ops;
	DISPATCH();

	BINARY(ADD, a + b, a + b)
	BINARY(SUB, a - b, a - b)
	BINARY(MUL, a * b, a * b)
	BINARY(DIV, b ? a / b : 0, b ? a / b : 0)
	BINARY(MOD, b ? a % b : a, b ? a % b : a)
	BINARY(SDIV, (uint64_t)sdiv64((int64_t)a, (int64_t)b), sdiv32((int32_t)a, (int32_t)b))
	BINARY(SMOD, (uint64_t)smod64((int64_t)a, (int64_t)b), smod32((int32_t)a, (int32_t)b))
	BINARY(OR, a | b, a | b)
	BINARY(AND, a & b, a & b)
	BINARY(XOR, a ^ b, a ^ b)
	BINARY(LSH, a << (b & 63), a << (b & 31))
	BINARY(RSH, a >> (b & 63), a >> (b & 31))
	BINARY(ARSH, (uint64_t)((int64_t)a >> (b & 63)), (int32_t)a >> (b & 31))
	BINARY(MOV, ((void)a, b), ((void)a, b))

	NEG64 : DST = 0 - DST; NEXT();
	NEG32 : DST = 0 - DST32; NEXT();
	MOVSX64_8 : DST = (uint64_t)(int64_t)(int8_t)SRC; NEXT();
	MOVSX64_16 : DST = (uint64_t)(int64_t)(int16_t)SRC; NEXT();
	MOVSX64_32 : DST = (uint64_t)(int64_t)(int32_t)SRC; NEXT();
	MOVSX32_8 : DST = (uint32_t)(int8_t)SRC; NEXT();
	MOVSX32_16 : DST = (uint32_t)(int16_t)SRC; NEXT();
	LE16 : DST = le16(DST); NEXT();
	LE32 : DST = le32(DST); NEXT();
	LE64 : DST = htole64(DST); NEXT();
	BE16 : DST = be16(DST); NEXT();
	BE32 : DST = be32(DST); NEXT();
	BE64 : DST = htobe64(DST); NEXT();
	BSWAP16 : DST = __builtin_bswap16((uint16_t)DST); NEXT();
	BSWAP32 : DST = __builtin_bswap32(DST32); NEXT();
	BSWAP64 : DST = __builtin_bswap64(DST); NEXT();

	LDDW : DST = SIMM32 | (uint64_t)(uint32_t)op[1].imm << 32; op += 2; DISPATCH();
	LDX8 : DST = AT(SRC, u8); NEXT();
	LDX16 : DST = AT(SRC, u16); NEXT();
	LDX32 : DST = AT(SRC, u32); NEXT();
	LDX64 : DST = AT(SRC, u64); NEXT();
	LDXS8 : DST = (uint64_t)(int64_t)AT(SRC, s8); NEXT();
	LDXS16 : DST = (uint64_t)(int64_t)AT(SRC, s16); NEXT();
	LDXS32 : DST = (uint64_t)(int64_t)AT(SRC, s32); NEXT();
	ST8 : AT(DST, u8) = (uint8_t)IMM; NEXT();
	ST16 : AT(DST, u16) = (uint16_t)IMM; NEXT();
	ST32 : AT(DST, u32) = SIMM32; NEXT();
	ST64 : AT(DST, u64) = SIMM64; NEXT();
	STX8 : AT(DST, u8) = (uint8_t)SRC; NEXT();
	STX16 : AT(DST, u16) = (uint16_t)SRC; NEXT();
	STX32 : AT(DST, u32) = SRC32; NEXT();
	STX64 : AT(DST, u64) = SRC; NEXT();

	LOAD_ENDS(FUSED_LDX8, 0, AT(SRC, u8))
	LOAD_ENDS(FUSED_LDX16, 0, AT(SRC, u16))
	LOAD_ENDS(FUSED_LDX32, 0, AT(SRC, u32))
	LOAD_ENDS(FUSED_LDXBE16, 1, be16(AT(SRC, u16)))
	LOAD_ENDS(FUSED_LDXBE32, 1, be32(AT(SRC, u32)))
	GUARD_ENDS(GUARD_LDX8, 0, AT(SRC, u8))
	GUARD_ENDS(GUARD_LDX16, 0, AT(SRC, u16))
	GUARD_ENDS(GUARD_LDX32, 0, AT(SRC, u32))
	GUARD_ENDS(GUARD_LDXBE16, 1, be16(AT(SRC, u16)))
	GUARD_ENDS(GUARD_LDXBE32, 1, be32(AT(SRC, u32)))
	MOV64X_ADD64X : DST = SRC + reg[op[1].src]; op += 2; DISPATCH();
	MOV64X_ADD64K : DST = SRC + (uint64_t)(int64_t)op[1].imm; op += 2; DISPATCH();
	MOV64K_EXIT : DST = SIMM64; goto EXIT;
	MOV32K_EXIT : DST = SIMM32; goto EXIT;

	ATOMIC(ATOMIC_ADD, __atomic_fetch_add)
	ATOMIC(ATOMIC_OR, __atomic_fetch_or)
	ATOMIC(ATOMIC_AND, __atomic_fetch_and)
	ATOMIC(ATOMIC_XOR, __atomic_fetch_xor)
	XCHG32 : SRC = __atomic_exchange_n(ATOMIC_AT(atomic32), SRC32, __ATOMIC_SEQ_CST); NEXT();
	XCHG64 : SRC = __atomic_exchange_n(ATOMIC_AT(atomic64), SRC, __ATOMIC_SEQ_CST); NEXT();
	CMPXCHG32 : {
		uint32_t expected = (uint32_t)reg[0];

		__atomic_compare_exchange_n(ATOMIC_AT(atomic32), &expected, SRC32, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		reg[0] = expected;
	} NEXT();
	CMPXCHG64 : {
		uint64_t expected = reg[0];

		__atomic_compare_exchange_n(ATOMIC_AT(atomic64), &expected, SRC, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		reg[0] = expected;
	} NEXT();

	COMPARE(JEQ, ==)
	COMPARE(JNE, !=)
	COMPARE(JGT, >)
	COMPARE(JGE, >=)
	COMPARE(JLT, <)
	COMPARE(JLE, <=)
	COMPARE(JSET, &)
	COMPARE_SIGNED(JSGT, >)
	COMPARE_SIGNED(JSGE, >=)
	COMPARE_SIGNED(JSLT, <)
	COMPARE_SIGNED(JSLE, <=)
	JA : op += op->offset + 1; DISPATCH();
	JAL : op += (int64_t)IMM + 1; DISPATCH();

	CALL : CALL_HELPER(&prog->helpers[IMM]); NEXT();
	CALLX : CALL_HELPER(dpcap_vm_find_helper(prog, DST)); NEXT();
	CALL_LOCAL : {
		frame->ret = op + 1;
		memcpy(frame->saved, &reg[6], sizeof(frame->saved));
		frame++;
		reg[BPF_REG_FP] -= DPCAP_VM_STACK_SIZE;
		op += (int64_t)IMM + 1;
	} DISPATCH();
	EXIT : {
		if (frame == frames)
			return reg[0];
		frame--;
		memcpy(&reg[6], frame->saved, sizeof(frame->saved));
		op = frame->ret;
	} DISPATCH();
}

/* Every label's address lies in run() alone. */
__attribute__((constructor)) static void find_handlers(void)
{
	run(NULL, NULL, 0, 0, 0);
}

static ptrdiff_t helper_index(const struct dpcap_vm_prog *prog, uint32_t id)
{
	return dpcap_vm_find_helper(prog, id) - prog->helpers;
}

void dpcap_vm_interp_prepare(struct dpcap_vm_prog *prog)
{
	uint32_t pc;

	for (pc = 0; pc < prog->n_insns; pc++) {
		const struct dpcap_insn *insn = &prog->insns[pc];

		prog->ops[pc] = (struct dpcap_vm_op){
			.handler = handler_table[dpcap_vm_fused_kind(prog, pc)],
			.dst = insn_dst(insn),
			.src = insn_src(insn),
			.offset = insn->offset,
			.imm = insn->imm,
		};
		if (insn->opcode == BPF_OPCODE_CALL && insn_src(insn) == BPF_CALL_HELPER)
			prog->ops[pc].imm = (int32_t)helper_index(prog, (uint32_t)insn->imm);
		if (insn->opcode == BPF_OPCODE_LDDW) {
			uint64_t value = dpcap_vm_lddw_value(prog, insn);

			prog->ops[pc].imm = (int32_t)(uint32_t)value;
			prog->ops[++pc].imm = (int32_t)(uint32_t)(value >> 32);
		}
	}
}

uint64_t dpcap_vm_interp(const struct dpcap_vm_prog *prog, void *mem, uint64_t len,
			 uint64_t wirelen, uint64_t meta)
{
	return run(prog, mem, len, wirelen, meta);
}
