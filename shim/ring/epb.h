/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapng Enhanced Packet Blocks (draft-ietf-opsawg-pcapng, section "Enhanced Packet
 * Block"), written into the ring and checked when read from it. All fields are in
 * the byte order of the host, as is the file's section header.
 *
 *        0               1               2               3
 *       +---------------+---------------+---------------+---------------+
 *     0 | Block Type = 6                                                |
 *     4 | Block Total Length                                            |
 *     8 | Interface ID                                                  |
 *    12 | Timestamp, high 32 bits     (nanoseconds since 1970: the IDB  |
 *    16 | Timestamp, low 32 bits       carries if_tsresol 9)            |
 *    20 | Captured Packet Length                                        |
 *    24 | Original Packet Length                                        |
 *    28 / Packet Data, padded with zeros to 4 bytes                     /
 *       +---------------+---------------+---------------+---------------+
 *     0 | epb_flags = 2                 | 4                             |
 *     4 | direction, reception type, ...                                |
 *     8 | epb_queue = 6                 | 4                             |
 *    12 | queue number                                                  |
 *       +- - - - - - - -+- - - - - - - -+- - - - - - - -+- - - - - - - -+
 *       | epb_hash = 3                  | 5                             |  when the NIC
 *       | 5 (Toeplitz)  | RSS hash, high byte first                     |  gave a hash
 *       |               | 0             | 0             | 0             |
 *       +- - - - - - - -+- - - - - - - -+- - - - - - - -+- - - - - - - -+
 *       | epb_dropcount = 4             | 8                             |  when packets
 *       | packets dropped since the previous                            |  were dropped
 *       |                               block of this ring              |  before this one
 *       +---------------+---------------+---------------+---------------+
 *       | opt_endofopt = 0              | 0                             |
 *       | Block Total Length                                            |
 *       +---------------+---------------+---------------+---------------+
 */
#ifndef DPCAP_EPB_H
#define DPCAP_EPB_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ring.h"

#define DPCAP_EPB_TYPE 6
#define DPCAP_EPB_HEADER 28		  /* bytes before the data */
#define DPCAP_EPB_FIXED (DPCAP_EPB_HEADER + 24) /* bytes beside the data, without hash and dropcount */
#define DPCAP_EPB_MIN 32		  /* bytes of the smallest legal block */

#define DPCAP_OPT_ENDOFOPT 0
#define DPCAP_OPT_EPB_FLAGS 2
#define DPCAP_OPT_EPB_HASH 3
#define DPCAP_OPT_EPB_DROPCOUNT 4
#define DPCAP_OPT_EPB_QUEUE 6

#define DPCAP_EPB_HASH_TOEPLITZ 5

/* epb_flags, bit 0 the least significant. */
#define DPCAP_EPB_INBOUND 1u
#define DPCAP_EPB_OUTBOUND 2u
#define DPCAP_EPB_UNICAST (1u << 2) /* reception type, bits 2-4 */
#define DPCAP_EPB_MULTICAST (2u << 2)
#define DPCAP_EPB_BROADCAST (3u << 2)
#define DPCAP_EPB_PROMISCUOUS (4u << 2)
#define DPCAP_EPB_CSUM_NOT_READY (1u << 9)
#define DPCAP_EPB_CSUM_VALID (1u << 10)
#define DPCAP_EPB_TSO (1u << 11)
#define DPCAP_EPB_CRC_ERROR (1u << 24) /* link-layer errors, bits 24-31 */

#define DPCAP_EPB_ADDRESS_MASK 0x0000ffffffffffffULL /* 6 bytes of a little-endian load of 8 */

/* The reception type of an Ethernet frame: how the port, whose address is mac (0: not known), came to receive it. */
static inline uint32_t
dpcap_epb_reception(const uint8_t *data, uint32_t len, uint64_t mac)
{
	uint64_t destination;

	if (len < sizeof(destination))
		return 0;
	memcpy(&destination, data, sizeof(destination));
	destination &= DPCAP_EPB_ADDRESS_MASK;
	if (destination == DPCAP_EPB_ADDRESS_MASK)
		return DPCAP_EPB_BROADCAST;
	if (destination & 1)
		return DPCAP_EPB_MULTICAST;
	if (mac == 0)
		return 0;
	return destination == mac ? DPCAP_EPB_UNICAST : DPCAP_EPB_PROMISCUOUS;
}

/* One packet to write. */
struct dpcap_epb {
	uint64_t ts_ns;	  /* nanoseconds of CLOCK_REALTIME */
	uint32_t caplen;  /* bytes kept: see dpcap_epb_caplen() */
	uint32_t origlen; /* bytes on the wire; raised to caplen when smaller */
	uint32_t flags;	  /* DPCAP_EPB_* besides the direction, which the ring knows */
	uint32_t hash;	  /* RSS hash, when has_hash */
	bool has_hash;
};

/* Bytes of a packet of len bytes that the ring's snaplen keeps. */
static inline uint32_t
dpcap_epb_caplen(const struct dpcap_ring_writer *w, uint32_t len)
{
	return len < w->snaplen ? len : w->snaplen;
}

static inline void
dpcap_put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void
dpcap_put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void
dpcap_put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* Code and length of an option. */
static inline void
dpcap_put_option(uint8_t *p, uint16_t code, uint16_t len)
{
	dpcap_put16(p, code);
	dpcap_put16(p + 2, len);
}

/* Bytes of the whole block. */
static inline uint64_t
dpcap_epb_size(const struct dpcap_ring_writer *w, const struct dpcap_epb *epb)
{
	return DPCAP_EPB_FIXED + (((uint64_t)epb->caplen + 3) & ~3ULL) + (epb->has_hash ? 12 : 0) +
	       (w->gap != 0 ? 12 : 0);
}

/*
 * Start the block of one accepted packet: writes everything but the data and
 * returns where its caplen bytes go (in as many pieces as the packet has), or NULL
 * when there is no room: the packet is then counted as dropped, here and in the
 * epb_dropcount of the next block. After the copy call dpcap_epb_end().
 */
static inline uint8_t *
dpcap_epb_begin(struct dpcap_ring_writer *w, const struct dpcap_epb *epb)
{
	const uint64_t size = dpcap_epb_size(w, epb);
	uint8_t *const block = dpcap_ring_reserve(w, size);
	uint8_t *data, *p;

	w->accepted++;
	if (__builtin_expect(block == NULL, 0)) {
		w->dropped++;
		w->gap++;
		return NULL;
	}
	dpcap_ring_fetch_ahead(w, size);
	dpcap_put32(block, DPCAP_EPB_TYPE);
	dpcap_put32(block + 4, (uint32_t)size);
	dpcap_put32(block + 8, w->interface_id);
	dpcap_put32(block + 12, (uint32_t)(epb->ts_ns >> 32));
	dpcap_put32(block + 16, (uint32_t)epb->ts_ns);
	dpcap_put32(block + 20, epb->caplen);
	dpcap_put32(block + 24, epb->origlen > epb->caplen ? epb->origlen : epb->caplen);

	/* The last word of the data, for the sake of its padding; the copy comes later. */
	data = block + DPCAP_EPB_HEADER;
	p = data + (((uint64_t)epb->caplen + 3) & ~3ULL);
	if (epb->caplen & 3)
		dpcap_put32(p - 4, 0);

	dpcap_put_option(p, DPCAP_OPT_EPB_FLAGS, 4);
	dpcap_put32(p + 4, w->direction | epb->flags);
	dpcap_put_option(p + 8, DPCAP_OPT_EPB_QUEUE, 4);
	dpcap_put32(p + 12, w->queue);
	p += 16;
	if (epb->has_hash) {
		dpcap_put_option(p, DPCAP_OPT_EPB_HASH, 5);
		/* algorithm, then the hash high byte first, then padding */
		dpcap_put64(p + 4, 0);
		p[4] = DPCAP_EPB_HASH_TOEPLITZ;
		p[5] = (uint8_t)(epb->hash >> 24);
		p[6] = (uint8_t)(epb->hash >> 16);
		p[7] = (uint8_t)(epb->hash >> 8);
		p[8] = (uint8_t)epb->hash;
		p += 12;
	}
	if (__builtin_expect(w->gap != 0, 0)) {
		dpcap_put_option(p, DPCAP_OPT_EPB_DROPCOUNT, 8);
		dpcap_put64(p + 4, w->gap);
		p += 12;
	}
	dpcap_put_option(p, DPCAP_OPT_ENDOFOPT, 0);
	dpcap_put32(p + 4, (uint32_t)size);
	return data;
}

/* Finish the block that dpcap_epb_begin() started with the same epb. */
static inline void
dpcap_epb_end(struct dpcap_ring_writer *w, const struct dpcap_epb *epb)
{
	dpcap_ring_commit(w, dpcap_epb_size(w, epb));
	w->gap = 0;
}

/*
 * Copy packet bytes: never reads or writes outside of the two areas. This is libc's
 * memcpy, which knows the CPU: written-out SSE, AVX2 and AVX-512 copies, rep movsb and
 * non-temporal stores were all measured to be as slow or slower (benchmarks/ring.py).
 */
static inline void
dpcap_epb_copy(uint8_t *dst, const void *src, uint32_t len)
{
	memcpy(dst, src, len);
}

/* One accepted packet of one segment: begin, copy, end. false: dropped and counted. */
static inline bool
dpcap_epb_put(struct dpcap_ring_writer *w, const struct dpcap_epb *epb, const void *packet)
{
	uint8_t *data = dpcap_epb_begin(w, epb);

	if (data == NULL)
		return false;
	dpcap_epb_copy(data, packet, epb->caplen);
	dpcap_epb_end(w, epb);
	return true;
}

/* What a reader needs of a block, taken out of the shared memory once. */
struct dpcap_epb_info {
	uint32_t size; /* bytes of the whole block */
	uint32_t interface_id;
	uint32_t caplen;
	uint64_t ts_ns;
	uint64_t dropped; /* packets before it in the ring: its epb_dropcount */
};

/*
 * What a block says of packets that were dropped. size is that of a whole block with that
 * caplen; dpcap_epb_begin() puts the option last, so it lies beside the block's length.
 */
static inline uint64_t
dpcap_epb_dropcount(const uint8_t *block, uint32_t size, uint32_t caplen)
{
	const uint8_t *option = block + size - 20;
	uint16_t header[2];
	uint64_t dropped;

	if (size < (uint64_t)DPCAP_EPB_FIXED + (((uint64_t)caplen + 3) & ~3ULL) + 12)
		return 0;
	memcpy(header, option, sizeof(header));
	memcpy(&dropped, option + sizeof(header), sizeof(dropped));
	return header[0] == DPCAP_OPT_EPB_DROPCOUNT && header[1] == sizeof(dropped) ? dropped : 0;
}

/*
 * Look at the block at the start of the next bytes of a ring. false: it is not a
 * complete block. Each field is read once, so that a writer gone bad cannot change
 * it between check and use.
 */
static inline bool
dpcap_epb_check(const uint8_t *block, uint64_t bytes, struct dpcap_epb_info *info)
{
	uint32_t h[6], trailer;

	if (bytes < DPCAP_EPB_MIN)
		return false;
	memcpy(h, block, sizeof(h));
	/* The compiler may not look again: the copy is what was checked. */
	__asm__ volatile("" ::: "memory");
	if (h[0] != DPCAP_EPB_TYPE || h[1] < DPCAP_EPB_MIN || h[1] > bytes || (h[1] & 3))
		return false;
	if (h[5] > h[1] - DPCAP_EPB_MIN)
		return false;
	memcpy(&trailer, block + h[1] - 4, sizeof(trailer));
	if (trailer != h[1])
		return false;
	info->size = h[1];
	info->interface_id = h[2];
	info->ts_ns = (uint64_t)h[3] << 32 | h[4];
	info->caplen = h[5];
	info->dropped = dpcap_epb_dropcount(block, h[1], h[5]);
	return true;
}

#endif /* DPCAP_EPB_H */
