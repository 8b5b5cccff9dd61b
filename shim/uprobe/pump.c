/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bpf_ring.h"
#include "dpcap_vm.h"
#include "epb.h"
#include "mbuf.h"
#include "pump.h"
#include "records.h"
#include "refusals.h"

#define PACKETS_SIZE (16ULL << 20) /* of the map packets */
#define REFUSALS_SIZE (256ULL << 10)
#define BATCH 256	    /* packets between two publications */
#define NAP_NS 1000000	    /* when there is nothing to do */
#define STATISTICS_NS 20000000ULL
#define STEP_NS 10000	    /* less is not the clock's step but the measurement's noise */
/* A sender may be preempted inside of the driver; longer than this nobody waits for it. */
#define BURST_PATIENCE_NS 100000000ULL
/* After the end, a reader that does not read is not waited for. */
#define STOP_PATIENCE_NS 1500000000ULL

struct ring {
	struct dpcap_ring_writer *writer;
	uint64_t mac;
	uint64_t seen; /* already told to the reader */
	uint64_t lost;
	bool open; /* a burst of the writer is open */
};

struct dpcap_pump {
	struct bpf_ring packets;
	struct bpf_ring refusals_ring;
	struct refusals refusals;
	struct uprobe_counters *counters;
	struct uprobe_thread *threads;
	dpcap_vm_fn filter;

	struct ring rings[UPROBE_MAX_RINGS];
	_Atomic uint32_t n_rings;
	_Atomic bool stopping;

	int64_t real_offset; /* CLOCK_REALTIME - CLOCK_MONOTONIC, ns */
	uint64_t statistics_at; /* ns, when they were last told */
	uint64_t blocked_since; /* ns; 0: not */
};

static uint64_t
now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Follow steps of the real clock; both clocks run at the same rate. */
static void
look_at_clocks(struct dpcap_pump *pump)
{
	const uint64_t before = now_ns(CLOCK_MONOTONIC);
	const uint64_t real = now_ns(CLOCK_REALTIME);
	const uint64_t after = now_ns(CLOCK_MONOTONIC);
	const int64_t offset = (int64_t)(real - (before + (after - before) / 2));
	const int64_t change = offset - pump->real_offset;

	if (after - before < STEP_NS && (change > STEP_NS || change < -STEP_NS))
		pump->real_offset = offset;
}

/* Tell the reader what the kernel side has counted. */
static void
tell_statistics(struct dpcap_pump *pump)
{
	const uint32_t n = atomic_load_explicit(&pump->n_rings, memory_order_acquire);

	for (uint32_t i = 0; i < n; i++) {
		struct ring *r = &pump->rings[i];
		uint64_t seen = 0, lost = 0;

		for (uint32_t thread = 0; thread < UPROBE_MAX_THREADS && pump->threads[thread].tid != 0; thread++) {
			const volatile struct uprobe_counters *c =
				&pump->counters[thread * UPROBE_MAX_RINGS + i];

			seen += c->seen;
			lost += c->lost;
		}
		dpcap_ring_received(r->writer, (uint32_t)(seen - r->seen));
		r->seen = seen;
		if (lost != r->lost) {
			dpcap_ring_lost(r->writer, (uint32_t)(lost - r->lost));
			dpcap_ring_publish(r->writer);
			r->lost = lost;
		}
	}
}

static uint32_t
packet_flags(const struct ring *ring, const struct uprobe_record *record, const uint8_t *data)
{
	const uint64_t sums = MBUF_RX_IP_CKSUM_MASK | MBUF_RX_L4_CKSUM_MASK;
	uint32_t flags = 0;

	if (ring->writer->direction == UPROBE_IN) {
		flags = dpcap_epb_reception(data, record->caplen, ring->mac);
		if ((record->ol_flags & sums) == (MBUF_RX_IP_CKSUM_GOOD | MBUF_RX_L4_CKSUM_GOOD))
			flags |= DPCAP_EPB_CSUM_VALID;
	} else {
		if (record->ol_flags & (MBUF_TX_IP_CKSUM | MBUF_TX_L4_MASK))
			flags |= DPCAP_EPB_CSUM_NOT_READY;
		if (record->ol_flags & MBUF_TX_TCP_SEG)
			flags |= DPCAP_EPB_TSO;
	}
	return flags;
}

