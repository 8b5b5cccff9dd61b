/* SPDX-License-Identifier: BSD-3-Clause */
/* Which blocks may go out, and in which order: drain.h says why this is exact. */
#include <time.h>

#include "drain_internal.h"

static const uint8_t *
block_at(const struct source *s, uint64_t pos)
{
	return s->ring.data + (pos & (s->ring.size - 1));
}

/* Stop reading a ring that cannot be understood; what was good in it is kept. */
static void
give_up(struct source *s)
{
	s->corrupt = true;
	s->limit = s->pos;
	s->promise = UINT64_MAX;
}

bool
drain_peek(struct source *s)
{
	if (s->pos == s->limit)
		return false;
	if (!dpcap_epb_check(block_at(s, s->pos), s->limit - s->pos, &s->next) ||
	    s->next.interface_id != s->ring.interface_id || s->next.caplen > s->ring.snaplen) {
		give_up(s);
		return false;
	}
	return true;
}

/* ---- The heap: sources by the time of their next block ----------------------- */

static bool
older(const struct dpcap_drain *d, uint32_t a, uint32_t b)
{
	const uint64_t ta = d->sources[a].next.ts_ns, tb = d->sources[b].next.ts_ns;

	return ta < tb || (ta == tb && a < b);
}

static void
sift_down(struct dpcap_drain *d, uint32_t i)
{
	uint32_t *const h = d->heap;
	const uint32_t moving = h[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= d->n_heap)
			break;
		if (child + 1 < d->n_heap && older(d, h[child + 1], h[child]))
			child++;
		if (!older(d, h[child], moving))
			break;
		h[i] = h[child];
		i = child;
	}
	h[i] = moving;
}

/* The time until which the first of the heap stays the first. */
static uint64_t
second_oldest(const struct dpcap_drain *d)
{
	uint64_t ns = UINT64_MAX;

	for (uint32_t i = 1; i < d->n_heap && i < 3; i++)
		if (d->sources[d->heap[i]].next.ts_ns < ns)
			ns = d->sources[d->heap[i]].next.ts_ns;
	return ns;
}

/* ---- Looking at the rings ------------------------------------------------------ */

static uint64_t
realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Read head, once for this run. */
static void
look_at(struct source *s)
{
	/* Before head, so that whatever was published before closing is seen. */
	const bool gone = s->ended || dpcap_ring_is_closed(&s->ring);
	struct dpcap_ring_span span;

	s->pos = s->limit = s->ring.tail;
	if (s->corrupt)
		return;
	if (dpcap_ring_readable(&s->ring, &span) != 0) {
		give_up(s);
		return;
	}
	s->limit = s->pos + span.bytes;
	if (!span.busy || s->limit != s->seen)
		s->busy_since = 0; /* not the burst that was seen before */
	s->seen = s->limit;
	s->busy = span.busy;
	if (gone)
		s->promise = UINT64_MAX;
}

/* now was read before head was. */
static void
renew_promise(struct source *s, uint64_t now, uint64_t slack, uint64_t patience)
{
	if (s->busy) {
		if (s->busy_since == 0)
			s->busy_since = now;
		if (now - s->busy_since < patience)
			return;
	}
	if (s->promise < now - slack)
		s->promise = now - slack;
}

/* A ring has no more blocks to offer: what it may still bring bounds the others. */
static void
exhausted(struct dpcap_drain *d, const struct source *s)
{
	const uint64_t ns = s->promise > s->queued_ns ? s->promise : s->queued_ns;

	if (!d->flush && ns < d->horizon)
		d->horizon = ns;
}

void
drain_look(struct dpcap_drain *d, uint32_t flags)
{
	const uint64_t now = realtime_ns();
	uint64_t patience = d->patience_ns;

	for (uint32_t i = 0; i < d->n_sources; i++) {
		struct source *s = &d->sources[i];

		look_at(s);
		/* Better out of order than lost: a ring that fills cannot wait. */
		if (s->limit - s->pos > s->ring.size / 4 * 3)
			patience = 0;
	}

	d->flush = (flags & DPCAP_DRAIN_FLUSH) != 0;
	d->n_runs = 0;
	d->n_heap = 0;
	d->newest_ns = d->last_ns;
	d->horizon = UINT64_MAX;
	for (uint32_t i = 0; i < d->n_sources; i++) {
		struct source *s = &d->sources[i];

		renew_promise(s, now, d->slack_ns, patience);
		s->queued_ns = s->last_ns;
		if (drain_peek(s))
			d->heap[d->n_heap++] = i;
		else
			exhausted(d, s);
	}
	for (uint32_t i = d->n_heap / 2; i-- > 0;)
		sift_down(d, i);
}

