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
 * the data is the counter modulo data_size. Neither side trusts the other: each
 * keeps its own counter privately and takes the other's as a number to check.
 *
 * What was published is all that counts: when the application dies in the middle
 * of a block, head still ends at the last complete burst.
 *
 * A hook writes a burst like this, and only when some packet matched:
 *
 *	dpcap_ring_begin(w);                      before the time is read
 *	epb.ts_ns = dpcap_ring_stamp(w, now);
 *	for each matching packet:
 *		dpcap_epb_put(w, &epb, data);     epb.h; counts and drops by itself
 *	dpcap_ring_publish(w);                    one release store
 *
 * begin, stamp, reserve, commit and publish make no system call and take no lock.
 * One thread at a time may use a writer.
 */
#ifndef DPCAP_RING_H
#define DPCAP_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DPCAP_RING_MAGIC 0x31474e5241434450ULL /* "PDCARNG1" in memory */
#define DPCAP_RING_VERSION 1

#define DPCAP_RING_DEFAULT_SIZE (4ULL << 20) /* stays inside the last-level cache */
#define DPCAP_RING_MIN_SIZE (64ULL << 10)
#define DPCAP_RING_MAX_SIZE (1ULL << 30)
#define DPCAP_SNAPLEN_MAX 262144 /* as in libpcap: MAXIMUM_SNAPLEN */

/*
 * head is a multiple of 4, as every block is. Its lowest bit says that the writer
 * is inside a burst: it may already have read the time of blocks that it has yet
 * to publish. While the bit is clear the ring promises that later blocks carry
 * later times: this is what makes merging exact (drain.h).
 */
#define DPCAP_RING_BUSY 1ULL

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

	/* Written by the hook when packets matched; polled by the reader. */
	_Alignas(64) _Atomic uint64_t head; /* bytes ever written | DPCAP_RING_BUSY */
	_Atomic uint64_t accepted;	    /* packets the filter accepted */
	_Atomic uint64_t dropped;	    /* accepted packets that found the ring full */
	_Atomic uint32_t closed;	    /* 1: the hook is gone, nothing more will come */

	/* Written by the shim some times a second; read for statistics only. A line of
	 * its own: a polling reader would take it away from the writer each time. */
	_Alignas(64) _Atomic uint64_t received; /* packets the hook saw */

	/* Written by the reader. */
	_Alignas(64) _Atomic uint64_t tail; /* bytes ever consumed */
};

/* ---- Writer ---------------------------------------------------------------- */

struct dpcap_ring_params {
	uint64_t data_size;    /* bytes; rounded up to a power of two; 0: default */
	uint32_t interface_id; /* pcapng interface id */
	uint16_t port;
	uint16_t queue;
	uint32_t direction; /* 1 inbound, 2 outbound */
	uint32_t snaplen;   /* bytes kept of a packet, 1..DPCAP_SNAPLEN_MAX */
};

/*
 * The writer's private side. Everything that decides where it writes is in here
 * and not in the shared memory. The fields are for the inline functions.
 */
struct dpcap_ring_writer {
	_Alignas(64) uint8_t *data;
	uint64_t size; /* bytes of data, a power of two */
	uint64_t head; /* bytes ever written, published or not */
	uint64_t tail; /* the reader's counter when last looked at */
	struct dpcap_ring_shm *shm;
	uint64_t last_ns;  /* newest time handed out by dpcap_ring_stamp() */
	uint64_t received; /* packets */
	uint64_t accepted; /* packets */
	uint64_t dropped;  /* packets */
	uint64_t gap;	   /* packets dropped since the last block: its epb_dropcount */
	uint32_t interface_id;
	uint32_t direction;
	uint32_t snaplen;
	uint16_t port;
	uint16_t queue;
	int fd;
	size_t map_size; /* bytes mapped at shm */
};

/*
 * Make a ring. The memfd is sealed against shrinking and growing, so whoever holds
 * it cannot make the writer fault, and its pages are there before the first packet.
 * Not for lcores: it makes system calls. Returns NULL with errno set: EINVAL
 * (params), ENOMEM, ENOSPC (no shared memory left), EMFILE, ...
 */
struct dpcap_ring_writer *dpcap_ring_create(const struct dpcap_ring_params *params);

/* The memfd to pass to the reader; it stays owned by the writer. */
int dpcap_ring_fd(const struct dpcap_ring_writer *w);

/*
 * The memfd, from now on the caller's to close: the ring works without it. An
 * application with many queues has better uses for its descriptors.
 */
int dpcap_ring_take_fd(struct dpcap_ring_writer *w);

/* Bytes of the memfd, header included. */
uint64_t dpcap_ring_memfd_size(const struct dpcap_ring_writer *w);

/* Tell the reader that nothing more will come. Call when no lcore can be inside. */
void dpcap_ring_close(struct dpcap_ring_writer *w);

/* Unmap and free; NULL is allowed. A reader keeps its own mapping. */
void dpcap_ring_destroy(struct dpcap_ring_writer *w);

/* Count packets that the hook saw, matching or not. Another thread may do it. */
static inline void
dpcap_ring_received(struct dpcap_ring_writer *w, uint32_t packets)
{
	w->received += packets;
	atomic_store_explicit(&w->shm->received, w->received, memory_order_relaxed);
}

/* Count packets that the filter might have accepted and that nobody can look at any more. */
static inline void
dpcap_ring_lost(struct dpcap_ring_writer *w, uint32_t packets)
{
	w->accepted += packets;
	w->dropped += packets;
	w->gap += packets;
}

