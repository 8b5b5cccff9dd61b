/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/bpf.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf_ring.h"

int
bpf_ring_open(struct bpf_ring *ring, int fd, uint64_t size)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *map;

	memset(ring, 0, sizeof(*ring));
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	ring->consumer = map;
	map = mmap(NULL, page + 2 * size, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (map == MAP_FAILED) {
		int err = errno;

		munmap((void *)ring->consumer, page);
		return -err;
	}
	ring->producer = map;
	ring->data = (const uint8_t *)map + page;
	ring->size = size;
	ring->at = atomic_load_explicit(ring->consumer, memory_order_relaxed);
	return 0;
}

void
bpf_ring_close(struct bpf_ring *ring)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (ring->consumer == NULL)
		return;
	munmap((void *)(uintptr_t)ring->producer, page + 2 * ring->size);
	munmap((void *)ring->consumer, page);
	ring->consumer = NULL;
}

static uint32_t
header_at(const struct bpf_ring *ring)
{
	const _Atomic uint32_t *header =
		(const void *)(ring->data + (ring->at & (ring->size - 1)));

	return atomic_load_explicit(header, memory_order_acquire);
}

static uint64_t
record_size(uint32_t header)
{
	const uint64_t bytes = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

	return (BPF_RINGBUF_HDR_SZ + bytes + 7) & ~7ULL;
}

const void *
bpf_ring_next(struct bpf_ring *ring, uint32_t *bytes)
{
	while (ring->at != atomic_load_explicit(ring->producer, memory_order_acquire)) {
		const uint32_t header = header_at(ring);

		if (header & BPF_RINGBUF_BUSY_BIT)
			return NULL;
		if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
			*bytes = header;
			return ring->data + (ring->at & (ring->size - 1)) + BPF_RINGBUF_HDR_SZ;
		}
		ring->at += record_size(header);
	}
	return NULL;
}

void
bpf_ring_pop(struct bpf_ring *ring)
{
	ring->at += record_size(header_at(ring));
}

void
bpf_ring_release(struct bpf_ring *ring)
{
	atomic_store_explicit(ring->consumer, ring->at, memory_order_release);
}
