/* SPDX-License-Identifier: BSD-3-Clause */
/* The drain: order, limits, and what becomes of a write that fails half way. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"
#include "blocks.h"
#include "drain.h"
#include "epb.h"

#define MAX_RINGS 4
#define SECOND 1000000000ULL

/* Some rings, the drain that reads them, and how many packets went in. */
struct bench {
	struct dpcap_drain *drain;
	struct dpcap_ring_writer *w[MAX_RINGS];
	int n;
	uint8_t out[1 << 20];
};

static struct bench b;

static void
setup(int n)
{
	memset(&b, 0, sizeof(b));
	b.drain = dpcap_drain_create(DPCAP_DRAIN_SLACK_NS, 3600 * SECOND);
	REQUIRE(b.drain != NULL);
	for (b.n = 0; b.n < n; b.n++) {
		const struct dpcap_ring_params params = {
			.data_size = DPCAP_RING_MIN_SIZE,
			.interface_id = (uint32_t)b.n,
			.queue = (uint16_t)(10 + b.n),
			.direction = 2,
			.snaplen = 1500,
		};

		b.w[b.n] = dpcap_ring_create(&params);
		REQUIRE(b.w[b.n] != NULL);
		CHECK_EQ(dpcap_drain_add(b.drain, dpcap_ring_fd(b.w[b.n])), b.n);
	}
}

static void
teardown(void)
{
	dpcap_drain_destroy(b.drain);
	for (int i = 0; i < b.n; i++)
		dpcap_ring_destroy(b.w[i]);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* One packet of len bytes that starts with its time, as a burst of its own. */
static void
put(int ring, uint64_t ts, uint32_t len)
{
	static uint8_t packet[1500];
	const struct dpcap_epb epb = {.ts_ns = ts, .caplen = len, .origlen = len};

	memcpy(packet, &ts, sizeof(ts));
	dpcap_ring_begin(b.w[ring]);
	CHECK(dpcap_epb_put(b.w[ring], &epb, packet));
	dpcap_ring_publish(b.w[ring]);
}

static struct dpcap_drain_result
drain_read(uint32_t flags, const struct dpcap_drain_limits *limits)
{
	struct dpcap_drain_result result;

	CHECK_EQ(dpcap_drain_read(b.drain, b.out, sizeof(b.out), flags, limits, &result), 0);
	return result;
}

/* The times of n blocks at p, which must be all there is. */
static void
check_times(const uint8_t *p, uint64_t bytes, const uint64_t *times, int n)
{
	struct block block;

	for (int i = 0; i < n; i++) {
		REQUIRE(parse_block(p, bytes, &block));
		CHECK_EQ(block.ts, times[i]);
		CHECK(memcmp(block.data, &block.ts, 8) == 0);
		p += block.size;
		bytes -= block.size;
	}
	CHECK_EQ(bytes, 0);
}

#define CHECK_TIMES(bytes, ...)                                                                        \
	check_times(b.out, bytes, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8)

static void
test_merge(void)
{
	struct dpcap_drain_result r;
	struct dpcap_drain_ring_stats stats;

	setup(3);
	put(0, 10, 100);
	put(0, 40, 101);
	put(0, 41, 102);
	put(1, 20, 103);
	put(1, 30, 104);
	put(1, 50, 105);
	put(2, 15, 106);
	CHECK_EQ(dpcap_drain_pending(b.drain), 6 * 156 + 160);
	r = drain_read(0, NULL);
	CHECK_EQ(r.stop, DPCAP_DRAIN_IDLE);
	CHECK_EQ(r.packets, 7);
	CHECK_EQ(r.last_ns, 50);
	CHECK_TIMES(r.bytes, 10, 15, 20, 30, 40, 41, 50);
	CHECK_EQ(dpcap_drain_pending(b.drain), 0);

	CHECK_EQ(dpcap_drain_stats(b.drain, 1, &stats), 0);
	CHECK_EQ(stats.interface_id, 1);
	CHECK_EQ(stats.queue, 11);
	CHECK_EQ(stats.direction, 2);
	CHECK_EQ(stats.packets, 3);
	CHECK_EQ(stats.accepted, 3);
	CHECK_EQ(stats.first_ns, 20);
	CHECK_EQ(stats.last_ns, 50);
	CHECK_EQ(stats.late_packets, 0);
	CHECK_EQ(dpcap_drain_count(b.drain), 3);
	CHECK_EQ(dpcap_drain_stats(b.drain, 3, &stats), -EINVAL);
	CHECK_EQ(dpcap_drain_stats(b.drain, -1, &stats), -EINVAL);
	teardown();
}

/* What is newer than another ring's promise waits, until that ring has gone past it or is gone. */
static void
test_waits_for_the_young(void)
{
	const uint64_t future = now_ns() + 3600 * SECOND;
	struct dpcap_drain_result r;

	setup(2);
	put(0, future, 100);
	put(0, future + 2, 100);
	r = drain_read(0, NULL);
	CHECK_EQ(r.packets, 0);
	CHECK_EQ(r.stop, DPCAP_DRAIN_IDLE);

	put(1, future + 1, 100); /* ring 1 has spoken, up to future + 1 */
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, future, future + 1);

	CHECK_EQ(dpcap_drain_done(b.drain), 0);
	dpcap_ring_close(b.w[1]); /* nothing will come from there */
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, future + 2);

	put(0, future + 3, 100); /* a single ring waits for nobody */
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, future + 3);
	CHECK_EQ(dpcap_drain_end(b.drain, 0), 0);
	CHECK_EQ(dpcap_drain_done(b.drain), 1);
	CHECK_EQ(dpcap_drain_end(b.drain, 2), -EINVAL);
	CHECK_EQ(dpcap_drain_end(b.drain, -2), -EINVAL);
	teardown();

	setup(2);
	put(0, future, 100);
	r = drain_read(DPCAP_DRAIN_FLUSH, NULL);
	CHECK_TIMES(r.bytes, future);
	put(1, future - 1, 100); /* too late for the order, not for the file */
	put(0, future + 1, 100);
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, future - 1); /* the flush was for once */
	struct dpcap_drain_ring_stats stats;
	CHECK_EQ(dpcap_drain_stats(b.drain, 1, &stats), 0);
	CHECK_EQ(stats.late_packets, 1);
	CHECK_EQ(dpcap_drain_end(b.drain, -1), 0);
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, future + 1);
	CHECK_EQ(dpcap_drain_done(b.drain), 1);
	teardown();
}