/*
 * Open a burst: call it before the burst's time is read, and dpcap_ring_publish()
 * afterwards in any case. A plain store; it is visible to the reader within the
 * time that a store buffer takes to drain, for which the reader allows.
 */
static inline void
dpcap_ring_begin(struct dpcap_ring_writer *w)
{
	atomic_store_explicit(&w->shm->head, w->head | DPCAP_RING_BUSY, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst); /* the clock is read after the store */
}

/* Times further back than this are a step of the clock, not jitter of its correction. */
#define DPCAP_RING_STEP_NS 1000000ULL

/*
 * The time to write for a burst read at now_ns: never less than an earlier one of
 * this ring, unless the real clock was set back.
 */
static inline uint64_t
dpcap_ring_stamp(struct dpcap_ring_writer *w, uint64_t now_ns)
{
	if (now_ns < w->last_ns && w->last_ns - now_ns < DPCAP_RING_STEP_NS)
		return w->last_ns;
	w->last_ns = now_ns;
	return now_ns;
}

/*
 * Room for a block of bytes, a multiple of 4: contiguous memory, or NULL when the
 * ring is too full (or smaller than the block). Nothing is taken before commit.
 * A tail that makes no sense counts as full: the worst a hostile reader gets is
 * its own data overwritten.
 */
static inline uint8_t *
dpcap_ring_reserve(struct dpcap_ring_writer *w, uint64_t bytes)
{
	uint64_t used = w->head - w->tail;

	if (__builtin_expect(bytes > w->size - used, 0)) {
		uint64_t tail = atomic_load_explicit(&w->shm->tail, memory_order_acquire);

		used = w->head - tail;
		if (used > w->size || bytes > w->size - used)
			return NULL;
		w->tail = tail;
	}
	return w->data + (w->head & (w->size - 1));
}

/* How far ahead of head the ring is fetched, and the most that is fetched at once; bytes. */
#ifndef DPCAP_RING_AHEAD
#define DPCAP_RING_AHEAD 2048 /* 0: not at all */
#endif

/*
 * Fetch as many of the ring's cache lines for writing as the next block of bytes takes,
 * further ahead. The reader has had them since they were last written; without this
 * the copy waits for each (benchmarks/ring.py). A prefetch cannot fault, and where the
 * CPU knows no prefetchw it is a no-op.
 */
static inline void
dpcap_ring_fetch_ahead(const struct dpcap_ring_writer *w, uint64_t bytes)
{
	const uint64_t end = w->head + (bytes < DPCAP_RING_AHEAD ? bytes : DPCAP_RING_AHEAD);

	for (uint64_t at = (w->head + 63) & ~63ULL; at < end; at += 64) {
		const uint8_t *line = w->data + ((at + DPCAP_RING_AHEAD) & (w->size - 1));
#if defined(__x86_64__)
		__asm__ volatile("prefetchw %0" : : "m"(*line));
#else
		__builtin_prefetch(line, 1);
#endif
	}
}

/* Take the bytes that were reserved and filled. Seen by the reader after publish. */
static inline void
dpcap_ring_commit(struct dpcap_ring_writer *w, uint64_t bytes)
{
	w->head += bytes;
}

/* Show the burst's blocks and counters to the reader and close the burst. */
static inline void
dpcap_ring_publish(struct dpcap_ring_writer *w)
{
	atomic_store_explicit(&w->shm->accepted, w->accepted, memory_order_relaxed);
	atomic_store_explicit(&w->shm->dropped, w->dropped, memory_order_relaxed);
	atomic_store_explicit(&w->shm->head, w->head, memory_order_release);
}

/* ---- Reader ---------------------------------------------------------------- */

/* Most users want a drain (drain.h), which merges and writes out many rings. */
struct dpcap_ring_reader {
	struct dpcap_ring_shm *shm;
	const uint8_t *data;
	uint64_t size; /* bytes of data; checked, and private: the header is not trusted again */
	uint64_t tail; /* bytes ever consumed */
	uint32_t interface_id;
	uint32_t direction;
	uint32_t snaplen;
	uint16_t port;
	uint16_t queue;
	size_t map_size; /* bytes mapped at shm; 0: the mapping is somebody else's */
};

/* What is readable now: one contiguous run of bytes. */
struct dpcap_ring_span {
	const uint8_t *data;
	uint64_t bytes;
	bool busy; /* the writer was inside a burst when head was read */
};

/*
 * Map the ring behind fd; the descriptor may be closed afterwards. Nothing in the
 * memfd is believed: its size, seals and header are checked. Returns 0 or -errno:
 * -EPERM (not sealed: the writer could make us fault by truncating), -EPROTO
 * (not a ring, or another version), -ENOMEM, -EBADF, ...
 */
int dpcap_ring_open(struct dpcap_ring_reader *r, int fd);

/* Unmap. The rest of the ring's content stays unread. */
void dpcap_ring_reader_close(struct dpcap_ring_reader *r);

/*
 * Everything published and not yet consumed. Returns 0, or -EPROTO when the
 * writer's counter makes no sense. What the blocks contain may be wrong and may
 * even change while it is read: see dpcap_epb_check() in epb.h.
 */
int dpcap_ring_readable(const struct dpcap_ring_reader *r, struct dpcap_ring_span *span);

/* Give bytes (at most the span's) back to the writer. */
void dpcap_ring_consume(struct dpcap_ring_reader *r, uint64_t bytes);

/* 1 after dpcap_ring_close(); what was published before is readable by then. */
bool dpcap_ring_is_closed(const struct dpcap_ring_reader *r);

#endif /* DPCAP_RING_H */
