/* SPDX-License-Identifier: BSD-3-Clause */
/* The order in which blocks are walked. */
#ifndef DPCAP_VM_LOOPS_H
#define DPCAP_VM_LOOPS_H

#include "cfg.h"

/*
 * Order the blocks of a function that can be reached from its start: a weak
 * topological order, Bourdoncle, "Efficient chaotic iteration strategies with
 * widenings" (1993). An edge leads forward in the order, or back to the head of
 * a loop that it is in. Appends to cfg->order. 0, -ENOMEM, -EINVAL.
 */
int loops_order(struct cfg *cfg, struct function *function, struct dpcap_vm_log *log);

#endif /* DPCAP_VM_LOOPS_H */
