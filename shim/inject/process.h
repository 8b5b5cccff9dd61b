/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another process as /proc shows it. All is read through one descriptor of /proc/PID:
 * when the process ends and its number is given to another, reading fails instead of
 * telling about the other.
 */
#ifndef DPCAP_INJECT_PROCESS_H
#define DPCAP_INJECT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One line of /proc/PID/maps. */
struct region {
	uint64_t start, end;
	uint64_t offset; /* in the file */
	uint64_t inode;
	bool readable, writable, executable;
	char path[256]; /* empty: anonymous; longer ones are cut */
};

struct process {
	pid_t pid;
	int proc; /* /proc/PID */
	struct region *regions;
	size_t n_regions;
};

/* Returns 0 or a negative errno. To be closed in either case. */
int process_open(struct process *process, pid_t pid);
void process_close(struct process *process);

/* One injector at a time, until this one ends. Returns 0, or -EWOULDBLOCK when there is another. */
int process_lock(const struct process *process);

/* Read the regions anew. */
int process_read_regions(struct process *process);

/* The region that holds an address, or NULL. */
const struct region *process_region(const struct process *process, uint64_t address);

/* Whether a region's path contains the text. */
bool process_maps(const struct process *process, const char *text);

/*
 * Read a small file below /proc/PID into buf, NUL-terminated and cut to size. Returns
 * its length or a negative errno.
 */
ssize_t process_read_file(const struct process *process, char *buf, size_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Where a symbolic link below /proc/PID leads; as process_read_file(). */
ssize_t process_read_link(const struct process *process, char *buf, size_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Call visit(number, arg) for every numeric name in a folder, until it returns false. */
int process_each_number(const struct process *process, const char *folder, bool (*visit)(int number, void *arg),
			void *arg);

/* The number after "NAME:" in the text of a status file; missing when there is no such line. */
long status_number(const char *status, const char *name, int base, long missing);

/* All size bytes of the process's memory, as its own pages allow. Return 0 or -EFAULT. */
int process_read(const struct process *process, uint64_t address, void *buf, size_t size);
int process_write(const struct process *process, uint64_t address, const void *buf, size_t size);

/* As process_read(), into memory that the caller frees; NULL when it cannot be read. */
void *process_read_new(const struct process *process, uint64_t address, size_t size);

#endif /* DPCAP_INJECT_PROCESS_H */
