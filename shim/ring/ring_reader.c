/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"
#include "ring_map.h"

/* The part of the header that never changes, in one read, so that what is checked is what is used. */
static int
read_header(int fd, struct dpcap_ring_shm *header, uint64_t *memfd_size)
{
	const size_t constant = offsetof(struct dpcap_ring_shm, head);
	struct stat st;
	ssize_t n;
	int seals;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EPROTO;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return errno == EINVAL ? -EPERM : -errno;
	if (!(seals & F_SEAL_SHRINK))
		return -EPERM;
	do
		n = pread(fd, header, constant, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n != constant)
		return -EPROTO;
	*memfd_size = (uint64_t)st.st_size;
	return 0;
}

int
dpcap_ring_open(struct dpcap_ring_reader *r, int fd)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct dpcap_ring_shm header;
	uint64_t memfd_size = 0, offset, size;
	int rc;

	rc = read_header(fd, &header, &memfd_size);
	if (rc != 0)
		return rc;
	offset = header.data_offset;
	size = header.data_size;
	if (header.magic != DPCAP_RING_MAGIC || header.version != DPCAP_RING_VERSION)
		return -EPROTO;
	if (offset < sizeof(struct dpcap_ring_shm) || offset % page != 0 || offset > memfd_size)
		return -EPROTO;
	if (size < page || size > DPCAP_RING_MAX_SIZE || (size & (size - 1)) != 0 || size != memfd_size - offset)
		return -EPROTO;
	if (header.direction < 1 || header.direction > 2 || header.snaplen == 0 ||
	    header.snaplen > DPCAP_SNAPLEN_MAX)
		return -EPROTO;

	memset(r, 0, sizeof(*r));
	r->shm = dpcap_ring_map(fd, offset, size, false);
	if (r->shm == NULL)
		return -errno;
	r->map_size = offset + 2 * size;
	r->data = (const uint8_t *)r->shm + offset;
	r->size = size;
	r->interface_id = header.interface_id;
	r->direction = header.direction;
	r->snaplen = header.snaplen;
	r->port = header.port;
	r->queue = header.queue;
	/* A reader that takes over a ring goes on where the one before it stopped. */
	r->tail = atomic_load_explicit(&r->shm->tail, memory_order_relaxed);
	return 0;
}

void
dpcap_ring_reader_close(struct dpcap_ring_reader *r)
{
	if (r->shm != NULL && r->map_size != 0)
		munmap(r->shm, r->map_size);
	memset(r, 0, sizeof(*r));
}

int
dpcap_ring_readable(const struct dpcap_ring_reader *r, struct dpcap_ring_span *span)
{
	const uint64_t word = atomic_load_explicit(&r->shm->head, memory_order_acquire);
	const uint64_t bytes = (word & ~DPCAP_RING_BUSY) - r->tail;

	if (bytes > r->size || (bytes & 3) != 0)
		return -EPROTO;
	span->data = r->data + (r->tail & (r->size - 1));
	span->bytes = bytes;
	span->busy = (word & DPCAP_RING_BUSY) != 0;
	return 0;
}

void
dpcap_ring_consume(struct dpcap_ring_reader *r, uint64_t bytes)
{
	r->tail += bytes;
	atomic_store_explicit(&r->shm->tail, r->tail, memory_order_release);
}

bool
dpcap_ring_is_closed(const struct dpcap_ring_reader *r)
{
	return atomic_load_explicit(&r->shm->closed, memory_order_acquire) != 0;
}