/* ---- Queueing ------------------------------------------------------------------ */

/* The run to add blocks of source i to: the last one, or a new one. */
static struct run *
open_run(struct dpcap_drain *d, uint32_t i)
{
	struct run *run;

	if (d->n_runs > 0 && d->runs[d->n_runs - 1].source == i)
		return &d->runs[d->n_runs - 1];
	run = &d->runs[d->n_runs];
	*run = (struct run){.source = i};
	d->iov[d->n_runs].iov_base = (void *)block_at(&d->sources[i], d->sources[i].pos);
	d->iov[d->n_runs].iov_len = 0;
	d->n_runs++;
	return run;
}

/* How far ahead of the walk lines are fetched, and how many bytes for each block. */
#define FETCH_AHEAD 1024
#define FETCH_MOST 256

/*
 * The blocks lie in the cache of the writer's core, and the walk finds the next one
 * only when it has read this one: ask for lines ahead. Large blocks need no more than
 * their ends, the rest streams by itself when it is copied.
 */
static void
fetch_ahead(const struct source *s)
{
	const uint64_t end = s->pos + (s->next.size < FETCH_MOST ? s->next.size : FETCH_MOST);

	for (uint64_t at = (s->pos + 63) & ~63ULL; at < end; at += 64)
		__builtin_prefetch(block_at(s, at + FETCH_AHEAD));
}

/* Append the source's next block. */
static void
take(struct dpcap_drain *d, struct source *s, struct run *run)
{
	const uint64_t ns = s->next.ts_ns;

	fetch_ahead(s);
	if (run->packets++ == 0)
		run->first_ns = ns;
	run->last_ns = ns;
	if (ns < d->newest_ns)
		run->late++;
	else
		d->newest_ns = ns;
	run->dropped += s->next.dropped;
	run->bytes += s->next.size;
	s->pos += s->next.size;
	s->queued_ns = ns;
}

static bool
fits(const struct source *s, const struct quota *quota, uint64_t bytes)
{
	return bytes < quota->bytes && s->next.size <= quota->bytes - bytes;
}

uint32_t
drain_queue(struct dpcap_drain *d, const struct quota *quota)
{
	uint64_t packets = 0, bytes = 0;

	d->n_runs = 0;
	while (d->n_heap > 0) {
		const uint32_t i = d->heap[0];
		struct source *s = &d->sources[i];
		uint64_t until = second_oldest(d);
		struct run *run;
		bool more;

		if (s->next.ts_ns > d->horizon)
			return DPCAP_DRAIN_IDLE;
		if (s->next.ts_ns >= quota->until_ns)
			return DPCAP_DRAIN_TIME;
		if (packets == quota->packets)
			return DPCAP_DRAIN_PACKETS;
		if (!fits(s, quota, bytes) && !(quota->oversize && bytes == 0))
			return DPCAP_DRAIN_BYTES;
		if (bytes >= BATCH_BYTES || d->n_runs == BATCH_RUNS)
			return DPCAP_DRAIN_AGAIN;

		/* Its blocks come first until another ring's is older, or a limit. */
		if (until > d->horizon)
			until = d->horizon;
		if (until > quota->until_ns - 1)
			until = quota->until_ns - 1;
		run = open_run(d, i);
		do {
			packets++;
			bytes += s->next.size;
			take(d, s, run);
			more = drain_peek(s);
		} while (more && s->next.ts_ns <= until && packets < quota->packets && bytes < BATCH_BYTES &&
			 fits(s, quota, bytes));
		d->iov[d->n_runs - 1].iov_len = run->bytes;

		if (!more) {
			exhausted(d, s);
			d->heap[0] = d->heap[--d->n_heap];
		}
		if (d->n_heap > 0)
			sift_down(d, 0);
	}
	return DPCAP_DRAIN_IDLE;
}
