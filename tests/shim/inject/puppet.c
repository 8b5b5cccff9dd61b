/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process with one thread that sleeps in the system call that argv[1] names, through
 * the C library, and everything in its registers that a careless injector would spoil.
 *
 * "asleep" is printed before; a line on stdin ends the sleep, and what the thread then
 * finds is printed: "woken" when all is as it was, else what is not. The end of stdin
 * ends the process. PUPPET_NAME names the thread, PUPPET_SECCOMP installs a filter.
 * Compiled with glibc and with musl.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int listening, pair[2], tube[2], epoll;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char altstack[32768];

static long
sleep_accept(void)
{
	return accept(listening, NULL, NULL) >= 0 ? 0 : -errno;
}

static long
sleep_accept4(void)
{
	return accept4(listening, NULL, NULL, SOCK_CLOEXEC) >= 0 ? 0 : -errno;
}

static long
sleep_recvmsg(void)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(pair[0], &message, 0) == 1 && byte == 'x' ? 0 : -errno;
}

static long
sleep_recvfrom(void)
{
	char byte = 0;

	return recv(pair[0], &byte, 1, 0) == 1 && byte == 'x' ? 0 : -errno;
}

static long
sleep_read(void)
{
	char byte = 0;

	return read(tube[0], &byte, 1) == 1 && byte == 'x' ? 0 : -errno;
}

static long
sleep_epoll_wait(void)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, -1) == 1 ? 0 : -errno;
}

static long
sleep_epoll_limited(void)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 3600000) == 1 ? 0 : -errno;
}

static long
sleep_poll(void)
{
	struct pollfd fd = { .fd = tube[0], .events = POLLIN };

	return poll(&fd, 1, -1) == 1 ? 0 : -errno;
}

static long
sleep_nanosleep(void)
{
	struct timespec second = { .tv_sec = 1 };

	return nanosleep(&second, NULL) == 0 ? 0 : -errno;
}

static long
sleep_futex(void)
{
	return -pthread_mutex_lock(&mutex);
}

static void
on_signal(int number)
{
	(void)number;
	sleep_read();
}

static long
sleep_in_handler(void)
{
	signal(SIGUSR1, on_signal);
	pthread_kill(pthread_self(), SIGUSR1);
	return 0;
}

static const struct {
	const char *name;
	long (*sleep)(void);
} sleeps[] = {
	{ "accept", sleep_accept },	{ "accept4", sleep_accept4 },
	{ "recvmsg", sleep_recvmsg },	{ "recvfrom", sleep_recvfrom },
	{ "read", sleep_read },		{ "epoll_wait", sleep_epoll_wait },
	{ "poll", sleep_poll },		{ "nanosleep", sleep_nanosleep },
	{ "futex", sleep_futex },	{ "handler", sleep_in_handler },
	{ "epoll_limited", sleep_epoll_limited },
};

