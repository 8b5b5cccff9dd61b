/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "thread.h"

/* Words of the stack that are looked at for a signal handler. */
#define MAX_STACK (16u << 20)

enum kind {
	AGAIN, /* the kernel makes it again by itself when it was interrupted */
	EAL,   /* it returns EINTR to whoever made it if an attempt is given up: only EAL's own thread is known
		  to go on. With a limit of time (the fourth argument, not -1) it is left alone */
};

/*
 * The system calls. Each has taken nothing yet while it sleeps, so that making it again
 * is the same as having slept on. Missing on purpose:
 *   futex, and all that waits for a lock   may be inside malloc() or the loader
 *   poll, nanosleep, and all with a time   their rest of the time is lost with rt_sigreturn
 *   write, sendmsg                         may have written a part
 */
static const struct {
	long number;
	const char *name;
	enum kind kind;
} sleeps[] = {
	/* The best first. */
	{ SYS_accept, "accept", AGAIN },
	{ SYS_accept4, "accept4", AGAIN },
	{ SYS_recvmsg, "recvmsg", AGAIN },
	{ SYS_recvfrom, "recvfrom", AGAIN },
	{ SYS_epoll_wait, "epoll_wait", EAL },
	{ SYS_epoll_pwait, "epoll_pwait", EAL },
	{ SYS_read, "read", AGAIN },
};
#define N_SLEEPS (int)(sizeof(sleeps) / sizeof(sleeps[0]))

/* EAL's own, of old and new releases; cut at 15 characters by the kernel. */
static const char *const eal_threads[] = { "telemetry-v2", "dpdk-telemet-v2", "rte_mp_handle",
					   "dpdk-mp-msg",  "eal-intr-thread", "dpdk-intr" };
/* What EAL calls the threads that poll. */
static const char *const lcores[] = { "lcore-", "rte-worker-", "dpdk-worker" };

int
thread_look(struct thread *thread, const struct process *process)
{
	char text[256];
	uint64_t *a = thread->args;

	if (process_read_file(process, text, sizeof(text), "task/%d/syscall", (int)thread->tid) < 0)
		return -EAGAIN;
	if (sscanf(text, "%ld %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
			 " %" SCNx64, &thread->number, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5], &thread->sp,
		   &thread->pc) != 9)
		return -EAGAIN; /* "running" */
	return 0;
}

/* A handler may have interrupted malloc(), whatever it sleeps in itself: its frame begins
 * with the address of rt_sigreturn. */
static bool
in_signal_handler(const struct thread *thread, const struct process *process, const struct libc *libc)
{
	const struct region *region = process_region(process, thread->sp);
	size_t size = region->end - thread->sp;
	uint64_t *words;
	bool found = false;

	if (size > MAX_STACK)
		size = MAX_STACK;
	words = process_read_new(process, thread->sp, size);
	for (size_t i = 0; words != NULL && i < size / sizeof(*words) && !found; i++)
		found = words[i] == libc->sigreturn;
	free(words);
	return words == NULL || found;
}

static bool
is_eals(const struct thread *thread)
{
	for (size_t i = 0; i < sizeof(eal_threads) / sizeof(eal_threads[0]); i++)
		if (strcmp(thread->name, eal_threads[i]) == 0)
			return true;
	return false;
}

/* Returns NULL and sets rank and stack when the thread may be borrowed, else what is in the way. */
static const char *
examine(struct thread *thread, const struct process *process, const struct libc *libc)
{
	const struct region *stack;
	int i;

	if (process_read_file(process, thread->name, sizeof(thread->name), "task/%d/comm", (int)thread->tid) < 0)
		return "ended";
	thread->name[strcspn(thread->name, "\n")] = '\0';
	if (thread->tid == process->pid)
		return "the main thread";
	for (i = 0; i < (int)(sizeof(lcores) / sizeof(lcores[0])); i++)
		if (strncmp(thread->name, lcores[i], strlen(lcores[i])) == 0)
			return "an lcore";
	if (thread_look(thread, process) != 0)
		return "running";
	for (i = 0; i < N_SLEEPS; i++)
		if (sleeps[i].number == thread->number)
			break;
	if (i == N_SLEEPS)
		return "asleep in another system call";
	thread->call = sleeps[i].name;
	if (sleeps[i].kind == EAL && (int)thread->args[3] != -1)
		return "asleep for a limited time";
	if (!libc_has_code(libc, process, thread->pc))
		return "asleep outside of the C library";
	stack = process_region(process, thread->sp);
	if (stack == NULL || !stack->writable || thread->sp - stack->start < THREAD_STACK_NEEDED)
		return "short of stack";
	if (in_signal_handler(thread, process, libc))
		return "in a signal handler";
	thread->stack = stack->start;
	thread->rank = is_eals(thread) ? i : i + N_SLEEPS;
	return sleeps[i].kind == EAL && !is_eals(thread) ? "asleep in epoll_wait" : NULL;
}

struct choice {
	const struct process *process;
	const struct libc *libc;
	struct thread best;
	char *why;
	size_t why_size, why_length;
};

static bool
consider(int tid, void *arg)
{
	struct choice *choice = arg;
	struct thread thread = { .tid = tid };
	const char *problem = examine(&thread, choice->process, choice->libc);

	if (problem == NULL && (choice->best.tid == 0 || thread.rank < choice->best.rank))
		choice->best = thread;
	if (problem != NULL && choice->why_length < choice->why_size)
		choice->why_length += (size_t)snprintf(choice->why + choice->why_length,
						       choice->why_size - choice->why_length, "%s%s: %s",
						       choice->why_length == 0 ? "" : ", ", thread.name, problem);
	return true;
}

int
thread_choose(struct thread *thread, const struct process *process, const struct libc *libc, char *why,
	      size_t why_size)
{
	struct choice choice = { .process = process, .libc = libc, .why = why, .why_size = why_size };

	why[0] = '\0';
	process_each_number(process, "task", consider, &choice);
	*thread = choice.best;
	return choice.best.tid != 0 ? 0 : -EAGAIN;
}