/* A ring in the middle of a burst is waited for, however old the others' blocks are. */
static void
test_waits_for_the_busy(void)
{
	struct dpcap_drain_result r;
	struct dpcap_epb epb = {.caplen = 60, .origlen = 60};
	uint8_t packet[60] = {0};
	uint64_t t1, t2;

	setup(2);
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	dpcap_ring_begin(b.w[1]);
	t1 = now_ns();
	t2 = t1 + 1;
	put(0, t2, 100);
	/* Until t2 is older than the slack: only the mark is left to hold it back. */
	while (now_ns() < t2 + 2 * DPCAP_DRAIN_SLACK_NS)
		;
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	epb.ts_ns = t1;
	memcpy(packet, &t1, 8);
	CHECK(dpcap_epb_put(b.w[1], &epb, packet));
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	dpcap_ring_publish(b.w[1]);
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, t1, t2);

	/* An empty burst says as much. */
	dpcap_ring_begin(b.w[1]);
	t1 = now_ns();
	put(0, t1, 100);
	while (now_ns() < t1 + 2 * DPCAP_DRAIN_SLACK_NS)
		;
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	dpcap_ring_publish(b.w[1]);
	r = drain_read(0, NULL);
	CHECK_TIMES(r.bytes, t1);
	teardown();
}

/* But not for ever, and not until the others lose packets. */
static void
test_patience_ends(void)
{
	struct dpcap_drain_result r;
	uint64_t t1;
	int n = 0;

	setup(2);
	dpcap_ring_begin(b.w[1]);
	for (t1 = now_ns(); n < 44; n++)
		put(0, t1, 1000);
	while (now_ns() < t1 + 2 * DPCAP_DRAIN_SLACK_NS)
		;
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	for (; n < 48; n++) /* 48 * 1052 bytes is more than three quarters */
		put(0, t1, 1000);
	r = drain_read(0, NULL);
	CHECK_EQ(r.packets, 48);
	teardown();

	setup(2);
	dpcap_drain_destroy(b.drain);
	b.drain = dpcap_drain_create(0, 1000);
	CHECK_EQ(dpcap_drain_add(b.drain, dpcap_ring_fd(b.w[0])), 0);
	CHECK_EQ(dpcap_drain_add(b.drain, dpcap_ring_fd(b.w[1])), 1);
	dpcap_ring_begin(b.w[1]);
	t1 = now_ns();
	put(0, t1, 100);
	CHECK_EQ(drain_read(0, NULL).packets, 0); /* first seen busy */
	t1 = now_ns();
	while (now_ns() < t1 + 2000)
		;
	CHECK_EQ(drain_read(0, NULL).packets, 1);
	teardown();
}

