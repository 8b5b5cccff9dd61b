/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hot path. Per burst and session: run the filter over the packets, and only
 * when some match read the time once, copy those into the ring as EPBs, publish once; a
 * session that counts adds up instead.
 * No lock, no system call, no allocation; nothing is written but the session's ring,
 * the scratch memory of the queue and the counters.
 */
#include <string.h>

#include "epb.h"
#include "frame.h"
#include "hooks.h"
#include "proto.h"
#include "queue.h"

struct dpcap_clock hooks_clock;

#define RX_CSUM_MASK (RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK)
#define RX_CSUM_GOOD (RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD)
/* Segmentation implies the checksums of the segments. */
#define TX_CSUM_PENDING                                                                      \
	(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG | \
	 RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM)

static __rte_always_inline uint32_t
packet_flags(const struct sink *sink, const struct rte_mbuf *m, const struct frame *frame, bool rx)
{
	uint32_t flags = 0;

	if (rx) {
		flags = dpcap_epb_reception(frame->data, frame->len,
				       atomic_load_explicit(&sink->mac, memory_order_relaxed));
		if ((m->ol_flags & RX_CSUM_MASK) == RX_CSUM_GOOD)
			flags |= DPCAP_EPB_CSUM_VALID;
	} else {
		if (m->ol_flags & TX_CSUM_PENDING)
			flags |= DPCAP_EPB_CSUM_NOT_READY;
		if (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG)
			flags |= DPCAP_EPB_TSO;
	}
	return flags;
}

static inline uint64_t
run_filter(const struct sink *sink, const struct frame *frame)
{
	if (__builtin_expect(sink->jit != NULL, 1))
		return sink->jit(frame->data, frame->len, frame->wirelen, sink->meta);
	/* The verifier has proved that a packet program does not write to it. */
	return dpcap_vm_interp(sink->prog, (void *)(uintptr_t)frame->data, frame->len, frame->wirelen,
			       sink->meta);
}

/* Open the burst in the ring; returns its time. */
static inline uint64_t
open_burst(struct sink *sink)
{
	dpcap_ring_begin(sink->ring);
	return dpcap_ring_stamp(sink->ring, dpcap_clock_now(&hooks_clock));
}

static __rte_always_inline void
put_packet(struct sink *sink, const struct rte_mbuf *m, const struct frame *frame, uint64_t keep,
	   uint64_t ts_ns, bool rx)
{
	struct dpcap_epb epb = {
		.ts_ns = ts_ns,
		.caplen = dpcap_epb_caplen(sink->ring, frame->len),
		.origlen = frame->wirelen,
		.flags = packet_flags(sink, m, frame, rx),
		.hash = m->hash.rss,
		.has_hash = rx && (m->ol_flags & RTE_MBUF_F_RX_RSS_HASH) != 0,
	};

	if (!sink->whole && keep < epb.caplen)
		epb.caplen = (uint32_t)keep;
	dpcap_epb_put(sink->ring, &epb, frame->data);
}

/* Tell the chooser what a burst costs; it says what to run next. */
static __attribute__((noinline)) uint64_t
measured_burst(struct sink *sink, struct rte_mbuf *const *pkts, uint16_t n)
{
	const uint64_t start = dpcap_clock_ticks(&hooks_clock);
	const uint64_t matched = sink->burst((void *const *)pkts, n, sink->meta);
	const uint64_t cycles = dpcap_clock_passed(&hooks_clock, start);

	sink->burst = sink->bursts[chooser_step(&sink->chooser, cycles, n, &sink->bursts_left)];
	return matched;
}

/*
 * Which of up to DPCAP_VM_MAX_BURST packets match, whose bytes lie in the mbufs as they
 * are on the wire.
 */
static __rte_always_inline uint64_t
match_plain(struct sink *sink, struct rte_mbuf *const *pkts, uint16_t n)
{
	if (__builtin_expect(--sink->bursts_left != 0, 1))
		return sink->burst((void *const *)pkts, n, sink->meta);
	return measured_burst(sink, pkts, n);
}

static __rte_always_inline void
plain_burst(struct sink *sink, struct rte_mbuf *const *pkts, uint16_t n, bool rx)
{
	uint64_t matched = match_plain(sink, pkts, n);
	uint64_t ts_ns;

	if (__builtin_expect(matched == 0, 1))
		return;
	ts_ns = open_burst(sink);
	for (; matched != 0; matched &= matched - 1) {
		const struct rte_mbuf *m = pkts[__builtin_ctzll(matched)];
		struct frame frame = frame_plain(m);

		put_packet(sink, m, &frame, UINT64_MAX, ts_ns, rx);
	}
	dpcap_ring_publish(sink->ring);
}

static inline struct frame
any_frame(const struct rte_mbuf *m, struct queue_ctx *ctx, uint64_t tag_flags)
{
	return frame_is_plain(m, tag_flags)
		? frame_plain(m)
		: frame_linearise(m, tag_flags, ctx->scratch, QUEUE_SCRATCH_SIZE);
}

/* Packets of any make, one by one. */
static void
mixed_burst(struct sink *sink, struct queue_ctx *ctx, struct rte_mbuf *const *pkts, uint16_t n, bool rx)
{
	const uint64_t tag_flags = rx ? FRAME_RX_TAGS : FRAME_TX_TAGS;
	bool open = false;
	uint64_t ts_ns = 0;
	uint16_t i;

	for (i = 0; i < n; i++) {
		struct frame frame = any_frame(pkts[i], ctx, tag_flags);
		uint64_t keep = run_filter(sink, &frame);

		if (keep == 0)
			continue;
		if (!open)
			ts_ns = open_burst(sink);
		open = true;
		put_packet(sink, pkts[i], &frame, keep, ts_ns, rx);
	}
	if (open)
		dpcap_ring_publish(sink->ring);
}

