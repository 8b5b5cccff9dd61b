/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "ring_map.h"

struct dpcap_ring_shm *
dpcap_ring_map(int fd, uint64_t header_size, uint64_t data_size, bool populate)
{
	const int flags = MAP_SHARED | MAP_FIXED | (populate ? MAP_POPULATE : 0);
	const size_t total = header_size + 2 * data_size;
	uint8_t *base;
	int err;

	/* Reserve the addresses, so that the two maps cannot land on anything else. */
	base = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return NULL;
	if (mmap(base, header_size + data_size, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED)
		goto fail;
	if (mmap(base + header_size + data_size, data_size, PROT_READ | PROT_WRITE, flags, fd,
		 (off_t)header_size) == MAP_FAILED)
		goto fail;
	return (struct dpcap_ring_shm *)base;
fail:
	err = errno;
	munmap(base, total);
	errno = err;
	return NULL;
}
