/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps, as the parts of the VM share them. Not part of the API. */
#ifndef DPCAP_VM_MAPS_H
#define DPCAP_VM_MAPS_H

#include "dpcap_vm.h"

struct dpcap_vm_map {
	struct dpcap_vm_map_def def;
	/* Value 0. Array: value i follows at i * value_stride; what a program addresses directly. */
	uint8_t *values;
	uint32_t value_stride;
};

#endif /* DPCAP_VM_MAPS_H */
