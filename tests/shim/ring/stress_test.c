/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writers at full speed against one drain, in small rings that wrap all the time. Every
 * packet carries its number and its time, so whatever is lost, doubled, torn or out of
 * order shows. Built a second time with ThreadSanitizer.
 *
 * usage: ring_stress_test [packets a ring]
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "../../../shim/ring/drain_internal.h"
#include "../check.h"
#include "blocks.h"

#define RINGS 3
#define MAX_PACKET 600

struct payload {
	uint64_t number; /* of the accepted packet in its ring */
	uint64_t ts;
	uint8_t rest[MAX_PACKET - 16];
};

struct lane {
	pthread_t thread;
	struct dpcap_ring_writer *w;
	uint32_t random;
	bool wait_for_room;
};

static uint64_t packets_each = 40000;

static uint32_t
next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static bool
half_full(const struct dpcap_ring_writer *w)
{
	return w->head - atomic_load(&w->shm->tail) > w->size / 2;
}

/* A hook on an lcore that is sometimes preempted at the worst of times. */
static void *
write_packets(void *arg)
{
	struct lane *lane = arg;
	struct dpcap_ring_writer *w = lane->w;
	struct payload payload = {0};

	while (payload.number < packets_each) {
		const uint32_t burst = 1 + next_random(&lane->random) % 32;
		struct dpcap_epb epb = {.origlen = 2000};

		while (lane->wait_for_room && half_full(w))
			sched_yield();
		dpcap_ring_received(w, burst);
		dpcap_ring_begin(w);
		epb.ts_ns = dpcap_ring_stamp(w, now_ns());
		for (uint32_t i = 0; i < burst && payload.number < packets_each; i++) {
			payload.ts = epb.ts_ns;
			epb.caplen = 16 + next_random(&lane->random) % (MAX_PACKET - 16);
			memset(payload.rest, (int)(payload.number & 0xff), sizeof(payload.rest));
			dpcap_epb_put(w, &epb, &payload);
			payload.number++;
		}
		if (next_random(&lane->random) % 64 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		dpcap_ring_publish(w);
	}
	dpcap_ring_close(w);
	return NULL;
}

struct tally {
	uint64_t next_number[RINGS];
	uint64_t gaps[RINGS];
	uint64_t packets;
	uint64_t newest;
	uint64_t inversions;
};

static void
check_block(struct tally *t, const struct block *block)
{
	struct payload payload;
	const uint32_t ring = block->interface_id;

	memcpy(&payload, block->data, block->caplen);
	REQUIRE(ring < RINGS);
	CHECK_EQ(payload.number, t->next_number[ring] + block->dropcount);
	CHECK_EQ(payload.ts, block->ts);
	for (uint32_t i = 16; i < block->caplen; i++)
		REQUIRE(block->data[i] == (payload.number & 0xff));
	t->next_number[ring] = payload.number + 1;
	t->gaps[ring] += block->dropcount;
	t->packets++;
	if (block->ts < t->newest)
		t->inversions++;
	else
		t->newest = block->ts;
}

/*
 * ThreadSanitizer knows addresses, not pages: let the reader use the writer's mapping,
 * so that it sees both sides of each access.
 */
static void
share_mapping(struct dpcap_drain *d, int i, const struct dpcap_ring_writer *w)
{
	struct dpcap_ring_reader *r = &d->sources[i].ring;
	struct dpcap_ring_reader shared = *r;

	shared.shm = w->shm;
	shared.data = w->data;
	shared.map_size = 0;
	dpcap_ring_reader_close(r);
	*r = shared;
}

static void
stress(bool wait_for_room)
{
	static uint8_t buffer[1 << 18];
	struct dpcap_drain *d = dpcap_drain_create(DPCAP_DRAIN_SLACK_NS, UINT64_MAX);
	struct lane lanes[RINGS];
	struct tally tally = {0};
	uint64_t late = 0;

	for (int i = 0; i < RINGS; i++) {
		const struct dpcap_ring_params params = {
			.data_size = DPCAP_RING_MIN_SIZE,
			.interface_id = (uint32_t)i,
			.direction = 1,
			.snaplen = MAX_PACKET,
		};

		lanes[i] = (struct lane){.w = dpcap_ring_create(&params), .random = (uint32_t)i + 1};
		lanes[i].wait_for_room = wait_for_room;
		REQUIRE(lanes[i].w != NULL);
		REQUIRE(dpcap_drain_add(d, dpcap_ring_fd(lanes[i].w)) == i);
		share_mapping(d, i, lanes[i].w);
	}
	for (int i = 0; i < RINGS; i++)
		REQUIRE(pthread_create(&lanes[i].thread, NULL, write_packets, &lanes[i]) == 0);

	while (!dpcap_drain_done(d)) {
		struct dpcap_drain_result r;
		const uint8_t *p = buffer;
		struct block block;

		REQUIRE(dpcap_drain_read(d, buffer, sizeof(buffer), 0, NULL, &r) == 0);
		while (p < buffer + r.bytes) {
			REQUIRE(parse_block(p, (uint64_t)(buffer + r.bytes - p), &block));
			check_block(&tally, &block);
			p += block.size;
		}
		if (r.packets == 0)
			sched_yield();
	}

	for (int i = 0; i < RINGS; i++) {
		struct dpcap_drain_ring_stats stats;

		pthread_join(lanes[i].thread, NULL);
		REQUIRE(dpcap_drain_stats(d, i, &stats) == 0);
		CHECK_EQ(stats.corrupt, 0);
		CHECK_EQ(stats.accepted, packets_each);
		CHECK_EQ(stats.accepted, stats.packets + stats.dropped);
		CHECK(stats.received >= packets_each);
		/* Every drop is told of by the next block, or none came after it. */
		CHECK_EQ(tally.gaps[i] + (packets_each - tally.next_number[i]), stats.dropped);
		if (wait_for_room)
			CHECK_EQ(stats.dropped, 0);
		late += stats.late_packets;
		tally.packets -= stats.packets;
	}
	CHECK_EQ(tally.packets, 0);
	CHECK_EQ(late, tally.inversions);
	/* Nobody was forced: the order is exact, although lcores were preempted. */
	if (wait_for_room)
		CHECK_EQ(tally.inversions, 0);
	dpcap_drain_destroy(d);
	for (int i = 0; i < RINGS; i++)
		dpcap_ring_destroy(lanes[i].w);
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		packets_each = strtoull(argv[1], NULL, 10);
	stress(true);
	stress(false);
	return CHECK_RESULT();
}
