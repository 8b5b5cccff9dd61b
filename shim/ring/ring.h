/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The capture ring: a byte ring in shared memory (memfd) with one writer, the
 * hook of one queue and direction, and one reader, dpcap. It holds finished
 * pcapng Enhanced Packet Blocks.
 *
 *   memfd:  | struct dpcap_ring_shm (one page) | data, data_size bytes |
 *   mapped: | header | data | data again |
 *
 * The data is mapped twice in a row, so a block that crosses the end is
 * contiguous for writer and reader alike. head and tail only grow; the place in
 * the data is the counter modulo data_size. Neither side trusts the other.
 */
#ifndef DPCAP_RING_H
#define DPCAP_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DPCAP_RING_MAGIC 0x31474e5241434450ULL /* "PDCARNG1" in memory */
#define DPCAP_RING_VERSION 1

struct dpcap_ring_shm {
	/* Constant after creation. */
	uint64_t magic;
	uint32_t version;
	uint32_t data_offset; /* bytes from the start of the memfd */
	uint64_t data_size;   /* bytes, a power of two and a multiple of the page */
	uint32_t interface_id; /* pcapng interface of every block in this ring */
	uint16_t port;
	uint16_t queue;
	uint32_t direction; /* 1 inbound, 2 outbound, as in epb_flags */
	uint32_t snaplen;

	/* Written by the hook. */
	_Alignas(64) _Atomic uint64_t head; /* bytes ever written */
	_Atomic uint64_t received;	    /* packets the hook saw */
	_Atomic uint64_t accepted;	    /* packets the filter accepted */
	_Atomic uint64_t dropped;	    /* accepted packets that found the ring full */
	_Atomic uint32_t closed;	    /* 1: the hook is gone, nothing more will come */

	/* Written by the reader. */
	_Alignas(64) _Atomic uint64_t tail; /* bytes ever consumed */
};
#endif /* DPCAP_RING_H */
