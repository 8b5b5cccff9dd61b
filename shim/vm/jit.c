/* SPDX-License-Identifier: BSD-3-Clause */
/* What every machine's JIT has in common: where the code lives, and the API. */
#include "dpcap_vm.h"

#include <errno.h>

#include "prog.h"

#if !defined(__x86_64__)
int dpcap_vm_jit(struct dpcap_vm_prog *prog)
{
	(void)prog;
	return -ENOTSUP;
}

int dpcap_vm_jit_burst(struct dpcap_vm_prog *prog, const struct dpcap_vm_burst_layout *layout)
{
	(void)prog;
	(void)layout;
	return -ENOTSUP;
}
#endif

dpcap_vm_fn dpcap_vm_jit_entry(const struct dpcap_vm_prog *prog)
{
	return prog->jit_entry;
}

const void *dpcap_vm_jit_code(const struct dpcap_vm_prog *prog, size_t *size)
{
	*size = prog->jit_size;
	return prog->jit_code;
}

dpcap_vm_burst_fn dpcap_vm_burst_entry(const struct dpcap_vm_prog *prog)
{
	return prog->burst_entry;
}

const void *dpcap_vm_burst_code(const struct dpcap_vm_prog *prog, size_t *size)
{
	*size = prog->burst_size;
	return prog->burst_code;
}