static void
test_limits(void)
{
	struct dpcap_drain_result r;

	setup(2);
	for (uint64_t i = 0; i < 10; i++)
		put(i % 2, 100 + i, 100);
	r = drain_read(0, &(struct dpcap_drain_limits){.max_packets = 3});
	CHECK_EQ(r.stop, DPCAP_DRAIN_PACKETS);
	CHECK_TIMES(r.bytes, 100, 101, 102);
	r = drain_read(0, &(struct dpcap_drain_limits){.max_bytes = 2 * 152 + 151});
	CHECK_EQ(r.stop, DPCAP_DRAIN_BYTES);
	CHECK_TIMES(r.bytes, 103, 104);
	r = drain_read(0, &(struct dpcap_drain_limits){.max_bytes = 152});
	CHECK_TIMES(r.bytes, 105);
	r = drain_read(0, &(struct dpcap_drain_limits){.until_ns = 108});
	CHECK_EQ(r.stop, DPCAP_DRAIN_TIME);
	CHECK_TIMES(r.bytes, 106, 107);
	r = drain_read(0, &(struct dpcap_drain_limits){.max_packets = 2, .until_ns = 200});
	CHECK_TIMES(r.bytes, 108, 109);

	/* Too small a buffer takes nothing. */
	put(0, 300, 1000);
	CHECK_EQ(dpcap_drain_read(b.drain, b.out, 1051, 0, NULL, &r), 0);
	CHECK_EQ(r.stop, DPCAP_DRAIN_BYTES);
	CHECK_EQ(r.packets, 0);
	CHECK_EQ(dpcap_drain_read(b.drain, b.out, 1052, 0, NULL, &r), 0);
	CHECK_EQ(r.packets, 1);
	teardown();
}

/* Drops count as far as the packets tell of them that were written. */
static void
test_announced_drops(void)
{
	struct dpcap_epb epb = {.caplen = 1001, .origlen = 1001};
	static uint8_t packet[1001];
	struct dpcap_drain_ring_stats stats;
	uint64_t fits = 0, lost = 1;

	setup(1);
	/* What looks like the option, where there is none, is a packet's data. */
	memset(packet, DPCAP_OPT_EPB_DROPCOUNT, sizeof(packet));
	while (dpcap_epb_put(b.w[0], &epb, packet))
		fits++;
	for (; lost < 5; lost++)
		CHECK(!dpcap_epb_put(b.w[0], &epb, packet));
	dpcap_ring_publish(b.w[0]);
	CHECK_EQ(drain_read(DPCAP_DRAIN_FLUSH, NULL).packets, fits);
	CHECK_EQ(dpcap_drain_stats(b.drain, 0, &stats), 0);
	CHECK_EQ(stats.dropped, lost);
	CHECK_EQ(stats.announced, 0);

	epb.has_hash = true;
	epb.hash = 0x04080408;
	CHECK(dpcap_epb_put(b.w[0], &epb, packet)); /* with a hash before its drop count */
	CHECK(dpcap_epb_put(b.w[0], &epb, packet)); /* with a hash alone */
	dpcap_ring_publish(b.w[0]);
	CHECK_EQ(drain_read(DPCAP_DRAIN_FLUSH, &(struct dpcap_drain_limits){.max_packets = 1}).packets, 1);
	CHECK_EQ(dpcap_drain_stats(b.drain, 0, &stats), 0);
	CHECK_EQ(stats.announced, lost);
	CHECK_EQ(drain_read(DPCAP_DRAIN_FLUSH, NULL).packets, 1);
	CHECK_EQ(dpcap_drain_stats(b.drain, 0, &stats), 0);
	CHECK_EQ(stats.announced, lost);
	CHECK_EQ(stats.packets + stats.dropped, stats.accepted);
	teardown();
}

