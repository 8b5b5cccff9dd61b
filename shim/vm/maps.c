/* SPDX-License-Identifier: BSD-3-Clause */
#include "maps.h"

const struct dpcap_vm_map_def *dpcap_vm_map_def(const struct dpcap_vm_map *map)
{
	return &map->def;
}
