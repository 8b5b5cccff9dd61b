/* SPDX-License-Identifier: BSD-3-Clause */
/* What has to be true of a process before anything is tried on it. Nothing here stops or changes it. */
#ifndef DPCAP_INJECT_CHECKS_H
#define DPCAP_INJECT_CHECKS_H

#include "libc.h"
#include "payload.h"
#include "process.h"

enum verdict { PASSED, REFUSED, NOT_CHECKED /* because of an earlier one */ };

struct check {
	const char *name;
	enum verdict verdict;
	char text[512]; /* what was found; the reason when refused */
	char way[160];	/* what else one can do; empty: start the application with the plugin */
};

#define MAX_CHECKS 16

/* A process that the shim is to be loaded into. */
struct target {
	struct process process;
	struct libc libc;
	struct payload payload; /* its table of symbols is filled in by the checks */
	struct check checks[MAX_CHECKS];
	unsigned int n_checks;
};

/* Make all checks; process and payload are open. Returns whether all passed. */
bool checks_run(struct target *target);

/*
 * Why a process cannot be traced: by Yama's ptrace_scope (-1: there is no Yama) and the
 * user ids of the process and of ours. way is set too.
 */
void checks_permission_text(struct check *check, long scope, unsigned int uid, unsigned int ours);

/* Refuse by the text of a thread's status file in /proc, when there is a reason in it. */
void checks_thread_status(struct check *check, const char *status);

#endif /* DPCAP_INJECT_CHECKS_H */
