/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The drain: many rings in, one stream of pcapng blocks out, ordered by time. The
 * bytes of a block are never changed and, when they go to a file, never copied here:
 * write(2) takes them from the rings.
 *
 * This header is read by the C compiler and by cffi: declarations and plain
 * #defines only.
 *
 * How the order is made exact
 * ---------------------------
 * Within a ring, times only grow. To hand out a block of ring B, one must know that
 * ring A, empty just now, will not come up with an older one. Waiting for a fixed
 * window is a guess: an lcore that read the clock and was then preempted breaks it.
 * Instead the writer marks its ring busy before it reads the clock and clears the mark
 * with the store that publishes the burst (DPCAP_RING_BUSY, one more store in bursts
 * that match). The drain reads the real time T first and then head. If the mark is
 * clear, every block that is not in head yet belongs to a burst that opens later, so
 * its time is at least T - slack; slack covers the writer's store buffer and the
 * difference of the two clocks. If the mark is set, the ring's last promise stands.
 * Blocks up to the smallest promise of all rings go out; the others wait for the next
 * run. A ring that is busy for longer than patience is not waited for any more,
 * and neither is any ring while another one is too full to wait; blocks that then come
 * too late are written anyway and counted (late_packets).
 */
#ifndef DPCAP_DRAIN_H
#define DPCAP_DRAIN_H

#include <stddef.h>
#include <stdint.h>

/*
 * Nanoseconds; see above. The slack is the delay of a packet while other rings are idle.
 * A store buffer drains in less than one microsecond; the rest is for clocks that were not
 * corrected for a while (5 ppm in 40 s). Packets stamped by the NIC need milliseconds.
 */
#define DPCAP_DRAIN_SLACK_NS 200000
#define DPCAP_DRAIN_PATIENCE_NS 1000000000

/* Flags of dpcap_drain_write() and dpcap_drain_read(). */
#define DPCAP_DRAIN_FLUSH 1 /* wait for nobody: the capture ends */

/* Why a run ended. */
#define DPCAP_DRAIN_IDLE 0    /* nothing more may go out now */
#define DPCAP_DRAIN_PACKETS 1 /* max_packets reached */
#define DPCAP_DRAIN_BYTES 2   /* the next block would pass max_bytes */
#define DPCAP_DRAIN_TIME 3    /* the next block is not older than until_ns */
#define DPCAP_DRAIN_AGAIN 4   /* the call has done its share; more is ready */
#define DPCAP_DRAIN_ERROR 5   /* write(2) failed: see error */

struct dpcap_drain;

/* Where to stop; 0: no limit. What is beyond stays in the rings for the next run. */
struct dpcap_drain_limits {
	uint64_t max_packets; /* in this run */
	uint64_t max_bytes;   /* in this run; at least one block is written */
	uint64_t until_ns;    /* only blocks older than this: time to start another file */
};

struct dpcap_drain_result {
	uint64_t packets; /* written whole in this run */
	uint64_t bytes;	  /* of those packets' blocks */
	uint32_t stop;	  /* DPCAP_DRAIN_IDLE ... */
	int32_t error;	  /* errno when stop is DPCAP_DRAIN_ERROR, else 0 */
	/*
	 * Bytes of a block that is not whole yet, at the end of the output. The next
	 * run goes on in its middle. Who wants to stop there cuts the file by as many
	 * bytes and calls dpcap_drain_cut().
	 */
	uint64_t partial;
	uint64_t last_ns; /* time of the newest block written so far, 0: none */
};

