/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The states of one attempt. Whatever ends the injector leaves the kernel to detach:
 *
 *   ASLEEP ──seize──► SEIZED ──interrupt──► STOPPED ──write──► WRITTEN ──set registers──► FIRED
 *     │                 │                      │                   │                         │
 *     └── given up ◄────┴──────────────────────┴───────────────────┘                       detach
 *         killed here: the thread makes its system call again,                killed here: the chain runs
 *         bytes below its stack have changed, which nobody reads              to its end all the same
 *
 * SEIZED   the kernel knows a tracer; nothing is stopped
 * STOPPED  this one thread stands still: is it where it slept, and did nothing wake it?
 * WRITTEN  the frames lie below its stack
 * FIRED    one system call has set its registers: the point of no return
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fire.h"

#define ATTEMPTS 100
#define ATTEMPT_PAUSE_US 10000
/* A thread that sleeps stops at once; one that does not is let go. */
#define STOP_PATIENCE_US 200000

/* What the kernel leaves in rax of a system call that it will make again (include/linux/errno.h). */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514

enum state { ASLEEP, SEIZED, STOPPED, WRITTEN, FIRED };

struct attempt {
	const struct process *process;
	const struct libc *libc;
	const struct call *calls;
	unsigned int n_calls;
	const char *text;
	int (*last)(void *arg);
	void *arg;

	enum state state;
	struct thread thread;
	uint64_t interrupted_ns; /* when */
	struct stopped stopped;
};

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static int
trace(enum __ptrace_request request, pid_t tid, uintptr_t address, const void *data)
{
	return ptrace(request, tid, (void *)address, (void *)(uintptr_t)data) < 0 ? -errno : 0;
}

/* Somebody else's signal, or a stop: it is passed on as if we had not been there. */
static void
let_go(struct attempt *attempt, int signal)
{
	if (attempt->state >= STOPPED)
		trace(PTRACE_DETACH, attempt->thread.tid, 0, (void *)(intptr_t)signal);
}

static void
nothing(int number)
{
	(void)number;
}

/* waitpid() with a limit. */
static int
wait_for_stop(pid_t tid, int *status)
{
	const struct itimerval limit = { .it_value.tv_usec = STOP_PATIENCE_US,
					 .it_interval.tv_usec = STOP_PATIENCE_US };
	const struct itimerval never = { 0 };
	struct sigaction wake = { .sa_handler = nothing }, before;
	int err;

	sigaction(SIGALRM, &wake, &before); /* no SA_RESTART: waitpid() returns */
	setitimer(ITIMER_REAL, &limit, NULL);
	err = waitpid(tid, status, __WALL) == tid ? 0 : -errno;
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	return err;
}

/* Stop the thread. -EAGAIN: something else happened to it, and it goes on. */
static int
stop(struct attempt *attempt)
{
	pid_t tid = attempt->thread.tid;
	int status, err;

	err = trace(PTRACE_SEIZE, tid, 0, 0);
	if (err != 0)
		return err == -ESRCH ? -EAGAIN : err;
	attempt->state = SEIZED;
	attempt->interrupted_ns = now_ns();
	err = trace(PTRACE_INTERRUPT, tid, 0, NULL);
	if (err == 0)
		err = wait_for_stop(tid, &status);
	if (err != 0 || !WIFSTOPPED(status))
		return -EAGAIN;
	attempt->state = STOPPED;
	if (status >> 8 != (SIGTRAP | PTRACE_EVENT_STOP << 8)) {
		/* A signal came first: it is delivered. A group stop: it stays one. */
		let_go(attempt, status >> 16 == 0 ? WSTOPSIG(status) : 0);
		attempt->state = ASLEEP;
		return -EAGAIN;
	}
	return 0;
}

static int
read_registers(struct attempt *attempt)
{
	struct stopped *s = &attempt->stopped;
	struct iovec general = { &s->regs, sizeof(s->regs) }, fpu = { s->fpu, sizeof(s->fpu) };
	pid_t tid = attempt->thread.tid;
	int err;

	err = trace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &general);
	if (err == 0)
		err = trace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &fpu);
	if (err == 0)
		err = trace(PTRACE_GETSIGMASK, tid, sizeof(s->signals), &s->signals);
	if (err == 0 && general.iov_len != sizeof(s->regs))
		err = -ENOTSUP; /* a 32-bit thread */
	s->fpu_size = fpu.iov_len;
	return err;
}

/* Whether the thread stands where it slept, and its system call has done nothing. */
static bool
is_as_it_slept(const struct attempt *attempt)
{
	static const unsigned char syscall_code[2] = { 0x0f, 0x05 };
	const struct user_regs_struct *r = &attempt->stopped.regs;
	const struct thread *t = &attempt->thread;
	unsigned char code[2];
	long result = (long)r->rax;

	return (long)r->orig_rax == t->number && r->rsp == t->sp && r->rip == t->pc && r->rdi == t->args[0] &&
	       (result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND ||
		result == -EINTR) &&
	       process_read(attempt->process, r->rip - sizeof(code), code, sizeof(code)) == 0 &&
	       memcmp(code, syscall_code, sizeof(code)) == 0;
}

/* One attempt on one thread, from ASLEEP to FIRED or back. */
static int
try_thread(struct attempt *attempt)
{
	uint8_t chain[CHAIN_MAX_SIZE];
	struct user_regs_struct entry;
	struct iovec registers = { &entry, sizeof(entry) };
	uint64_t address;
	size_t size;
	int err;

	attempt->state = ASLEEP;
	err = stop(attempt);
	if (err != 0)
		goto out;
	err = read_registers(attempt);
	if (err != 0)
		goto out;
	err = -EAGAIN;
	if (!is_as_it_slept(attempt))
		goto out;
	err = chain_build(&attempt->stopped, attempt->calls, attempt->n_calls, attempt->text,
			  attempt->libc->sigreturn, chain, &size, &address, &entry);
	if (err != 0)
		goto out;
	err = process_write(attempt->process, address, chain, size);
	if (err != 0)
		goto out;
	attempt->state = WRITTEN;
	err = attempt->last == NULL ? 0 : attempt->last(attempt->arg);
	if (err != 0)
		goto out;
	err = trace(PTRACE_SETREGSET, attempt->thread.tid, NT_PRSTATUS, &registers);
	if (err == 0)
		attempt->state = FIRED;
out:
	let_go(attempt, 0);
	return err;
}

int
fire(struct fired *fired, const struct process *process, const struct libc *libc, const struct call *calls,
     unsigned int n, const char *text, int (*last)(void *arg), void *arg, char *why, size_t why_size)
{
	struct attempt attempt = {
		.process = process,
		.libc = libc,
		.calls = calls,
		.n_calls = n,
		.text = text,
		.last = last,
		.arg = arg,
	};
	int err = -EAGAIN;

	for (unsigned int i = 0; i < ATTEMPTS && err == -EAGAIN; i++) {
		if (i > 0)
			usleep(ATTEMPT_PAUSE_US);
		err = thread_choose(&attempt.thread, process, libc, why, why_size);
		if (err != 0)
			continue;
		err = try_thread(&attempt);
		fired->stopped_ns = now_ns() - attempt.interrupted_ns;
		if (attempt.state == SEIZED)
			break; /* it did not stop: only our own end lets go of it */
	}
	fired->thread = attempt.thread;
	return err;
}

bool
fire_is_back(const struct fired *fired, const struct process *process)
{
	struct thread now = { .tid = fired->thread.tid };

	return thread_look(&now, process) == 0 && now.number == fired->thread.number &&
	       now.sp == fired->thread.sp && now.pc == fired->thread.pc;
}
