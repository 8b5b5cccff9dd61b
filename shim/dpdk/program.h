/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's filter: its forms read from a memfd, verified, translated, shared by its sinks. */
#ifndef DPCAP_PROGRAM_H
#define DPCAP_PROGRAM_H

#include <stddef.h>

#include "dpcap_vm.h"
#include "proto.h"

struct program {
	uint32_t n_forms; /* that the verifier accepted, in the order of the request; at least 1 */
	uint32_t numbers[DPCAP_MAX_FORMS]; /* their places in the request */
	struct dpcap_vm_prog *vm[DPCAP_MAX_FORMS];
	dpcap_vm_fn jit; /* of the first form; NULL: interpreter */
	dpcap_vm_burst_fn bursts[DPCAP_MAX_FORMS]; /* the first NULL: one packet at a time */
	unsigned int references; /* counted by the control thread alone */
};

/*
 * Make a program of what the request says, out of the memfd. Returns 0 with one
 * reference in *out, or a negative errno with the reason, and where it helps the
 * verifier's log of the first form, in text. The memfd may be changed or cut by its owner
 * at any time.
 */
int program_load(const struct dpcap_msg_attach *attach, int memfd, struct program **out, char *text,
		 size_t text_size);

struct program *program_get(struct program *program);

/* Give a reference back. No lcore may be able to run the program after the last. */
void program_put(struct program *program);

#endif /* DPCAP_PROGRAM_H */