/* The control thread tells the reader: the line of the ring's header would be one more
 * to wait for in every burst. */
static __rte_always_inline void
count_received(struct sink *sink, uint32_t n)
{
	const uint64_t received = atomic_load_explicit(&sink->received, memory_order_relaxed);

	atomic_store_explicit(&sink->received, received + n, memory_order_relaxed);
}

static __rte_always_inline void
run_sink(struct sink *sink, struct queue_ctx *ctx, struct rte_mbuf *const *pkts, uint16_t n, bool rx)
{
	const uint64_t tag_flags = rx ? FRAME_RX_TAGS : FRAME_TX_TAGS;
	uint16_t chunk;

	count_received(sink, n);
	for (; n > 0; pkts += chunk, n -= chunk) {
		chunk = n < DPCAP_VM_MAX_BURST ? n : DPCAP_VM_MAX_BURST;
		if (sink->burst != NULL && frame_all_plain(pkts, chunk, tag_flags))
			plain_burst(sink, pkts, chunk, rx);
		else
			mixed_burst(sink, ctx, pkts, chunk, rx);
	}
}

/* ---- Counting --------------------------------------------------------------- */

static uint64_t
match_mixed(const struct sink *sink, struct queue_ctx *ctx, struct rte_mbuf *const *pkts, uint16_t n,
	    uint64_t tag_flags)
{
	uint64_t matched = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct frame frame = any_frame(pkts[i], ctx, tag_flags);

		matched |= (uint64_t)(run_filter(sink, &frame) != 0) << i;
	}
	return matched;
}

static void
count_matches(struct sink *sink, struct queue_ctx *ctx, struct rte_mbuf *const *pkts, uint16_t n, bool rx)
{
	const uint64_t tag_flags = rx ? FRAME_RX_TAGS : FRAME_TX_TAGS;
	uint64_t matched, packets = 0, bytes = 0;
	uint16_t chunk;

	for (; n > 0; pkts += chunk, n -= chunk) {
		chunk = n < DPCAP_VM_MAX_BURST ? n : DPCAP_VM_MAX_BURST;
		if (sink->burst != NULL && frame_all_plain(pkts, chunk, tag_flags))
			matched = match_plain(sink, pkts, chunk);
		else
			matched = match_mixed(sink, ctx, pkts, chunk, tag_flags);
		for (; matched != 0; matched &= matched - 1, packets++)
			bytes += pkts[__builtin_ctzll(matched)]->pkt_len;
	}
	if (packets == 0)
		return;
	counter_add(&sink->counters->matched, packets);
	counter_add(&sink->counters->matched_bytes, bytes);
}

/* Out of line: captures do without it. */
static __attribute__((noinline)) void
count_burst(struct sink *sink, struct queue_ctx *ctx, struct rte_mbuf *const *pkts, uint16_t n, bool rx)
{
	struct dpcap_counters *counters = sink->counters;
	uint64_t bytes = 0;

	if (n == 0) {
		counter_add(&counters->empty_polls, 1);
		return;
	}
	for (uint16_t i = 0; i < n; i++)
		bytes += pkts[i]->pkt_len;
	counter_add(&counters->packets, n);
	counter_add(&counters->bytes, bytes);
	counter_add(&counters->bursts[31 - __builtin_clz(n)], 1);
	if (sink->prog != NULL)
		count_matches(sink, ctx, pkts, n, rx);
}

/* ---- Queues ----------------------------------------------------------------- */

/* Packets that a hook had to let pass: nobody knows what the filter would have said. */
static __attribute__((noinline, cold)) void
account_missed(struct queue_ctx *ctx, struct sink *sink)
{
	uint32_t missed = atomic_exchange_explicit(&ctx->missed, 0, memory_order_relaxed);

	for (; sink != NULL; sink = queue_next(&sink->next)) {
		if (sink->counters != NULL) {
			counter_add(&sink->counters->missed, missed);
			continue;
		}
		count_received(sink, missed);
		dpcap_ring_lost(sink->ring, missed);
	}
}

static __rte_always_inline void
run_queue(struct queue_ctx *ctx, struct rte_mbuf *const *pkts, uint16_t n, bool rx)
{
	struct sink *sink = queue_enter(ctx, n, rx);

	if (sink == NULL)
		return;
	if (__builtin_expect(atomic_load_explicit(&ctx->missed, memory_order_relaxed) != 0, 0))
		account_missed(ctx, sink);
	for (; sink != NULL; sink = queue_next(&sink->next))
		if (__builtin_expect(sink->counters == NULL, 1))
			run_sink(sink, ctx, pkts, n, rx);
		else
			count_burst(sink, ctx, pkts, n, rx);
	queue_leave(ctx);
}

uint16_t
hooks_rx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *ctx)
{
	(void)port;
	(void)queue;
	(void)max;
	/* Runs on empty polls too. */
	if (n != 0 || queue_is_watched(ctx))
		run_queue(ctx, pkts, n, true);
	return n;
}

uint16_t
hooks_tx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, void *ctx)
{
	(void)port;
	(void)queue;
	if (n != 0)
		run_queue(ctx, pkts, n, false);
	return n;
}
