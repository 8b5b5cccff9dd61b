/* SPDX-License-Identifier: BSD-3-Clause */
#if defined(__x86_64__)
#include <errno.h>

#include "jit_x86_64.h"

int dpcap_vm_jit_burst(struct dpcap_vm_prog *prog, const struct dpcap_vm_burst_layout *layout)
{
	(void)prog;
	(void)layout;
	return -ENOTSUP;
}
#endif
