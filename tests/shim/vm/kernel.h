/* SPDX-License-Identifier: BSD-3-Clause */
/* Running our programs in the Linux kernel, by bpf(2). */
#ifndef DPCAP_TESTS_KERNEL_H
#define DPCAP_TESTS_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "dpcap_vm.h"

/* For programs with so many bytes of memory. False, with the reason on stderr: not allowed here. */
bool kernel_open(uint32_t mem_size);

/*
 * Verify and translate a program. A descriptor to close, or -1: refused; log (may be
 * NULL) then tells why.
 */
int kernel_load(const struct dpcap_insn *insns, uint32_t n, char *log, uint32_t log_size);

/* Run it as f(mem, mem_size, 0, 0) and return r0. */
uint64_t kernel_run(int prog, uint8_t *mem);

#endif /* DPCAP_TESTS_KERNEL_H */
