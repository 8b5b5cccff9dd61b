/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that is borrowed: one that sleeps in a system call which can be made
 * again as if nothing had been, and that holds no lock of malloc() or of the loader.
 */
#ifndef DPCAP_INJECT_THREAD_H
#define DPCAP_INJECT_THREAD_H

#include "libc.h"
#include "process.h"

struct thread {
	pid_t tid;
	char name[32];
	long number; /* of the system call */
	const char *call; /* its name */
	uint64_t args[6];
	uint64_t sp, pc;
	uint64_t stack; /* lowest address of the stack's region */
	int rank;	/* the lower the better */
};

/* Stack that must be free below a thread, in bytes: frames, dlopen() and the constructor. */
#define THREAD_STACK_NEEDED (48u << 10)

/*
 * Choose a thread that sleeps now; regions have to be read. Returns 0, or -EAGAIN with
 * why set to what the threads do instead.
 */
int thread_choose(struct thread *thread, const struct process *process, const struct libc *libc, char *why,
		  size_t why_size);

/* Where the thread sleeps. Returns 0, or -EAGAIN: it runs. */
int thread_look(struct thread *thread, const struct process *process);

#endif /* DPCAP_INJECT_THREAD_H */