static void
test_write_to_a_file(void)
{
	int fd = memfd_create("out", MFD_CLOEXEC);
	struct dpcap_drain_result r;

	setup(2);
	for (uint64_t i = 0; i < 10; i++)
		put(i % 2, 100 + i, 100);
	CHECK_EQ(dpcap_drain_write(b.drain, fd, 0, &(struct dpcap_drain_limits){.max_packets = 4}, &r), 0);
	CHECK_EQ(r.stop, DPCAP_DRAIN_PACKETS);
	CHECK_EQ(r.packets, 4);
	/* One block goes out even when it is larger than a file may be. */
	CHECK_EQ(dpcap_drain_write(b.drain, fd, 0, &(struct dpcap_drain_limits){.max_bytes = 10}, &r), 0);
	CHECK_EQ(r.stop, DPCAP_DRAIN_BYTES);
	CHECK_EQ(r.packets, 1);
	CHECK_EQ(dpcap_drain_write(b.drain, fd, 0, NULL, &r), 0);
	CHECK_EQ(r.packets, 5);
	CHECK_EQ(pread(fd, b.out, sizeof(b.out), 0), 10 * 152);
	CHECK_TIMES(10 * 152, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109);
	close(fd);
	teardown();
}

/* A full pipe breaks a block; it goes on in the middle, and what was not out is not counted. */
static void
test_pipe(void)
{
	struct dpcap_drain_result r;
	uint64_t got = 0, packets = 0, want = 0;
	int fds[2], in_pipe, broken = 0;
	ssize_t n;

	setup(2);
	REQUIRE(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
	REQUIRE(fcntl(fds[1], F_SETPIPE_SZ, 4096) == 4096);
	for (uint64_t i = 0; i < 60; i++, want += 1052)
		put(i % 2, 100 + i, 1000);
	while (packets < 60) {
		CHECK_EQ(dpcap_drain_write(b.drain, fds[1], 0, NULL, &r), 0);
		packets += r.packets;
		REQUIRE(ioctl(fds[0], FIONREAD, &in_pipe) == 0);
		CHECK_EQ(packets * 1052 + r.partial, got + (uint64_t)in_pipe);
		CHECK(r.partial < 1052);
		broken += r.partial != 0;
		if (packets == 60)
			CHECK_EQ(r.stop, DPCAP_DRAIN_IDLE);
		else if (r.stop == DPCAP_DRAIN_AGAIN) {
			if (r.partial > 0)
				CHECK_EQ(dpcap_drain_read(b.drain, b.out, 1, 0, NULL, &r), -EBUSY);
			continue;
		} else {
			CHECK_EQ(r.stop, DPCAP_DRAIN_ERROR);
			CHECK_EQ(r.error, EAGAIN);
		}
		while ((n = read(fds[0], b.out + got, 4096)) > 0)
			got += (uint64_t)n;
	}
	CHECK_EQ(got, want);
	CHECK(broken > 0);
	for (uint64_t i = 0, at = 0; i < 60; i++, at += 1052) {
		struct block block;

		REQUIRE(parse_block(b.out + at, want - at, &block));
		CHECK_EQ(block.ts, 100 + i);
	}
	CHECK_EQ(dpcap_drain_pending(b.drain), 0);

	put(0, 1000, 100);
	close(fds[0]);
	CHECK_EQ(dpcap_drain_write(b.drain, fds[1], 0, NULL, &r), 0);
	CHECK_EQ(r.error, EPIPE);
	CHECK_EQ(r.partial, 0);
	close(fds[1]);
	teardown();
}

/* No space: the file can be cut to whole blocks, and nothing was lost. */
static void
test_no_space(void)
{
	char path[] = "/tmp/dpcap-test-drain-XXXXXX";
	const int file = mkstemp(path), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct rlimit old, small = {.rlim_cur = 2500};
	struct dpcap_drain_result r;

	REQUIRE(file >= 0 && full >= 0);
	unlink(path);
	setup(2);
	for (uint64_t i = 0; i < 5; i++)
		put(i % 2, 100 + i, 1000);
	CHECK_EQ(dpcap_drain_write(b.drain, full, 0, NULL, &r), 0);
	CHECK_EQ(r.stop, DPCAP_DRAIN_ERROR);
	CHECK_EQ(r.error, ENOSPC);
	CHECK_EQ(r.packets, 0);
	CHECK_EQ(r.partial, 0);

	REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
	small.rlim_max = old.rlim_max;
	REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
	CHECK_EQ(dpcap_drain_write(b.drain, file, 0, NULL, &r), 0);
	CHECK_EQ(r.stop, DPCAP_DRAIN_AGAIN);
	CHECK_EQ(r.packets, 2);
	CHECK_EQ(r.partial, 2500 - 2 * 1052);
	CHECK_EQ(dpcap_drain_write(b.drain, file, 0, NULL, &r), 0);
	CHECK_EQ(r.error, EFBIG);
	CHECK_EQ(r.partial, 2500 - 2 * 1052);
	REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);

	REQUIRE(ftruncate(file, (off_t)(2500 - r.partial)) == 0);
	REQUIRE(lseek(file, 0, SEEK_END) == 2 * 1052);
	dpcap_drain_cut(b.drain);
	CHECK_EQ(dpcap_drain_write(b.drain, file, 0, NULL, &r), 0);
	CHECK_EQ(r.packets, 3);
	CHECK_EQ(pread(file, b.out, sizeof(b.out), 0), 5 * 1052);
	CHECK_TIMES(5 * 1052, 100, 101, 102, 103, 104);
	close(file);
	close(full);
	teardown();
}

