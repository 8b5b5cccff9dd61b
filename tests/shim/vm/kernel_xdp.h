/* SPDX-License-Identifier: BSD-3-Clause */
/* XDP programs in the Linux kernel, by bpf(2). */
#ifndef DPCAP_TESTS_KERNEL_XDP_H
#define DPCAP_TESTS_KERNEL_XDP_H

#include <stdint.h>

#include "dpcap_vm.h"

/* A map of the same shape, with the values of a read-only one. A descriptor, or -errno. */
int kernel_xdp_map(const struct dpcap_vm_map *map);

/*
 * Verify and translate a program that loads maps by their index; map_fds are the kernel's of
 * the same index. A descriptor, or -1: refused; log then tells why.
 */
int kernel_xdp_load(const struct dpcap_insn *insns, uint32_t n, const int *map_fds, char *log,
		    uint32_t log_size);

/* Run it on a packet of 14 bytes at least and return r0. */
uint32_t kernel_xdp_run(int prog, const uint8_t *packet, uint32_t len);

#endif /* DPCAP_TESTS_KERNEL_XDP_H */
