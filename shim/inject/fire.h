/* SPDX-License-Identifier: BSD-3-Clause */
/* Make a sleeping thread of another process call functions, and let go of it at once. */
#ifndef DPCAP_INJECT_FIRE_H
#define DPCAP_INJECT_FIRE_H

#include "chain.h"
#include "libc.h"
#include "process.h"
#include "thread.h"

/* What became of it. */
struct fired {
	struct thread thread;
	uint64_t stopped_ns; /* for how long the thread stood still */
};

/*
 * Fire n calls on any thread that may be borrowed; several are tried. last(arg) is
 * called right before the point of no return, when all has been checked; not 0 stops it.
 *
 * Returns 0 when the chain runs. -EAGAIN: no thread was to be had (why tells what
 * they do), or another negative errno; in all of these the process goes on untouched.
 */
int fire(struct fired *fired, const struct process *process, const struct libc *libc, const struct call *calls,
	 unsigned int n, const char *text, int (*last)(void *arg), void *arg, char *why, size_t why_size);

/* Whether the thread is back where it slept. */
bool fire_is_back(const struct fired *fired, const struct process *process);

#endif /* DPCAP_INJECT_FIRE_H */
