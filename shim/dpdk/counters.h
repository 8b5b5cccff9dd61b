/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters of a session that watches queues: a table in memory (memfd) that the reader
 * maps and looks at whenever it likes. One slot for each queue and direction, with one
 * writer: the lcore inside its hook. Slots are added as queues appear; none is taken
 * out, and none starts anew while the session lasts.
 *
 * This header is read by the C compiler and by cffi: declarations and plain #defines
 * only. Whoever reads or writes a counter does it with one relaxed access of 64 bits.
 */
#ifndef DPCAP_COUNTERS_H
#define DPCAP_COUNTERS_H

#include <stdint.h>

#define DPCAP_COUNTERS_MAGIC 0x31544e4341435044 /* "DPCACNT1" in memory */
#define DPCAP_COUNTERS_VERSION 1
#define DPCAP_COUNTERS_SLOTS 4096 /* 32 ports, 64 queues, both directions */
#define DPCAP_COUNTERS_BURSTS 16

/* Of one queue and direction. Four cache lines; the lcore needs two of them for a burst. */
struct dpcap_counters {
	/* Constant. */
	uint16_t port;
	uint16_t queue;
	uint32_t direction; /* DPCAP_DIRECTION_* */

	/* Of all captures of this queue in the process. Written some times a second. */
	uint64_t captured; /* packets that their filters accepted */
	uint64_t dropped;  /* of these: that found the ring full */
	uint64_t reserved[5];

	/* Written by the lcore. */
	uint64_t packets;
	uint64_t bytes;		/* of their frames, as the mbuf has them: without FCS and stripped tags */
	uint64_t matched;	/* packets that the session's filter accepts; 0 without a filter */
	uint64_t matched_bytes;
	uint64_t empty_polls;	/* receive calls that found nothing */
	uint64_t missed; /* packets of threads that found the queue taken: in no other counter */
	uint64_t reserved_2[2];
	uint64_t bursts[DPCAP_COUNTERS_BURSTS]; /* [i]: of 2^i to 2^(i + 1) - 1 packets */
};

struct dpcap_counter_table {
	uint64_t magic;
	uint32_t version;
	uint32_t n_slots; /* in use; grows, and is written after the slot is filled */
	uint64_t reserved[6];
	struct dpcap_counters slots[DPCAP_COUNTERS_SLOTS];
};

#endif /* DPCAP_COUNTERS_H */