/* Whether the burst that a packet was sent in has come back from the driver. */
static bool
is_resolved(struct dpcap_pump *pump, const struct uprobe_record *record)
{
	const volatile struct uprobe_thread *thread = &pump->threads[record->thread];

	if ((int32_t)(thread->resolved - record->burst) >= 0)
		return true;
	return now_ns(CLOCK_MONOTONIC) - record->time_ns > BURST_PATIENCE_NS;
}

/* Take in what is known of refusals. */
static void
read_refusals(struct dpcap_pump *pump)
{
	const struct uprobe_refusal *refusal;
	uint32_t bytes;

	while ((refusal = bpf_ring_next(&pump->refusals_ring, &bytes)) != NULL) {
		refusals_add(&pump->refusals, refusal);
		bpf_ring_pop(&pump->refusals_ring);
	}
	bpf_ring_release(&pump->refusals_ring);
}

/* Whether a ring has room for a packet of that size, with all options. */
static bool
has_room(const struct ring *ring, uint32_t caplen)
{
	return dpcap_ring_reserve(ring->writer, DPCAP_EPB_FIXED + caplen + 128ULL) != NULL;
}

/* Put one packet where it belongs. false: it has to wait. */
static bool
put(struct dpcap_pump *pump, const struct uprobe_record *record, bool may_wait)
{
	const uint8_t *const data = (const uint8_t *)(record + 1);
	struct ring *ring = &pump->rings[record->ring];
	struct dpcap_epb epb;
	bool refused = false;

	if (record->ring >= atomic_load_explicit(&pump->n_rings, memory_order_acquire))
		return true;
	if (pump->filter != NULL &&
	    pump->filter(data, record->caplen, record->wirelen,
			 (uint64_t)ring->writer->port << 32 | (uint64_t)ring->writer->queue << 16 |
				 ring->writer->direction) == 0)
		return true;
	epb.caplen = dpcap_epb_caplen(ring->writer, record->caplen);
	if (may_wait && !has_room(ring, epb.caplen))
		return false;
	if (ring->writer->direction == UPROBE_OUT) {
		if (may_wait && !is_resolved(pump, record))
			return false;
		read_refusals(pump);
		refused = refusals_has(&pump->refusals, record);
	}
	if (!ring->open)
		dpcap_ring_begin(ring->writer);
	ring->open = true;
	epb.ts_ns = dpcap_ring_stamp(ring->writer, record->time_ns + (uint64_t)pump->real_offset);
	epb.origlen = record->wirelen;
	epb.flags = packet_flags(ring, record, data);
	epb.hash = record->rss;
	epb.has_hash = ring->writer->direction == UPROBE_IN && (record->ol_flags & MBUF_RX_RSS_HASH) != 0;
	if (!refused)
		dpcap_epb_put(ring->writer, &epb, data);
	else
		refusals_put(ring->writer, &epb, data);
	return true;
}

/* Take a batch out of the kernel; true: it may be worth to look again at once. */
static bool
pump_batch(struct dpcap_pump *pump, bool may_wait)
{
	const struct uprobe_record *record;
	uint32_t bytes, n, i, n_rings;
	bool blocked = false;

	look_at_clocks(pump);
	for (n = 0; n < BATCH && (record = bpf_ring_next(&pump->packets, &bytes)) != NULL; n++) {
		if (!put(pump, record, may_wait)) {
			blocked = true;
			break;
		}
		bpf_ring_pop(&pump->packets);
	}
	bpf_ring_release(&pump->packets);
	n_rings = atomic_load_explicit(&pump->n_rings, memory_order_acquire);
	for (i = 0; i < n_rings; i++) {
		struct ring *r = &pump->rings[i];

		if (r->open)
			dpcap_ring_publish(r->writer);
		r->open = false;
	}
	if (!blocked)
		pump->blocked_since = 0;
	else if (pump->blocked_since == 0)
		pump->blocked_since = now_ns(CLOCK_MONOTONIC);
	return n == BATCH;
}

static void
nap(void)
{
	const struct timespec t = { .tv_nsec = NAP_NS };

	nanosleep(&t, NULL);
}

