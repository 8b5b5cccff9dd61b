/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checks.h"
#include "symbol.h"
#include "thread.h"

#define STATUS_SIZE 8192

#define SAY(check, ...) snprintf((check)->text, sizeof((check)->text), __VA_ARGS__)
#define WAY(check, ...) snprintf((check)->way, sizeof((check)->way), __VA_ARGS__)
#define REFUSE(check, ...) ((check)->verdict = REFUSED, SAY(check, __VA_ARGS__))

/* ---- Permission ----------------------------------------------------------------- */

#define YAMA "/proc/sys/kernel/yama/ptrace_scope"

static long
read_sysctl(const char *path, long missing)
{
	FILE *file = fopen(path, "re");
	long value = missing;

	if (file != NULL) {
		if (fscanf(file, "%ld", &value) != 1)
			value = missing;
		fclose(file);
	}
	return value;
}

void
checks_permission_text(struct check *check, long scope, unsigned int uid, unsigned int ours)
{
	if (scope >= 3) {
		REFUSE(check, "Yama forbids to look into any process (%s is %ld)", YAMA, scope);
		WAY(check, "that holds until the next boot: start the application with -d $(dpcap shim path)");
	} else if (uid != ours) {
		REFUSE(check, "not permitted: the process is of user id %u", uid);
		WAY(check, "run dpcap as root");
	} else if (scope >= 1) {
		REFUSE(check, "Yama forbids to look into processes that are not one's children (%s is %ld)", YAMA,
		       scope);
		WAY(check, "run dpcap as root");
	} else {
		REFUSE(check, "not permitted: the process has capabilities or is not dumpable");
		WAY(check, "run dpcap as root");
	}
}

/* The kernel makes the same decision for this file as for ptrace(2). */
static void
check_permission(struct target *t, struct check *check)
{
	char status[STATUS_SIZE];
	long uid = -1;
	int fd = openat(t->process.proc, "mem", O_RDWR | O_CLOEXEC);

	if (process_read_file(&t->process, status, sizeof(status), "status") > 0)
		uid = status_number(status, "Uid", 10, -1);
	if (fd >= 0)
		SAY(check, "user id %ld may be traced by %u", uid, (unsigned int)geteuid());
	else
		checks_permission_text(check, read_sysctl(YAMA, -1), (unsigned int)uid, (unsigned int)geteuid());
	if (fd >= 0)
		close(fd);
}

/* ---- The program ---------------------------------------------------------------- */

