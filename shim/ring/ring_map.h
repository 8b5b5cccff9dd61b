/* SPDX-License-Identifier: BSD-3-Clause */
/* The mapping that writer and reader have in common; internal to this folder. */
#ifndef DPCAP_RING_MAP_H
#define DPCAP_RING_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct dpcap_ring_shm;

/*
 * Map header_size bytes of fd, then the data_size bytes that follow, twice in a row.
 * Both are multiples of the page. populate: fault every page in now. NULL with errno.
 */
struct dpcap_ring_shm *dpcap_ring_map(int fd, uint64_t header_size, uint64_t data_size, bool populate);

#endif /* DPCAP_RING_MAP_H */
