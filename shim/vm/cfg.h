/* SPDX-License-Identifier: BSD-3-Clause */
/* Control flow: functions, basic blocks, loops. */
#ifndef DPCAP_VM_CFG_H
#define DPCAP_VM_CFG_H

#include "prog.h"

/* Loops within loops. */
#define MAX_LOOP_DEPTH 32
#define NO_BLOCK UINT32_MAX

struct block {
	uint32_t start, end; /* instructions [start, end) */
	/* Blocks that follow in the same function: by falling through (or after
	 * a local call returns), and by jumping. NO_BLOCK where there is none. */
	uint32_t next, jump;
	uint16_t live_in; /* registers whose value may still be read */
};

/* A block in the order in which blocks are walked. */
struct order {
	uint32_t block;
	/* Where the loop that this block heads ends in the order; for a block
	 * that heads none, its own place. */
	uint32_t loop_end;
};

/* Instructions of one function are contiguous, and so are its blocks. */
struct function {
	uint32_t start;
	uint32_t first_block, n_blocks;
	uint32_t first_order, n_order; /* reachable blocks only */
};

struct cfg {
	struct function *functions; /* [0] is the program's entry */
	uint32_t n_functions;
	struct block *blocks;
	uint32_t n_blocks;
	struct order *order;
	uint32_t n_order;
	uint32_t *block_of; /* by instruction */
};

/*
 * Find functions, blocks and loops, and tell prog->aux what can be reached. The
 * program has passed dpcap_vm_check_structure(). 0, -ENOMEM, or -EINVAL with the
 * reason in the log: loops nested too deeply.
 */
int cfg_build(struct cfg *cfg, struct dpcap_vm_prog *prog, struct dpcap_vm_log *log);
void cfg_free(struct cfg *cfg);

/* The function that an instruction belongs to. */
const struct function *cfg_function_at(const struct cfg *cfg, uint32_t insn);

#endif /* DPCAP_VM_CFG_H */
