/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operations of the instruction set, one name for each combination of the fields
 * that select what is done (opcode, and for some: offset, imm, source). Not part of the API.
 */
#ifndef DPCAP_VM_OPS_H
#define DPCAP_VM_OPS_H

#include "dpcap_vm.h"

/* Width, and operand: register (X) or immediate (K). */
#define DPCAP_VM_OPS_WXK(X, name) X(name##64X) X(name##64K) X(name##32X) X(name##32K)
#define DPCAP_VM_OPS_ATOMIC(X, name) X(name##64) X(name##32) X(FETCH_##name##64) X(FETCH_##name##32)

#define DPCAP_VM_OPS(X)                                                                            \
	DPCAP_VM_OPS_WXK(X, ADD)                                                                   \
	DPCAP_VM_OPS_WXK(X, SUB)                                                                   \
	DPCAP_VM_OPS_WXK(X, MUL)                                                                   \
	DPCAP_VM_OPS_WXK(X, DIV)                                                                   \
	DPCAP_VM_OPS_WXK(X, SDIV)                                                                  \
	DPCAP_VM_OPS_WXK(X, MOD)                                                                   \
	DPCAP_VM_OPS_WXK(X, SMOD)                                                                  \
	DPCAP_VM_OPS_WXK(X, OR)                                                                    \
	DPCAP_VM_OPS_WXK(X, AND)                                                                   \
	DPCAP_VM_OPS_WXK(X, XOR)                                                                   \
	DPCAP_VM_OPS_WXK(X, LSH)                                                                   \
	DPCAP_VM_OPS_WXK(X, RSH)                                                                   \
	DPCAP_VM_OPS_WXK(X, ARSH)                                                                  \
	DPCAP_VM_OPS_WXK(X, MOV)                                                                   \
	X(NEG64) X(NEG32)                                                                          \
	X(MOVSX64_8) X(MOVSX64_16) X(MOVSX64_32) X(MOVSX32_8) X(MOVSX32_16)                        \
	X(LE16) X(LE32) X(LE64) X(BE16) X(BE32) X(BE64) X(BSWAP16) X(BSWAP32) X(BSWAP64)           \
	X(LDDW)                                                                                    \
	X(LDX8) X(LDX16) X(LDX32) X(LDX64) X(LDXS8) X(LDXS16) X(LDXS32)                            \
	X(ST8) X(ST16) X(ST32) X(ST64) X(STX8) X(STX16) X(STX32) X(STX64)                          \
	DPCAP_VM_OPS_ATOMIC(X, ATOMIC_ADD)                                                         \
	DPCAP_VM_OPS_ATOMIC(X, ATOMIC_OR)                                                          \
	DPCAP_VM_OPS_ATOMIC(X, ATOMIC_AND)                                                         \
	DPCAP_VM_OPS_ATOMIC(X, ATOMIC_XOR)                                                         \
	X(XCHG64) X(XCHG32) X(CMPXCHG64) X(CMPXCHG32)                                              \
	DPCAP_VM_OPS_WXK(X, JEQ)                                                                   \
	DPCAP_VM_OPS_WXK(X, JNE)                                                                   \
	DPCAP_VM_OPS_WXK(X, JGT)                                                                   \
	DPCAP_VM_OPS_WXK(X, JGE)                                                                   \
	DPCAP_VM_OPS_WXK(X, JLT)                                                                   \
	DPCAP_VM_OPS_WXK(X, JLE)                                                                   \
	DPCAP_VM_OPS_WXK(X, JSET)                                                                  \
	DPCAP_VM_OPS_WXK(X, JSGT)                                                                  \
	DPCAP_VM_OPS_WXK(X, JSGE)                                                                  \
	DPCAP_VM_OPS_WXK(X, JSLT)                                                                  \
	DPCAP_VM_OPS_WXK(X, JSLE)                                                                  \
	X(JA) X(JAL) X(CALL) X(CALLX) X(CALL_LOCAL) X(EXIT)

/*
 * What the interpreter does at once, because filters do it all the time:
 *
 *	[jlt r, imm, out]   [GUARD_]       is the packet that long?
 *	ldx r, [r + offset]  LDX..
 *	[be r]                 ..BE..       in the field's byte order
 *	[jump if r ... imm]      .._JEQ..   what is in it?
 */
#define DPCAP_VM_OPS_LOAD_ENDS(X, name)                                                            \
	X(name) X(name##_JEQ32K) X(name##_JNE32K) X(name##_JSET32K) X(name##_JEQ64K) X(name##_JNE64K)
#define DPCAP_VM_OPS_GUARDED(X, name)                                                              \
	DPCAP_VM_OPS_LOAD_ENDS(X, FUSED_##name) DPCAP_VM_OPS_LOAD_ENDS(X, GUARD_##name)
#define DPCAP_VM_FUSED_OPS(X)                                                                      \
	DPCAP_VM_OPS_GUARDED(X, LDX8)                                                              \
	DPCAP_VM_OPS_GUARDED(X, LDX16)                                                             \
	DPCAP_VM_OPS_GUARDED(X, LDX32)                                                             \
	DPCAP_VM_OPS_GUARDED(X, LDXBE16)                                                           \
	DPCAP_VM_OPS_GUARDED(X, LDXBE32)                                                           \
	X(MOV64X_ADD64X) X(MOV64X_ADD64K) X(MOV64K_EXIT) X(MOV32K_EXIT)

enum dpcap_vm_op_kind {
#define DPCAP_VM_OP_NAME(name) OP_##name,
	DPCAP_VM_OPS(DPCAP_VM_OP_NAME)
	DPCAP_VM_FUSED_OPS(DPCAP_VM_OP_NAME)
#undef DPCAP_VM_OP_NAME
	DPCAP_VM_N_OPS
};

/* The operation of an instruction that has passed the structure check. */
enum dpcap_vm_op_kind dpcap_vm_op_kind(const struct dpcap_insn *insn);

#endif /* DPCAP_VM_OPS_H */