static void
test_reserve(void)
{
	char path[] = "/tmp/dpcap-test-drain-XXXXXX";
	const int file = mkstemp(path);
	struct stat before, after;
	int fds[2];

	REQUIRE(file >= 0 && pipe(fds) == 0);
	unlink(path);
	REQUIRE(write(file, "x", 1) == 1 && fstat(file, &before) == 0);
	if (dpcap_drain_reserve(file, 1, 1 << 20) != -EOPNOTSUPP) {
		REQUIRE(fstat(file, &after) == 0);
		CHECK_EQ(after.st_size, 1);
		CHECK((after.st_blocks - before.st_blocks) * 512 >= 1 << 19);
		REQUIRE(ftruncate(file, 1) == 0 && fstat(file, &after) == 0);
		CHECK((after.st_blocks - before.st_blocks) * 512 < 1 << 19);
	}
	CHECK_EQ(dpcap_drain_reserve(fds[1], 0, 4096), -ESPIPE);
	CHECK_EQ(dpcap_drain_reserve(-1, 0, 4096), -EBADF);
	close(file);
	close(fds[0]);
	close(fds[1]);
}

/* A ring whose content makes no sense is left alone; what was good before it and the others go out. */
static void
test_corrupt(void)
{
	static const struct {
		uint32_t offset, value;
	} damage[] = {
		{0, 5},	      /* block type */
		{4, 0},	      /* length: nothing */
		{4, 28},      /* less than a block */
		{4, 153},     /* not a multiple of 4 */
		{4, 148},     /* the trailer disagrees */
		{4, 156},     /* beyond head */
		{4, 0xfffffffc},
		{8, 7},	      /* somebody else's interface */
		{20, 1000},   /* more data than block */
		{20, 0xffffffff},
		{148, 4},     /* trailer */
	};

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		struct dpcap_drain_result r;
		struct dpcap_drain_ring_stats stats;

		setup(2);
		put(0, 100, 100);
		put(1, 101, 100);
		put(0, 102, 100);
		memcpy(b.w[0]->data + 152 + damage[i].offset, &damage[i].value, 4);
		put(1, 103, 100);
		r = drain_read(0, NULL);
		CHECK_TIMES(r.bytes, 100, 101, 103);
		CHECK_EQ(dpcap_drain_stats(b.drain, 0, &stats), 0);
		CHECK_EQ(stats.corrupt, 1);
		CHECK_EQ(stats.packets, 1);
		CHECK_EQ(dpcap_drain_pending(b.drain), 0);
		CHECK_EQ(dpcap_drain_stats(b.drain, 1, &stats), 0);
		CHECK_EQ(stats.corrupt, 0);
		teardown();
	}

	setup(1);
	put(0, 100, 100);
	atomic_store(&b.w[0]->shm->head, 1 << 20);
	CHECK_EQ(drain_read(0, NULL).packets, 0);
	CHECK_EQ(dpcap_drain_done(b.drain), 1);
	teardown();

	/* The last published burst is the truth: a block begun beyond it is never looked at. */
	setup(1);
	put(0, 100, 100);
	dpcap_ring_begin(b.w[0]);
	CHECK(dpcap_epb_begin(b.w[0], &(struct dpcap_epb){.ts_ns = 101, .caplen = 9, .origlen = 9}) != NULL);
	dpcap_drain_end(b.drain, -1); /* killed here */
	CHECK_EQ(drain_read(0, NULL).packets, 1);
	CHECK_EQ(dpcap_drain_done(b.drain), 1);
	teardown();
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	test_merge();
	test_waits_for_the_young();
	test_waits_for_the_busy();
	test_patience_ends();
	test_limits();
	test_announced_drops();
	test_write_to_a_file();
	test_pipe();
	test_no_space();
	test_reserve();
	test_corrupt();
	return CHECK_RESULT();
}
