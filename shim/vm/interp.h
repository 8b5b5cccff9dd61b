/* SPDX-License-Identifier: BSD-3-Clause */
/* The interpreter's form of an instruction. Not part of the API. */
#ifndef DPCAP_VM_INTERP_H
#define DPCAP_VM_INTERP_H

#include <stdint.h>

#include "ops.h"
#include "prog.h"

/*
 * One slot for each slot of the program, so that distances stay what they are.
 * The handler replaces opcode and all fields that only select an operation.
 */
struct dpcap_vm_op {
	const void *handler; /* label in the interpreter */
	uint8_t dst;
	uint8_t src;
	int16_t offset;
	int32_t imm;
};

/*
 * What the interpreter does at the instruction: its operation, or one that does those
 * behind it as well. These keep their own slots: a jump to them finds them, and the
 * fused operation reads its operands there.
 */
enum dpcap_vm_op_kind dpcap_vm_fused_kind(const struct dpcap_vm_prog *prog, uint32_t pc);

#endif /* DPCAP_VM_INTERP_H */
