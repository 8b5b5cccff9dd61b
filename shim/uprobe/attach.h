/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attach loaded programs to places in a file, for one process. Never by tracefs: what
 * is made there outlives its maker, while these go with their descriptor.
 *
 * This header is read by the C compiler and by cffi: declarations and plain
 * #defines only.
 */
#ifndef DPCAP_UPROBE_ATTACH_H
#define DPCAP_UPROBE_ATTACH_H

#include <stdint.h>

/* The most places of one link. */
#define DPCAP_UPROBE_MAX_PLACES 256

/*
 * One link for all places (Linux 6.6), attached in a single pass. The program has to be
 * loaded with the attach type BPF_TRACE_UPROBE_MULTI. on_return: when the function that
 * was entered there returns. Returns a descriptor, or -errno.
 */
int dpcap_uprobe_attach_multi(int program, const char *path, const uint64_t *offsets, uint32_t n, uint32_t pid,
			      int on_return);

/*
 * One perf event for one place, as older kernels have it. Returns a descriptor, or
 * -errno: -ENODEV without uprobes in the kernel.
 */
int dpcap_uprobe_attach_perf(int program, const char *path, uint64_t offset, uint32_t pid, int on_return);

#endif /* DPCAP_UPROBE_ATTACH_H */
