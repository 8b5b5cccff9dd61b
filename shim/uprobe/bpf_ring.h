/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader's side of a BPF ring buffer (Documentation/bpf/ringbuf.rst of Linux): one
 * record at a time, in the caller's hands, and without libbpf.
 *
 *	mapped: | consumer position, a page | producer position, a page | data | data again |
 *	record: | u32 length, busy and discard bits | u32 | bytes, padded to 8 |
 */
#ifndef DPCAP_BPF_RING_H
#define DPCAP_BPF_RING_H

#include <stddef.h>
#include <stdint.h>

struct bpf_ring {
	_Atomic uint64_t *consumer;
	const _Atomic uint64_t *producer;
	const uint8_t *data;
	uint64_t size; /* bytes of data, a power of two */
	uint64_t at;   /* bytes ever consumed */
};

/* Map the ring of size bytes behind fd, which may be closed afterwards. 0 or -errno. */
int bpf_ring_open(struct bpf_ring *ring, int fd, uint64_t size);

void bpf_ring_close(struct bpf_ring *ring);

/* The next record and its bytes; NULL: there is none yet. */
const void *bpf_ring_next(struct bpf_ring *ring, uint32_t *bytes);

/* Done with the record that bpf_ring_next() returned. */
void bpf_ring_pop(struct bpf_ring *ring);

/* Give the room of all that was popped back to the kernel. */
void bpf_ring_release(struct bpf_ring *ring);

#endif /* DPCAP_BPF_RING_H */