struct dpcap_drain_ring_stats {
	uint32_t interface_id;
	uint32_t direction; /* 1 inbound, 2 outbound */
	uint16_t port;
	uint16_t queue;
	uint16_t ended;	  /* 1: the writer is gone and the ring is empty */
	uint16_t corrupt; /* 1: the content made no sense; the ring is read no more */
	uint64_t received; /* packets the hook saw */
	uint64_t accepted; /* packets the filter accepted */
	uint64_t dropped;  /* accepted packets that found the ring full */
	uint64_t packets;  /* written */
	uint64_t announced; /* drops that those packets tell of: of the ring up to the last of them */
	uint64_t bytes;	   /* of blocks written */
	uint64_t pending;  /* bytes published and not yet written */
	uint64_t late_packets; /* written after a younger one */
	uint64_t first_ns; /* time of the first and the newest packet written, 0: none */
	uint64_t last_ns;
};

/* An empty drain, or NULL with errno ENOMEM. Not for several threads at once. */
struct dpcap_drain *dpcap_drain_create(uint64_t slack_ns, uint64_t patience_ns);

/* Unmap all rings and free; NULL is allowed. */
void dpcap_drain_destroy(struct dpcap_drain *d);

/*
 * Add the ring behind memfd fd, which may be closed afterwards. At any time, also
 * between runs. Returns its index (0, 1, 2, ...) or -errno as dpcap_ring_open().
 */
int dpcap_drain_add(struct dpcap_drain *d, int fd);

/*
 * The writer of ring index will write no more (the application died, or the
 * session was closed); -1: none of them will. Returns 0 or -EINVAL.
 */
int dpcap_drain_end(struct dpcap_drain *d, int index);

/*
 * Write what may go out to fd, in one stream of whole blocks, until a limit is reached,
 * nothing is left, a write is short, or a few megabytes were written (stop = AGAIN: call
 * again). A failed write is reported with its errno and loses nothing: the blocks stay
 * in the rings. EINTR and EAGAIN are reported too (so that signals get handled): call
 * again, after poll(2) for EAGAIN. Returns 0, or -errno when the call itself is wrong.
 */
int dpcap_drain_write(struct dpcap_drain *d, int fd, uint32_t flags, const struct dpcap_drain_limits *limits,
		      struct dpcap_drain_result *result);

/*
 * The same into memory: whole blocks, at most size bytes. stop is BYTES when the
 * next block does not fit; result->packets 0 then means that size is too small.
 */
int dpcap_drain_read(struct dpcap_drain *d, void *buffer, size_t size, uint32_t flags,
		     const struct dpcap_drain_limits *limits, struct dpcap_drain_result *result);

/* The caller took the partial block off the output again; it will be written anew. */
void dpcap_drain_cut(struct dpcap_drain *d);

/*
 * Allocate disk space for bytes at offset of a file, without changing its size. A full
 * disk is then known before packets are taken from the rings, and writes cost less
 * (benchmarks/ring.py): a tenth on ext4, where allocating is nearly free, and a fifth on
 * tmpfs, where allocating costs what it saves: do it in another thread. Take back what was not used by
 * ftruncate(2) to the size that the file has. Returns 0 or -errno: -EOPNOTSUPP (the file
 * system cannot, do without), -ESPIPE and -ENODEV (no file), -ENOSPC, -EFBIG, ...
 */
int dpcap_drain_reserve(int fd, uint64_t offset, uint64_t bytes);

/* Bytes published and not yet written, over all rings: 0 means sleep a little. */
uint64_t dpcap_drain_pending(const struct dpcap_drain *d);

/*
 * Sleep nap_ns, at least once and at most naps times, until something is pending. An idle
 * capture spends its life in here, where a look at the rings costs next to nothing.
 * Returns 1 (pending), 0 (nothing came), or -EINTR, so that signals get handled.
 */
int dpcap_drain_wait(const struct dpcap_drain *d, uint64_t nap_ns, uint32_t naps);

/* 1: every writer is gone and everything was written. */
int dpcap_drain_done(const struct dpcap_drain *d);

/* Rings that were added. */
int dpcap_drain_count(const struct dpcap_drain *d);

/* Counters of ring index. Returns 0 or -EINVAL. */
int dpcap_drain_stats(const struct dpcap_drain *d, int index, struct dpcap_drain_ring_stats *stats);

#endif /* DPCAP_DRAIN_H */
