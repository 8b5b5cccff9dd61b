/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library that is loaded: a copy of the plugin in a memfd that the target has made.
 * No file system has to be shared or writable, and nobody can change the copy later.
 *
 * The memfd is filled from outside, through /proc/PID/fd, while nothing is stopped. It
 * is sealed right before dlopen() is fired on it: one that is not sealed was left by an
 * injector that died early, was never loaded, and is used again.
 */
#ifndef DPCAP_INJECT_PAYLOAD_H
#define DPCAP_INJECT_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "process.h"

#define PAYLOAD_NAME "libdpcap_shim.so" /* of the memfd: what /proc/PID/maps shows */

struct payload {
	char *bytes; /* of the file */
	size_t size;
	int remote; /* the memfd's number in the target; -1: none */
	int fd;	    /* the same, opened here */
};

/* Read the plugin. Returns 0 or a negative errno. To be freed in either case. */
int payload_read(struct payload *payload, const char *path);
void payload_free(struct payload *payload);

/* Look for an unsealed memfd in the target and open it. Returns 0 or -ENOENT. */
int payload_find(struct payload *payload, const struct process *process);

/*
 * Whether the target has a sealed one open: it is loading it, even if the injector was
 * killed meanwhile. (Or the injector was killed between sealing and firing, two system
 * calls: then it stays open for nothing.)
 */
bool payload_is_being_loaded(const struct process *process);

/* Write the library into it. Returns 0 or a negative errno. */
int payload_fill(const struct payload *payload);

/* Nobody changes it from now on. Returns 0 or a negative errno. */
int payload_seal(const struct payload *payload);

/* Whether the target still has it open. */
bool payload_is_open(const struct payload *payload, const struct process *process);

#endif /* DPCAP_INJECT_PAYLOAD_H */
