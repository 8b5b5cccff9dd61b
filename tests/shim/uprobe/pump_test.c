/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pump, fed as the kernel feeds it: ring buffers in memfds, which hold their data
 * twice in a row as the kernel's mapping shows it.
 */
#include <linux/bpf.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"
#include "../ring/blocks.h"
#include "mbuf.h"
#include "pump.h"
#include "records.h"
#include "refusals.h"
#include "ring.h"

#define PACKETS_SIZE (16ULL << 20)
#define REFUSALS_SIZE (256ULL << 10)
#define PATIENCE_S 60

struct fake {
	int fd;
	uint64_t size;
	_Atomic uint64_t *producer;
	uint8_t *data;
	uint64_t head;
};

struct setup {
	struct fake packets;
	struct fake refusals;
	int counters_fd, threads_fd;
	struct uprobe_counters *counters;
	struct uprobe_thread *threads;
	struct dpcap_pump *pump;
};

static void *
memory(int *fd, size_t size)
{
	void *map;

	*fd = memfd_create("fake", MFD_CLOEXEC);
	REQUIRE(*fd >= 0 && ftruncate(*fd, (off_t)size) == 0);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	REQUIRE(map != MAP_FAILED);
	return map;
}

static void
make_fake(struct fake *f, uint64_t size)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map = memory(&f->fd, 2 * page + 2 * size);

	f->size = size;
	f->producer = (void *)(map + page);
	f->data = map + 2 * page;
	f->head = 0;
}

static void
put(struct fake *f, const void *bytes, uint32_t size, uint32_t bits)
{
	const uint32_t header[2] = { size | bits, 0 };
	const uint64_t at = f->head & (f->size - 1);

	for (int copy = 0; copy < 2; copy++) {
		uint8_t *p = f->data + (uint64_t)copy * f->size + at;

		if (p + sizeof(header) + size <= f->data + 2 * f->size) {
			memcpy(p, header, sizeof(header));
			memcpy(p + sizeof(header), bytes, size);
		}
	}
	f->head += (sizeof(header) + size + 7) & ~7ULL;
	atomic_store(f->producer, f->head);
}

static void
put_packet(struct setup *s, uint16_t ring, uint32_t burst, uint16_t index, uint32_t bits)
{
	struct {
		struct uprobe_record record;
		uint8_t data[64];
	} packet = {
		.record = {
			.caplen = sizeof(packet.data),
			.wirelen = 1000,
			.ol_flags = MBUF_RX_RSS_HASH,
			.rss = 0x01020304,
			.ring = ring,
			.burst = burst,
			.index = index,
		},
	};
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	packet.record.time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	memset(packet.data, index, sizeof(packet.data));
	put(&s->packets, &packet, sizeof(packet.record) + sizeof(packet.data), bits);
}

static struct dpcap_ring_reader
add(struct setup *s, uint32_t direction)
{
	const struct dpcap_pump_ring params = {
		.port = 3, .queue = 1, .direction = direction, .interface_id = 2, .snaplen = 60,
	};
	struct dpcap_ring_reader reader;
	const int fd = dpcap_pump_add(s->pump, &params);

	REQUIRE(fd >= 0 && dpcap_ring_open(&reader, fd) == 0);
	close(fd);
	return reader;
}

static void
start(struct setup *s, void *filter)
{
	struct dpcap_pump_maps maps;

	make_fake(&s->packets, PACKETS_SIZE);
	make_fake(&s->refusals, REFUSALS_SIZE);
	s->counters = memory(&s->counters_fd, UPROBE_MAX_THREADS * UPROBE_MAX_RINGS * sizeof(*s->counters));
	s->threads = memory(&s->threads_fd, UPROBE_MAX_THREADS * sizeof(*s->threads));
	maps = (struct dpcap_pump_maps){ s->packets.fd, s->refusals.fd, s->counters_fd, s->threads_fd };
	REQUIRE(dpcap_pump_start(&s->pump, &maps, filter) == 0);
}

/* The next block of a ring, when it comes. */
static struct block
next(struct dpcap_ring_reader *reader)
{
	const time_t end = time(NULL) + PATIENCE_S;
	struct dpcap_ring_span span = { 0 };
	struct block block;

	while (dpcap_ring_readable(reader, &span) == 0 && span.bytes == 0) {
		REQUIRE(time(NULL) < end);
		usleep(100);
	}
	REQUIRE(parse_block(span.data, span.bytes, &block));
	dpcap_ring_consume(reader, block.size);
	return block;
}

static bool
has_comment(const struct block *block, const char *comment)
{
	return block->comment != NULL && block->comment_len == strlen(comment) &&
	       memcmp(block->comment, comment, block->comment_len) == 0;
}

static void
wait_closed(struct dpcap_ring_reader *reader)
{
	const time_t end = time(NULL) + PATIENCE_S;

	while (!dpcap_ring_is_closed(reader)) {
		REQUIRE(time(NULL) < end);
		usleep(100);
	}
}

