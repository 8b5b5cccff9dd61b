/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer's life; its hot path is inline in ring.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"
#include "ring_map.h"

static uint64_t
round_up_pow2(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

/*
 * A memfd of that size whose memory is really there: a hook must not find out on an
 * lcore that shared memory has run out (SIGBUS).
 */
static int
make_memfd(uint64_t size)
{
	int err, fd = memfd_create("dpcap-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) != 0)
		goto fail;
	while (fallocate(fd, 0, 0, (off_t)size) != 0)
		if (errno != EINTR)
			goto fail;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		goto fail;
	return fd;
fail:
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

struct dpcap_ring_writer *
dpcap_ring_create(const struct dpcap_ring_params *params)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct dpcap_ring_writer *w = NULL;
	uint64_t size = params->data_size != 0 ? params->data_size : DPCAP_RING_DEFAULT_SIZE;
	int err;

	if (size > DPCAP_RING_MAX_SIZE || params->snaplen == 0 || params->snaplen > DPCAP_SNAPLEN_MAX ||
	    params->direction < 1 || params->direction > 2) {
		errno = EINVAL;
		return NULL;
	}
	size = round_up_pow2(size < DPCAP_RING_MIN_SIZE ? DPCAP_RING_MIN_SIZE : size);

	w = aligned_alloc(_Alignof(struct dpcap_ring_writer), sizeof(*w));
	if (w == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	memset(w, 0, sizeof(*w));
	w->fd = make_memfd(page + size);
	if (w->fd < 0)
		goto fail;
	w->shm = dpcap_ring_map(w->fd, page, size, true);
	if (w->shm == NULL)
		goto fail;
	w->map_size = page + 2 * size;
	w->data = (uint8_t *)w->shm + page;
	w->size = size;
	w->interface_id = params->interface_id;
	w->direction = params->direction;
	w->snaplen = params->snaplen;
	w->port = params->port;
	w->queue = params->queue;

	w->shm->version = DPCAP_RING_VERSION;
	w->shm->data_offset = (uint32_t)page;
	w->shm->data_size = size;
	w->shm->interface_id = params->interface_id;
	w->shm->port = params->port;
	w->shm->queue = params->queue;
	w->shm->direction = params->direction;
	w->shm->snaplen = params->snaplen;
	w->shm->magic = DPCAP_RING_MAGIC;
	return w;
fail:
	err = errno;
	if (w->fd >= 0)
		close(w->fd);
	free(w);
	errno = err;
	return NULL;
}

int
dpcap_ring_fd(const struct dpcap_ring_writer *w)
{
	return w->fd;
}

int
dpcap_ring_take_fd(struct dpcap_ring_writer *w)
{
	int fd = w->fd;

	w->fd = -1;
	return fd;
}

uint64_t
dpcap_ring_memfd_size(const struct dpcap_ring_writer *w)
{
	return w->map_size - w->size;
}

void
dpcap_ring_close(struct dpcap_ring_writer *w)
{
	dpcap_ring_publish(w);
	atomic_store_explicit(&w->shm->closed, 1, memory_order_release);
}

void
dpcap_ring_destroy(struct dpcap_ring_writer *w)
{
	if (w == NULL)
		return;
	munmap(w->shm, w->map_size);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}