/* Callee-saved registers hold patterns across the call (rbx: the stack). Returns 1 when one changed. */
static int
call_with_patterns(long (*function)(void), long *result)
{
	int changed;

	__asm__ volatile("mov %%rsp, %%rbx\n\t"
			 "sub $256, %%rsp\n\t" /* past the red zone */
			 "and $-16, %%rsp\n\t"
			 "mov $0x2222, %%r12\n\t"
			 "mov $0x3333, %%r13\n\t"
			 "mov $0x4444, %%r14\n\t"
			 "mov $0x5555, %%r15\n\t"
			 "call *%%rdi\n\t"
			 "mov %%rbx, %%rsp\n\t"
			 "mov $1, %%edx\n\t"
			 "cmp $0x2222, %%r12\n\t jne 1f\n\t"
			 "cmp $0x3333, %%r13\n\t jne 1f\n\t"
			 "cmp $0x4444, %%r14\n\t jne 1f\n\t"
			 "cmp $0x5555, %%r15\n\t jne 1f\n\t"
			 "xor %%edx, %%edx\n"
			 "1:"
			 : "=a"(*result), "=d"(changed), "+D"(function)
			 :
			 : "rbx", "r12", "r13", "r14", "r15", "rcx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return changed;
}

static void *
sleeper(void *arg)
{
	stack_t stack = { .ss_sp = altstack, .ss_size = sizeof(altstack) }, stack_after;
	uint16_t x87 = 0x027f, x87_after; /* double precision: not what a program starts with */
	uint32_t mxcsr = 0x9fc0, mxcsr_after; /* denormals are zero, flush to zero */
	sigset_t mask, mask_after;
	long result;
	int changed;
	size_t i = (size_t)(uintptr_t)arg;

	prctl(PR_SET_NAME, getenv("PUPPET_NAME") != NULL ? getenv("PUPPET_NAME") : "sleeper");
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	sigaltstack(&stack, NULL);
	__asm__ volatile("fldcw %0\n\tldmxcsr %1" : : "m"(x87), "m"(mxcsr));
	changed = call_with_patterns(sleeps[i].sleep, &result);
	__asm__ volatile("fnstcw %0\n\tstmxcsr %1" : "=m"(x87_after), "=m"(mxcsr_after));
	pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	sigaltstack(NULL, &stack_after);
	if (result != 0)
		printf("the call returned %ld (%s)\n", result, strerror((int)-result));
	else if (changed != 0)
		printf("registers changed\n");
	else if (x87_after != x87 || (mxcsr_after & ~0x3fu) != mxcsr)
		printf("FPU state changed: %#x %#x\n", x87_after, mxcsr_after);
	else if (!sigismember(&mask_after, SIGUSR2) || sigismember(&mask_after, SIGUSR1))
		printf("the signal mask changed\n");
	else if (stack_after.ss_sp != stack.ss_sp || stack_after.ss_size != stack.ss_size ||
		 stack_after.ss_flags != 0)
		printf("the alternate stack changed\n");
	else
		printf("woken\n");
	fflush(stdout);
	return NULL;
}

static void
wake(void)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (getsockname(listening, (struct sockaddr *)&address, &size) != 0 ||
	    connect(fd, (struct sockaddr *)&address, size) != 0 || write(pair[1], "x", 1) != 1 ||
	    write(tube[1], "x", 1) != 1)
		exit(1);
	pthread_mutex_unlock(&mutex);
}

/* A seccomp filter that allows everything: the injector cannot know that. */
static void
be_filtered(void)
{
	/* linux/seccomp.h and linux/filter.h, which musl's compiler does not find: BPF_RET, SECCOMP_RET_ALLOW */
	const struct {
		uint16_t code;
		uint8_t jt, jf;
		uint32_t k;
	} allow = { 0x06, 0, 0, 0x7fff0000 };
	const struct {
		unsigned short n;
		const void *code;
	} program = { 1, &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, 2, &program) != 0)
		exit(1);
}

int
main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct epoll_event event = { .events = EPOLLIN };
	pthread_t thread;
	size_t i;
	char line[64];

	for (i = 0; i < sizeof(sleeps) / sizeof(sleeps[0]); i++)
		if (argc > 1 && strcmp(sleeps[i].name, argv[1]) == 0)
			break;
	if (i == sizeof(sleeps) / sizeof(sleeps[0]))
		return 2;
	listening = socket(AF_UNIX, SOCK_STREAM, 0);
	/* Without a path: the kernel picks an abstract name. */
	if (bind(listening, (struct sockaddr *)&address, sizeof(sa_family_t)) != 0 || listen(listening, 1) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || pipe(tube) != 0)
		return 1;
	epoll = epoll_create1(0);
	epoll_ctl(epoll, EPOLL_CTL_ADD, tube[0], &event);
	pthread_mutex_lock(&mutex);
	if (getenv("PUPPET_SECCOMP") != NULL)
		be_filtered();
	if (pthread_create(&thread, NULL, sleeper, (void *)(uintptr_t)i) != 0)
		return 1;
	printf("asleep\n");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) != NULL) {
		wake();
		pthread_join(thread, NULL);
		while (fgets(line, sizeof(line), stdin) != NULL)
			;
	}
	return 0;
}
