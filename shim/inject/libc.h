/* SPDX-License-Identifier: BSD-3-Clause */
/* What the injector calls in the target's C library, glibc or musl. */
#ifndef DPCAP_INJECT_LIBC_H
#define DPCAP_INJECT_LIBC_H

#include "image.h"
#include "process.h"

struct libc {
	char path[256]; /* as mapped */
	struct image image;
	uint64_t dlopen;
	uint64_t syscall;
	uint64_t sigreturn; /* code that makes the system call rt_sigreturn */
};

/*
 * Find it; regions have to be read. Returns 0, -ENOENT: there is none (a static program),
 * -EEXIST: there are several, -ENOSYS: it lacks one of the functions. libc->path tells of
 * which it speaks. To be freed in either case.
 */
int libc_find(struct libc *libc, const struct process *process);
void libc_free(struct libc *libc);

/* Whether an address is in the code of the C library, or of the threads library beside it. */
bool libc_has_code(const struct libc *libc, const struct process *process, uint64_t address);

/* The name of the first symbol that a library (the bytes of its file) needs of its C library
 * and does not find, or NULL. *name is for the caller to free. */
char *libc_lacks(const struct libc *libc, const void *bytes, size_t size);

#endif /* DPCAP_INJECT_LIBC_H */