static void
destroy(struct dpcap_pump *pump)
{
	bpf_ring_close(&pump->packets);
	bpf_ring_close(&pump->refusals_ring);
	if (pump->counters != NULL)
		munmap(pump->counters, UPROBE_MAX_THREADS * UPROBE_MAX_RINGS * sizeof(*pump->counters));
	if (pump->threads != NULL)
		munmap(pump->threads, UPROBE_MAX_THREADS * sizeof(*pump->threads));
	for (uint32_t i = 0; i < pump->n_rings; i++)
		dpcap_ring_destroy(pump->rings[i].writer);
	free(pump);
}

static void *
run(void *argument)
{
	struct dpcap_pump *pump = argument;
	uint64_t now;

	while (!atomic_load_explicit(&pump->stopping, memory_order_acquire)) {
		const bool more = pump_batch(pump, true);

		now = now_ns(CLOCK_MONOTONIC);
		if (now - pump->statistics_at > STATISTICS_NS) {
			tell_statistics(pump);
			pump->statistics_at = now;
		}
		if (!more)
			nap();
	}
	/* The rest, as long as somebody makes room for it. */
	for (;;) {
		uint32_t bytes;
		const bool late = pump->blocked_since != 0 &&
			now_ns(CLOCK_MONOTONIC) - pump->blocked_since > STOP_PATIENCE_NS;

		if (!pump_batch(pump, !late) && bpf_ring_next(&pump->packets, &bytes) == NULL)
			break;
		if (pump->blocked_since != 0)
			nap();
	}
	tell_statistics(pump);
	for (uint32_t i = 0; i < pump->n_rings; i++)
		dpcap_ring_close(pump->rings[i].writer);
	destroy(pump);
	return NULL;
}

/* A thread that no signal reaches: they are for the caller. */
static int
start_thread(struct dpcap_pump *pump)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, run, pump);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

static void *
map_array(int fd, size_t size, bool writable)
{
	void *map = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);

	return map == MAP_FAILED ? NULL : map;
}

int
dpcap_pump_start(struct dpcap_pump **made, const struct dpcap_pump_maps *maps, void *filter)
{
	struct dpcap_pump *pump = calloc(1, sizeof(*pump));
	int err;

	if (pump == NULL)
		return -ENOMEM;
	memcpy(&pump->filter, &filter, sizeof(filter)); /* ISO C has no cast from one to the other */
	err = bpf_ring_open(&pump->packets, maps->packets, PACKETS_SIZE);
	if (err == 0)
		err = bpf_ring_open(&pump->refusals_ring, maps->refusals, REFUSALS_SIZE);
	if (err != 0)
		goto fail;
	err = -ENOMEM;
	pump->counters = map_array(maps->counters,
				   UPROBE_MAX_THREADS * UPROBE_MAX_RINGS * sizeof(*pump->counters), false);
	pump->threads = map_array(maps->threads, UPROBE_MAX_THREADS * sizeof(*pump->threads), false);
	if (pump->counters == NULL || pump->threads == NULL)
		goto fail;
	look_at_clocks(pump);
	err = start_thread(pump);
	if (err != 0)
		goto fail;
	*made = pump;
	return 0;
fail:
	destroy(pump);
	return err;
}

int
dpcap_pump_add(struct dpcap_pump *pump, const struct dpcap_pump_ring *ring)
{
	const uint32_t n = atomic_load_explicit(&pump->n_rings, memory_order_relaxed);
	const struct dpcap_ring_params params = {
		.interface_id = ring->interface_id,
		.port = ring->port,
		.queue = ring->queue,
		.direction = ring->direction,
		.snaplen = ring->snaplen,
	};

	if (n == UPROBE_MAX_RINGS)
		return -ENOSPC;
	pump->rings[n].writer = dpcap_ring_create(&params);
	if (pump->rings[n].writer == NULL)
		return -errno;
	pump->rings[n].mac = ring->mac;
	atomic_store_explicit(&pump->n_rings, n + 1, memory_order_release);
	return dpcap_ring_take_fd(pump->rings[n].writer);
}

void
dpcap_pump_stop(struct dpcap_pump *pump)
{
	atomic_store_explicit(&pump->stopping, true, memory_order_release);
}
