/* SPDX-License-Identifier: BSD-3-Clause */
/* A loaded program, as the parts of the VM share it. Not part of the API. */
#ifndef DPCAP_VM_PROG_H
#define DPCAP_VM_PROG_H

#include <stdbool.h>
#include <stdint.h>

#include "dpcap_vm.h"

/* Text for the user: why a program was refused. Writes past the end are dropped. */
struct dpcap_vm_log {
	char *text; /* may be NULL */
	size_t size;
	size_t used;
};

__attribute__((format(printf, 2, 3)))
void dpcap_vm_log_printf(struct dpcap_vm_log *log, const char *format, ...);

/* Frames of local calls at most, the program's own included. */
#define DPCAP_VM_MAX_FRAMES 8

/* What is known about one instruction. */
struct dpcap_vm_insn_aux {
	bool reachable;	     /* verifier */
	bool jump_target;    /* structure check */
	bool function_start; /* structure check: entry of the program or of a local function */
	bool plain_access;   /* verifier: a load or store of something else than a context */
	uint16_t ctx_field;  /* verifier: or of context field ctx_field - 1 */
	bool second_slot;    /* structure check: the upper half of a 64-bit immediate load */
};

struct dpcap_vm_op;

struct dpcap_vm_prog {
	struct dpcap_insn *insns;
	uint32_t n_insns;
	enum dpcap_vm_prog_type type;
	uint64_t mem_size;
	struct dpcap_vm_ctx_field *ctx_fields; /* n_ctx_fields of them */
	uint32_t n_ctx_fields;
	uint8_t *rodata; /* read-only pages */
	uint32_t rodata_size;
	struct dpcap_vm_helper *helpers; /* n_helpers of them */
	uint32_t n_helpers;
	struct dpcap_vm_map **maps; /* n_maps of them */
	uint32_t n_maps;

	/* Filled by the structure check and the verifier. */
	struct dpcap_vm_insn_aux *aux; /* n_insns of them */
	uint32_t stack_used;	       /* bytes of the deepest chain of frames; 0: none */

	struct dpcap_vm_op *ops; /* for the interpreter, n_insns of them */

	/* Filled by the JIT. */
	void *jit_code;
	size_t jit_size;
	dpcap_vm_fn jit_entry;
	void *burst_code;
	size_t burst_size;
	dpcap_vm_burst_fn burst_entry;
};

/*
 * Check what can be seen without following the program: known instructions with
 * their unused fields zero, registers, targets of jumps and calls. Everything after
 * it relies on that. 0, or -EINVAL with the reason in the log.
 */
int dpcap_vm_check_structure(struct dpcap_vm_prog *prog, struct dpcap_vm_log *log);

/* Prove memory safety and termination. 0, or -EINVAL with the reason in the log. */
int dpcap_vm_verify(struct dpcap_vm_prog *prog, struct dpcap_vm_log *log);

/* Decode the program for the interpreter. */
void dpcap_vm_interp_prepare(struct dpcap_vm_prog *prog);

/* The number that a 64-bit immediate load leaves in its register: an address, except for source 0. */
uint64_t dpcap_vm_lddw_value(const struct dpcap_vm_prog *prog, const struct dpcap_insn *insn);

/* The helper of this id, NULL if the program may not call one. */
const struct dpcap_vm_helper *dpcap_vm_find_helper(const struct dpcap_vm_prog *prog, uint64_t id);

#endif /* DPCAP_VM_PROG_H */