static void
test_received_packets(void)
{
	struct setup s;
	struct dpcap_ring_reader in;

	start(&s, NULL);
	in = add(&s, UPROBE_IN);
	s.threads[0].tid = 1;
	s.counters[0].seen = 10;
	s.counters[0].lost = 3;
	put_packet(&s, 0, 0, 9, BPF_RINGBUF_DISCARD_BIT);
	for (uint16_t i = 0; i < 3; i++)
		put_packet(&s, 0, 0, i, 0);
	for (uint16_t i = 0; i < 3; i++) {
		const struct block block = next(&in);

		CHECK_EQ(block.data[0], i);
		CHECK_EQ(block.caplen, 60);
		CHECK_EQ(block.origlen, 1000);
		CHECK_EQ(block.interface_id, 2);
		CHECK_EQ(block.queue, 1);
		CHECK_EQ(block.flags & 3, UPROBE_IN);
		CHECK_EQ(block.hash, 0x01020304);
		CHECK(block.ts / 1000000000 + 5 > (uint64_t)time(NULL));
	}
	dpcap_pump_stop(s.pump);
	wait_closed(&in);
	CHECK_EQ(atomic_load(&in.shm->received), 10);
	CHECK_EQ(atomic_load(&in.shm->accepted), 6);
	CHECK_EQ(atomic_load(&in.shm->dropped), 3);
	dpcap_ring_reader_close(&in);
}

/* Packets of a burst that has not come back from the driver wait; what was refused is marked. */
static void
test_sent_packets(void)
{
	const struct uprobe_refusal refusal = { .burst = 7, .thread = 0, .taken = 1 };
	struct dpcap_ring_span span;
	struct dpcap_ring_reader out;
	struct block first, second;
	struct setup s;

	start(&s, NULL);
	out = add(&s, UPROBE_OUT);
	s.threads[0].tid = 1;
	s.threads[0].resolved = 6;
	put_packet(&s, 0, 7, 0, 0);
	put_packet(&s, 0, 7, 1, 0);
	usleep(5000);
	CHECK(dpcap_ring_readable(&out, &span) == 0 && span.bytes == 0);
	put(&s.refusals, &refusal, sizeof(refusal), 0);
	*(volatile uint32_t *)&s.threads[0].resolved = 7;
	first = next(&out);
	second = next(&out);
	CHECK_EQ(first.data[0], 0);
	CHECK(!has_comment(&first, REFUSED_COMMENT));
	CHECK_EQ(second.data[0], 1);
	CHECK(has_comment(&second, REFUSED_COMMENT));
	/* Nobody waits for ever for a burst whose end was not seen. */
	put_packet(&s, 0, 8, 0, 0);
	first = next(&out);
	CHECK_EQ(first.data[0], 0);
	dpcap_pump_stop(s.pump);
	wait_closed(&out);
	dpcap_ring_reader_close(&out);
}

/* Far more than fits: nothing is lost while somebody reads. */
static void
test_a_full_ring_makes_it_wait(void)
{
	const uint32_t count = 60000;
	struct dpcap_ring_reader in;
	struct setup s;

	start(&s, NULL);
	in = add(&s, UPROBE_IN);
	for (uint32_t i = 0; i < count; i++)
		put_packet(&s, 0, 0, (uint16_t)i, 0);
	dpcap_pump_stop(s.pump);
	for (uint32_t i = 0; i < count; i++)
		REQUIRE(next(&in).data[0] == (uint8_t)i);
	wait_closed(&in);
	CHECK_EQ(atomic_load(&in.shm->dropped), 0);
	dpcap_ring_reader_close(&in);
}

static uint64_t
odd(const void *data, uint64_t len, uint64_t wirelen, uint64_t meta)
{
	CHECK_EQ(len, 64);
	CHECK_EQ(wirelen, 1000);
	CHECK_EQ(meta, 3ULL << 32 | 1 << 16 | UPROBE_IN);
	return *(const uint8_t *)data & 1;
}

static void
test_a_filter_of_its_own(void)
{
	uint64_t (*const filter)(const void *, uint64_t, uint64_t, uint64_t) = odd;
	struct dpcap_ring_reader in;
	struct setup s;
	void *address;

	memcpy(&address, &filter, sizeof(address));
	start(&s, address);
	in = add(&s, UPROBE_IN);
	for (uint16_t i = 0; i < 10; i++)
		put_packet(&s, 0, 0, i, 0);
	for (uint16_t i = 1; i < 10; i += 2)
		CHECK_EQ(next(&in).data[0], i);
	dpcap_pump_stop(s.pump);
	wait_closed(&in);
	dpcap_ring_reader_close(&in);
}

int
main(void)
{
	test_received_packets();
	test_sent_packets();
	test_a_full_ring_makes_it_wait();
	test_a_filter_of_its_own();
	return CHECK_RESULT();
}