static void
check_architecture(struct target *t, struct check *check)
{
	Elf64_Ehdr header = { 0 };
	int fd = openat(t->process.proc, "exe", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, &header, sizeof(header), 0);

	if (fd >= 0)
		close(fd);
	if (n != (ssize_t)sizeof(header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		REFUSE(check, "its program is no ELF file");
	else if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
		REFUSE(check, "its program is not for x86-64 (ELF class %d, machine %d)", header.e_ident[EI_CLASS],
		       header.e_machine);
	else
		SAY(check, "x86-64");
}

/* What /proc says about every thread. */
struct threads {
	struct target *target;
	struct check *check;
	int n, filtered;
};

void
checks_thread_status(struct check *check, const char *status)
{
	const char *state = strstr(status, "\nState:\t"), *features = strstr(status, "\nx86_Thread_features:");
	long tracer = status_number(status, "TracerPid", 10, 0), pid = status_number(status, "Tgid", 10, 0);

	if (tracer != 0) {
		REFUSE(check, "thread %ld is traced by process %ld already", status_number(status, "Pid", 10, 0),
		       tracer);
		WAY(check, "end the debugger (pid %ld) first", tracer);
	} else if (state != NULL && strchr("TtZX", state[8]) != NULL) {
		REFUSE(check, "it is stopped or has ended (state %c)", state[8]);
		WAY(check, "let it go on first: kill -CONT %ld", pid);
	} else if (status_number(status, "Seccomp", 10, 0) != 0) {
		REFUSE(check, "a seccomp filter judges its system calls and might kill it");
	} else if (features != NULL &&
		   memmem(features + 1, strcspn(features + 1, "\n"), "shstk", strlen("shstk")) != NULL) {
		REFUSE(check, "it runs with a shadow stack (CET), which forbids borrowed calls");
	}
}

static bool
look_at_status(int tid, void *arg)
{
	struct threads *threads = arg;
	char status[STATUS_SIZE];

	if (process_read_file(&threads->target->process, status, sizeof(status), "task/%d/status", tid) <= 0)
		return true; /* ended */
	threads->n++;
	checks_thread_status(threads->check, status);
	return threads->check->verdict == PASSED;
}

static void
check_threads(struct target *t, struct check *check)
{
	struct threads threads = { .target = t, .check = check };

	process_each_number(&t->process, "task", look_at_status, &threads);
	if (threads.n == 0)
		REFUSE(check, "it has ended");
	else if (check->verdict == PASSED)
		SAY(check, "%d threads: not traced, not stopped, no seccomp filter, no shadow stack", threads.n);
}

/* ---- Libraries ------------------------------------------------------------------ */

static void
check_libc(struct target *t, struct check *check)
{
	int err = libc_find(&t->libc, &t->process);

	if (err == -ENOENT)
		REFUSE(check, "it has no C library that could load another one: a static program");
	else if (err == -EEXIST)
		REFUSE(check, "it has several C libraries");
	else if (err != 0)
		REFUSE(check, "%s has no dlopen() that could be called", t->libc.path);
	else
		SAY(check, "%s has dlopen()", t->libc.path);
}

static void
check_plugin(struct target *t, struct check *check)
{
	char *lacking = libc_lacks(&t->libc, t->payload.bytes, t->payload.size);

	if (lacking != NULL)
		REFUSE(check, "%s lacks %s, which the plugin was built with", t->libc.path, lacking);
	else
		SAY(check, "the C library has all that the plugin calls");
	free(lacking);
}

static void
check_absent(struct target *t, struct check *check)
{
	if (process_maps(&t->process, "libdpcap_shim")) {
		REFUSE(check, "the shim is in the process already");
		WAY(check, "dpcap uses it; if it cannot, the application's messages say why");
	} else {
		SAY(check, "no shim in the process");
	}
}

/* ---- DPDK ------------------------------------------------------------------------- */

/* The plugin's table, in the bytes that will be loaded. */
static struct dpcap_symbol *
symbol_table(struct payload *payload, size_t *n)
{
	size_t size = 0, at = elf_section(payload->bytes, payload->size, DPCAP_SYMBOL_SECTION, &size);

	*n = size / sizeof(struct dpcap_symbol);
	return at != 0 && at % _Alignof(struct dpcap_symbol) == 0
		? (struct dpcap_symbol *)(void *)(payload->bytes + at)
		: NULL;
}

/* The first needed symbol that the image lacks, or NULL. fill: note addresses in the table. */
static const char *
first_missing(const struct image *image, struct dpcap_symbol *symbols, size_t n, bool fill)
{
	const char *missing = NULL;

	for (size_t i = 0; i < n; i++) {
		uint64_t address = image_find(image, symbols[i].name);

		if (fill)
			symbols[i].address = address;
		if (address == 0 && symbols[i].needed && missing == NULL)
			missing = symbols[i].name;
	}
	return missing;
}

/* The file of a mapped object, if it is still the one that was mapped. */
static int
open_file(const struct process *process, const struct region *region)
{
	struct stat info;
	char path[300];
	int fd;

	if (fstatat(process->proc, "exe", &info, 0) == 0 && info.st_ino == region->inode)
		return openat(process->proc, "exe", O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "root%s", region->path);
	fd = openat(process->proc, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &info) != 0 || info.st_ino != region->inode)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Whether DPDK may be in an object: then its file is worth reading. Any of its names is also in
 * the strings of what merely uses it. */
static bool
find_exported(const struct process *process, const struct dpcap_symbol *symbols, size_t n, bool *found,
	      char *where, size_t where_size)
{
	bool all = true;

	for (size_t r = 0; r < process->n_regions; r++) {
		const struct region *region = &process->regions[r];
		struct image image;

		if (!image_starts(process, region))
			continue;
		if (image_of_memory(&image, process, region) == 0)
			for (size_t i = 0; i < n; i++)
				if (!found[i] && image_find(&image, symbols[i].name) != 0) {
					found[i] = true;
					snprintf(where, where_size, "%s", region->path);
				}
		image_free(&image);
	}
	for (size_t i = 0; i < n; i++)
		all = all && (found[i] || !symbols[i].needed);
	return all;
}

/* Look into the symbol tables of files; on success the plugin's table is filled. */
static bool
find_hidden(const struct process *process, struct dpcap_symbol *symbols, size_t n, char *where,
	    size_t where_size, const char **missing)
{
	bool complete = false;

	for (size_t r = 0; r < process->n_regions && !complete; r++) {
		const struct region *region = &process->regions[r];
		struct image dynamic, image;
		const char *lacks;
		int fd;

		if (!image_starts(process, region))
			continue;
		image_of_memory(&dynamic, process, region); /* for the bias */
		fd = open_file(process, region);
		if (fd >= 0 && image_of_file(&image, fd, dynamic.bias) == 0) {
			lacks = first_missing(&image, symbols, n, false);
			complete = lacks == NULL;
			if (complete)
				first_missing(&image, symbols, n, true);
			else if (n > 0 && image_find(&image, symbols[0].name) != 0)
				*missing = lacks;
			if (complete)
				snprintf(where, where_size, "%s", region->path);
			image_free(&image);
		}
		if (fd >= 0)
			close(fd);
		image_free(&dynamic);
	}
	return complete;
}

#define MAX_SYMBOLS 64

static void
check_dpdk(struct target *t, struct check *check)
{
	bool found[MAX_SYMBOLS] = { false };
	const char *missing = NULL;
	char where[256] = "";
	struct dpcap_symbol *symbols;
	size_t n;

	symbols = symbol_table(&t->payload, &n);
	if (symbols == NULL || n > MAX_SYMBOLS)
		REFUSE(check, "the plugin does not tell what it needs of DPDK: of another release");
	else if (find_exported(&t->process, symbols, n, found, where, sizeof(where)))
		SAY(check, "exported by %s", where);
	else if (find_hidden(&t->process, symbols, n, where, sizeof(where), &missing))
		SAY(check, "in the symbol table of %s, not exported", where);
	else if (missing != NULL)
		REFUSE(check, "its DPDK has no %s", missing);
	else
		REFUSE(check, "its DPDK functions cannot be found: not exported, and its symbol table was stripped");
}

/* ---- Ways into the process --------------------------------------------------------- */

#define NOEXEC "/proc/sys/vm/memfd_noexec"

static void
check_memfd(struct target *t, struct check *check)
{
	struct stat info;

	if (read_sysctl(NOEXEC, 0) >= 2)
		REFUSE(check, "memory files must not be executed here (%s is 2)", NOEXEC);
	else if (fstatat(t->process.proc, "root/proc/self", &info, AT_SYMLINK_NOFOLLOW) != 0)
		REFUSE(check, "its file system has no /proc, through which the library is opened");
	else
		SAY(check, "a sealed memfd, through its own /proc");
}

#define TRIES 20
#define TRY_PAUSE_US 10000

static void
check_thread(struct target *t, struct check *check)
{
	struct thread thread;
	char why[400];
	int err;

	/* It may be busy for the moment. */
	for (int i = 0; (err = thread_choose(&thread, &t->process, &t->libc, why, sizeof(why))) != 0 && i < TRIES; i++)
		usleep(TRY_PAUSE_US);
	if (err != 0)
		REFUSE(check, "no thread sleeps where it can be borrowed (%s)", why);
	else
		SAY(check, "%s (thread %d) sleeps in %s()", thread.name, (int)thread.tid, thread.call);
}

/* ---- All of them ------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct target *t, struct check *check);
	bool vital; /* when it fails the later ones cannot be made */
} table[] = {
	{ "permission", check_permission, true },
	{ "architecture", check_architecture, true },
	{ "threads", check_threads, false },
	{ "shim", check_absent, false },
	{ "C library", check_libc, true },
	{ "plugin", check_plugin, false },
	{ "DPDK", check_dpdk, false },
	{ "memory file", check_memfd, false },
	{ "sleeping thread", check_thread, false },
};

bool
checks_run(struct target *t)
{
	bool possible = true, passed = true;

	_Static_assert(sizeof(table) / sizeof(table[0]) <= MAX_CHECKS, "room for all");
	t->n_checks = sizeof(table) / sizeof(table[0]);
	for (unsigned int i = 0; i < t->n_checks; i++) {
		struct check *check = &t->checks[i];

		*check = (struct check){ .name = table[i].name };
		if (i == 1 && possible)
			possible = process_read_regions(&t->process) == 0;
		if (!possible) {
			check->verdict = NOT_CHECKED;
			SAY(check, "not checked");
			passed = false;
			continue;
		}
		table[i].run(t, check);
		passed = passed && check->verdict == PASSED;
		possible = !table[i].vital || check->verdict == PASSED;
	}
	return passed;
}
