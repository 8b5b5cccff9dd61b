/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dpcap-inject [--dry-run] PID PLUGIN: load the plugin into a running process.
 *
 *	checks ──► memfd ──► fill ──► dlopen ──► wait
 *	  │        fire 1              fire 2
 *	  └─ one refuses: nothing is tried
 *
 * Each fire stops one sleeping thread for a moment (fire.c); in between nothing is
 * stopped. It may be killed anywhere.
 *
 * Prints lines of fields with tabs between them, for dpcap:
 *
 *	check  NAME  ok|no|-  TEXT  WAY
 *	stop   THREAD  TID  CALL  NANOSECONDS
 *	failed TEXT  WAY
 *
 * Exit status: 0 loaded (or all checks passed), 1 refused and nothing tried, 2 usage,
 * 3 tried and failed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "checks.h"
#include "fire.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u /* Linux 6.3 */
#endif

#define POLL_US 200
#define MEMFD_PATIENCE_MS 2000
#define LOAD_PATIENCE_MS 10000

enum { LOADED = 0, IS_REFUSED = 1, USAGE = 2, FAILED = 3 };

static int
fail(const char *text, const char *way)
{
	printf("failed\t%s\t%s\n", text, way);
	return FAILED;
}

static int
fail_fire(int err, const char *why)
{
	char text[600];

	if (err == -EAGAIN)
		snprintf(text, sizeof(text), "no thread kept still long enough (%s)", why);
	else
		snprintf(text, sizeof(text), "%s", strerror(-err));
	return fail(text, "nothing was changed: try again");
}

static void
print_checks(const struct target *target)
{
	static const char *const verdicts[] = { [PASSED] = "ok", [REFUSED] = "no", [NOT_CHECKED] = "-" };

	for (unsigned int i = 0; i < target->n_checks; i++)
		printf("check\t%s\t%s\t%s\t%s\n", target->checks[i].name, verdicts[target->checks[i].verdict],
		       target->checks[i].text, target->checks[i].way);
}

static void
print_stop(const struct fired *fired)
{
	printf("stop\t%s\t%d\t%s\t%llu\n", fired->thread.name, (int)fired->thread.tid, fired->thread.call,
	       (unsigned long long)fired->stopped_ns);
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Have the target make the memfd, unless an injector that was killed left one behind. */
static int
make_memfd(struct target *t)
{
	/* Where it exists, only a memfd that asks for it may hold code. */
	const uint64_t flags = MFD_CLOEXEC | MFD_ALLOW_SEALING |
			       (access("/proc/sys/vm/memfd_noexec", F_OK) == 0 ? MFD_EXEC : 0);
	const struct call calls[] = {
		{ t->libc.syscall, { SYS_memfd_create, 0, flags }, .text_arg = 1 },
	};
	uint64_t until = now_ms() + MEMFD_PATIENCE_MS;
	struct fired fired;
	char why[400];
	int err;

	if (payload_find(&t->payload, &t->process) == 0)
		return 0;
	err = fire(&fired, &t->process, &t->libc, calls, 1, PAYLOAD_NAME, NULL, NULL, why, sizeof(why));
	if (err != 0)
		return fail_fire(err, why);
	print_stop(&fired);
	while (payload_find(&t->payload, &t->process) != 0) {
		if (now_ms() > until)
			return fail("the process could not make a memfd: it is short of descriptors or memory", "");
		usleep(POLL_US);
	}
	/* Back in its own frames, before it is borrowed again. */
	while (!fire_is_back(&fired, &t->process) && now_ms() < until)
		usleep(POLL_US);
	return 0;
}

static int
seal(void *arg)
{
	return payload_seal(arg);
}

static int
load(struct target *t)
{
	uint64_t until = now_ms() + LOAD_PATIENCE_MS;
	struct call calls[] = {
		{ t->libc.dlopen, { 0, RTLD_NOW | RTLD_LOCAL }, .text_arg = 0 },
		{ t->libc.syscall, { SYS_close, (uint64_t)t->payload.remote }, .text_arg = -1 },
	};
	struct fired fired;
	char path[64], why[400];
	int err;

	/* A loader knows libraries by the name they were opened with: nobody else's is spelt like this. */
	snprintf(path, sizeof(path), "/proc/self/task/../fd/./%d", t->payload.remote);
	err = fire(&fired, &t->process, &t->libc, calls, 2, path, seal, &t->payload, why, sizeof(why));
	if (err != 0)
		return fail_fire(err, why);
	print_stop(&fired);
	while (payload_is_open(&t->payload, &t->process)) {
		if (now_ms() > until)
			return fail("the thread is still loading the library: it waits for a lock of the application",
				    "it goes on by itself");
		usleep(POLL_US);
	}
	if (process_read_regions(&t->process) != 0 || !process_maps(&t->process, "/memfd:" PAYLOAD_NAME))
		return fail("the process could not load the library (dlopen() failed); it runs on unchanged", "");
	return LOADED;
}

static int
inject(struct target *t)
{
	uint64_t until = now_ms() + MEMFD_PATIENCE_MS;
	int err = process_lock(&t->process);

	if (err != 0)
		return fail("another dpcap is loading the shim into this process", "try again");
	while (payload_is_being_loaded(&t->process) && now_ms() < until)
		usleep(POLL_US);
	if (process_read_regions(&t->process) != 0 || process_maps(&t->process, "libdpcap_shim"))
		return fail("another dpcap has just loaded the shim into this process", "use it");
	err = make_memfd(t);
	if (err != 0)
		return err;
	err = payload_fill(&t->payload);
	if (err != 0)
		return fail(strerror(-err), "nothing was changed");
	return load(t);
}

int
main(int argc, char **argv)
{
	struct target target = { .process.proc = -1 };
	bool dry_run = argc > 1 && strcmp(argv[1], "--dry-run") == 0;
	int result = USAGE, err;
	char *end = NULL;
	long pid;

	argv += dry_run;
	argc -= dry_run;
	pid = argc == 3 ? strtol(argv[1], &end, 10) : 0;
	if (pid <= 0 || *end != '\0') {
		fprintf(stderr, "usage: dpcap-inject [--dry-run] PID PLUGIN\n");
		return USAGE;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	err = payload_read(&target.payload, argv[2]);
	if (err != 0) {
		fprintf(stderr, "dpcap-inject: %s: %s\n", argv[2], strerror(-err));
		goto out;
	}
	err = process_open(&target.process, (pid_t)pid);
	if (err != 0) {
		result = fail("there is no such process", "");
		goto out;
	}
	result = checks_run(&target) ? LOADED : IS_REFUSED;
	print_checks(&target);
	if (result == LOADED && !dry_run)
		result = inject(&target);
out:
	libc_free(&target.libc);
	payload_free(&target.payload);
	process_close(&target.process);
	return result;
}
