/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the drain share: drain.c (life, counters), drain_merge.c (which
 * blocks are next), drain_out.c (write them, account for them). */
#ifndef DPCAP_DRAIN_INTERNAL_H
#define DPCAP_DRAIN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "drain.h"
#include "epb.h"
#include "ring.h"

/* Blocks handed to one writev(2). Small enough that the rings get their room back
 * while there is still room in them. */
#define BATCH_BYTES (512ULL << 10)
#define BATCH_RUNS 1024 /* IOV_MAX of Linux */

/* A call returns after so much, for the caller to look after signals and sockets. */
#define CALL_BYTES (8ULL << 20)

/* One ring. Positions count bytes as head and tail do; tail <= pos <= limit. */
struct source {
	struct dpcap_ring_reader ring;
	uint64_t pos;	/* the next block to queue */
	uint64_t limit; /* head when it was last read */
	uint64_t seen;	/* head when it was read before that */
	struct dpcap_epb_info next; /* the block at pos, when pos < limit */

	bool busy;	     /* the writer was inside a burst */
	uint64_t busy_since; /* when that burst was first seen, ns; 0: not busy */
	uint64_t promise;    /* blocks beyond limit are not older than this, ns */
	uint64_t queued_ns;  /* time of the block before pos */
	bool ended;	     /* the caller says that the writer is gone */
	bool corrupt;

	uint64_t packets;
	uint64_t announced; /* drops, by the blocks written */
	uint64_t bytes;
	uint64_t late;
	uint64_t first_ns;
	uint64_t last_ns;
};

/* Consecutive blocks of one ring, queued for writing. */
struct run {
	uint32_t source;
	uint32_t packets;
	uint32_t late; /* of those packets */
	uint64_t dropped; /* before them, as they say */
	uint64_t bytes;
	uint64_t first_ns;
	uint64_t last_ns;
};

/* What may be queued at most. */
struct quota {
	uint64_t packets;
	uint64_t bytes;
	uint64_t until_ns; /* only blocks older than this */
	bool oversize;	   /* the first block may be larger than bytes */
};

struct dpcap_drain {
	uint64_t slack_ns;
	uint64_t patience_ns;
	struct source *sources;
	uint32_t n_sources;

	/* Sources with a block to offer, as a binary heap: the oldest block first. */
	uint32_t *heap;
	uint32_t n_heap;
	uint64_t horizon; /* blocks up to this time may go out, ns */
	bool flush;	  /* no waiting: the horizon stays open */

	struct run runs[BATCH_RUNS];
	struct iovec iov[BATCH_RUNS];
	uint32_t n_runs;

	uint64_t newest_ns; /* newest time queued or written */

	/* A block that was written in part: it comes first. */
	uint64_t partial; /* bytes already written; 0: there is none */
	uint32_t partial_source;
	struct dpcap_epb_info partial_info;

	uint64_t last_ns; /* newest time written */
};

/* Look at all rings, and forget what was queued. flags as of dpcap_drain_write(). */
void drain_look(struct dpcap_drain *d, uint32_t flags);

/*
 * Queue the next blocks in order of time into runs and iov. Returns why the queue is
 * not longer: DPCAP_DRAIN_*, AGAIN when it is full.
 */
uint32_t drain_queue(struct dpcap_drain *d, const struct quota *quota);

/* Parse the block at s->pos, if there is one; false: no. */
bool drain_peek(struct source *s);

#endif /* DPCAP_DRAIN_INTERNAL_H */
