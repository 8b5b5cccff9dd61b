/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring by itself: making it, filling it, wrapping, and not trusting the other side. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../check.h"
#include "blocks.h"
#include "epb.h"
#include "ring.h"

static const struct dpcap_ring_params PARAMS = {
	.data_size = DPCAP_RING_MIN_SIZE,
	.interface_id = 3,
	.port = 7,
	.queue = 2,
	.direction = 1,
	.snaplen = 2000,
};

static struct dpcap_ring_writer *
make(const struct dpcap_ring_params *params)
{
	struct dpcap_ring_writer *w = dpcap_ring_create(params);

	REQUIRE(w != NULL);
	return w;
}

static void
test_params(void)
{
	struct dpcap_ring_params params = PARAMS;
	struct dpcap_ring_writer *w;

	params.snaplen = 0;
	CHECK(dpcap_ring_create(&params) == NULL && errno == EINVAL);
	params.snaplen = DPCAP_SNAPLEN_MAX + 1;
	CHECK(dpcap_ring_create(&params) == NULL && errno == EINVAL);
	params = PARAMS;
	params.direction = 3;
	CHECK(dpcap_ring_create(&params) == NULL && errno == EINVAL);
	params = PARAMS;
	params.data_size = DPCAP_RING_MAX_SIZE + 1;
	CHECK(dpcap_ring_create(&params) == NULL && errno == EINVAL);

	params.data_size = 0;
	w = make(&params);
	CHECK_EQ(w->size, DPCAP_RING_DEFAULT_SIZE);
	dpcap_ring_destroy(w);
	params.data_size = 100001;
	w = make(&params);
	CHECK_EQ(w->size, 131072);
	dpcap_ring_destroy(w);
	dpcap_ring_destroy(NULL);
}

/* Whoever has the memfd can neither shrink it (SIGBUS in the app) nor unseal it. */
static void
test_seals(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	const int fd = dpcap_ring_fd(w);
	struct stat st;

	CHECK(ftruncate(fd, 4096) == -1 && errno == EPERM);
	CHECK(ftruncate(fd, 1 << 30) == -1 && errno == EPERM);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EPERM);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	REQUIRE(fstat(fd, &st) == 0);
	CHECK_EQ(st.st_size, dpcap_ring_memfd_size(w));
	CHECK(st.st_blocks * 512 >= st.st_size); /* the memory is there, not promised */
	dpcap_ring_destroy(w);
}

static void
test_header_and_ends(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	struct dpcap_ring_reader r;
	struct dpcap_ring_span span;

	REQUIRE(dpcap_ring_open(&r, dpcap_ring_fd(w)) == 0);
	CHECK_EQ(r.size, PARAMS.data_size);
	CHECK_EQ(r.interface_id, 3);
	CHECK_EQ(r.port, 7);
	CHECK_EQ(r.queue, 2);
	CHECK_EQ(r.direction, 1);
	CHECK_EQ(r.snaplen, 2000);
	CHECK(dpcap_ring_readable(&r, &span) == 0 && span.bytes == 0 && !span.busy);
	CHECK(!dpcap_ring_is_closed(&r));
	dpcap_ring_close(w);
	CHECK(dpcap_ring_is_closed(&r));
	dpcap_ring_destroy(w); /* the reader lives on */
	CHECK(dpcap_ring_readable(&r, &span) == 0 && span.bytes == 0);
	dpcap_ring_reader_close(&r);
	dpcap_ring_reader_close(&r);
}

/* Fill and empty a ring many times over with every length; the blocks come out as they went in. */
static void
test_wrap(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	struct dpcap_ring_reader r;
	uint8_t packet[2000];
	uint64_t written = 0;

	REQUIRE(dpcap_ring_open(&r, dpcap_ring_fd(w)) == 0);
	for (uint32_t i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)(i * 7 + 1);
	for (uint32_t len = 0; len <= 2000; len++) {
		struct dpcap_ring_span span;
		struct block b;
		struct dpcap_epb epb = {
			.ts_ns = 0x0102030405060708 + len,
			.caplen = dpcap_epb_caplen(w, len),
			.origlen = len,
			.flags = DPCAP_EPB_MULTICAST,
			.hash = 0xfedcba98,
			.has_hash = len & 1,
		};

		dpcap_ring_begin(w);
		CHECK(dpcap_ring_readable(&r, &span) == 0 && span.busy);
		CHECK(dpcap_epb_put(w, &epb, packet));
		CHECK(dpcap_ring_readable(&r, &span) == 0 && span.bytes == 0); /* not before publish */
		dpcap_ring_publish(w);
		CHECK(dpcap_ring_readable(&r, &span) == 0 && !span.busy);
		REQUIRE(parse_block(span.data, span.bytes, &b));
		CHECK_EQ(b.size, span.bytes);
		CHECK_EQ(b.interface_id, 3);
		CHECK_EQ(b.ts, epb.ts_ns);
		CHECK_EQ(b.caplen, len);
		CHECK_EQ(b.origlen, len);
		CHECK_EQ(b.flags, 1 | 2 << 2);
		CHECK_EQ(b.queue, 2);
		CHECK_EQ(b.hash, epb.has_hash ? INT64_C(0xfedcba98) : -1);
		CHECK_EQ(b.dropcount, 0);
		CHECK(memcmp(b.data, packet, len) == 0);
		written += span.bytes;
		dpcap_ring_consume(&r, span.bytes);
	}
	CHECK(written > 10 * r.size);
	CHECK_EQ(atomic_load(&w->shm->accepted), 2001);
	CHECK_EQ(atomic_load(&w->shm->dropped), 0);
	dpcap_ring_reader_close(&r);
	dpcap_ring_destroy(w);
}

static void
test_lengths(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	struct dpcap_ring_reader r;
	struct dpcap_ring_span span;
	struct block b;
	struct dpcap_epb epb = {.caplen = 10, .origlen = 4};
	static const uint8_t packet[10] = "0123456789";

	REQUIRE(dpcap_ring_open(&r, dpcap_ring_fd(w)) == 0);
	CHECK_EQ(dpcap_epb_caplen(w, 1999), 1999);
	CHECK_EQ(dpcap_epb_caplen(w, 2001), 2000);
	CHECK(dpcap_epb_put(w, &epb, packet));
	dpcap_ring_publish(w);
	REQUIRE(dpcap_ring_readable(&r, &span) == 0 && parse_block(span.data, span.bytes, &b));
	CHECK_EQ(b.origlen, 10); /* never less than caplen */

	/* Started but not ended: nothing happened. */
	CHECK(dpcap_epb_begin(w, &epb) != NULL);
	dpcap_ring_publish(w);
	CHECK(dpcap_ring_readable(&r, &span) == 0 && span.bytes == b.size);
	dpcap_ring_reader_close(&r);
	dpcap_ring_destroy(w);
}

static void
test_full_ring_counts(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	struct dpcap_ring_reader r;
	struct dpcap_ring_span span;
	struct dpcap_epb epb = {.caplen = 1000, .origlen = 1000};
	static uint8_t packet[200000];
	uint64_t fits = 0, left;
	struct block b;

	REQUIRE(dpcap_ring_open(&r, dpcap_ring_fd(w)) == 0);
	while (dpcap_epb_put(w, &epb, packet))
		fits++;
	CHECK_EQ(fits, PARAMS.data_size / 1052);
	CHECK(!dpcap_epb_put(w, &epb, packet));
	dpcap_ring_received(w, 100);
	dpcap_ring_publish(w);
	CHECK_EQ(atomic_load(&w->shm->received), 100);
	CHECK_EQ(atomic_load(&w->shm->accepted), fits + 2);
	CHECK_EQ(atomic_load(&w->shm->dropped), 2);

	/* The next block tells of the gap, the one after it does not. */
	CHECK(dpcap_ring_readable(&r, &span) == 0 && span.bytes == fits * 1052);
	dpcap_ring_consume(&r, span.bytes);
	CHECK(dpcap_epb_put(w, &epb, packet));
	CHECK(dpcap_epb_put(w, &epb, packet));
	dpcap_ring_publish(w);
	REQUIRE(dpcap_ring_readable(&r, &span) == 0 && parse_block(span.data, span.bytes, &b));
	CHECK_EQ(b.dropcount, 2);
	REQUIRE(parse_block(span.data + b.size, span.bytes - b.size, &b));
	CHECK_EQ(b.dropcount, 0);
	CHECK_EQ(b.size, 1052);
	dpcap_ring_consume(&r, span.bytes);

	/* Larger than the whole ring: dropped like any other. */
	epb.caplen = 200000;
	CHECK(!dpcap_epb_put(w, &epb, packet));
	/* A block of exactly the ring's size fits. */
	epb.caplen = (uint32_t)(r.size - DPCAP_EPB_FIXED - 12);
	CHECK(dpcap_epb_put(w, &epb, packet));
	dpcap_ring_publish(w);
	CHECK(dpcap_ring_readable(&r, &span) == 0 && span.bytes == r.size);
	left = r.size;
	REQUIRE(parse_block(span.data, left, &b));
	CHECK_EQ(b.dropcount, 1);
	dpcap_ring_reader_close(&r);
	dpcap_ring_destroy(w);
}

/* Whatever a reader writes into tail, the writer stays inside of its ring. */
static void
test_hostile_tail(void)
{
	static const uint64_t tails[] = {1, 4, 1 << 16, (1 << 16) + 1, UINT64_MAX, UINT64_MAX / 2, 1ULL << 63};
	static uint8_t packet[2000];
	struct dpcap_ring_writer *w = make(&PARAMS);
	struct dpcap_epb epb = {.caplen = 2000, .origlen = 2000};

	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		atomic_store(&w->shm->tail, tails[i]);
		for (int n = 0; n < 100; n++) {
			uint8_t *data = dpcap_epb_begin(w, &epb);

			if (data == NULL)
				continue;
			CHECK(data >= w->data && data + 2000 <= w->data + 2 * w->size);
			dpcap_epb_copy(data, packet, 2000);
			dpcap_epb_end(w, &epb);
		}
		CHECK(w->head - w->tail <= w->size);
		dpcap_ring_publish(w);
	}
	/* Larger than anything written so far: as if the ring were full. */
	while (dpcap_epb_put(w, &epb, packet))
		;
	atomic_store(&w->shm->tail, w->head + 4);
	CHECK(dpcap_epb_begin(w, &epb) == NULL);
	dpcap_ring_destroy(w);
}

static void
test_hostile_head(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	struct dpcap_ring_reader r;
	struct dpcap_ring_span span;

	REQUIRE(dpcap_ring_open(&r, dpcap_ring_fd(w)) == 0);
	atomic_store(&w->shm->head, PARAMS.data_size);
	CHECK_EQ(dpcap_ring_readable(&r, &span), 0);
	atomic_store(&w->shm->head, PARAMS.data_size + 4);
	CHECK_EQ(dpcap_ring_readable(&r, &span), -EPROTO);
	atomic_store(&w->shm->head, 6);
	CHECK_EQ(dpcap_ring_readable(&r, &span), -EPROTO);
	atomic_store(&w->shm->head, 8);
	REQUIRE(dpcap_ring_readable(&r, &span) == 0);
	dpcap_ring_consume(&r, 8);
	atomic_store(&w->shm->head, 4); /* backwards */
	CHECK_EQ(dpcap_ring_readable(&r, &span), -EPROTO);
	dpcap_ring_reader_close(&r);
	dpcap_ring_destroy(w);
}

/* A copy of a good ring's memfd with one field changed, or not sealed, or cut. */
static int
forge(size_t offset, const void *bytes, size_t n, off_t size, bool seal)
{
	struct dpcap_ring_writer *w = make(&PARAMS);
	uint8_t header[4096];
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	REQUIRE(fd >= 0);
	REQUIRE(pread(dpcap_ring_fd(w), header, sizeof(header), 0) == sizeof(header));
	memcpy(header + offset, bytes, n);
	REQUIRE(ftruncate(fd, size != 0 ? size : (off_t)dpcap_ring_memfd_size(w)) == 0);
	if (size == 0 || size >= (off_t)sizeof(header))
		REQUIRE(pwrite(fd, header, sizeof(header), 0) == sizeof(header));
	if (seal)
		REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	dpcap_ring_destroy(w);
	return fd;
}

static void
check_refused(int fd, int expected)
{
	struct dpcap_ring_reader r;

	CHECK_EQ(dpcap_ring_open(&r, fd), expected);
	close(fd);
}

#define FORGE(field, value)                                                                        \
	forge(offsetof(struct dpcap_ring_shm, field),                                              \
	      &(__typeof__(((struct dpcap_ring_shm *)0)->field)){value},                           \
	      sizeof(((struct dpcap_ring_shm *)0)->field), 0, true)

static void
test_open_checks_everything(void)
{
	struct dpcap_ring_reader r;
	int fd, pipe_fds[2];

	/* The forgery itself is good. */
	fd = FORGE(version, DPCAP_RING_VERSION);
	CHECK_EQ(dpcap_ring_open(&r, fd), 0);
	dpcap_ring_reader_close(&r);
	close(fd);

	check_refused(FORGE(magic, 1), -EPROTO);
	check_refused(FORGE(version, 2), -EPROTO);
	check_refused(FORGE(data_offset, 0), -EPROTO);
	check_refused(FORGE(data_offset, 64), -EPROTO);
	check_refused(FORGE(data_offset, 8192), -EPROTO);
	check_refused(FORGE(data_offset, 0xfffff000), -EPROTO);
	check_refused(FORGE(data_size, 0), -EPROTO);
	check_refused(FORGE(data_size, 4096), -EPROTO);
	check_refused(FORGE(data_size, 65536 + 4096), -EPROTO);
	check_refused(FORGE(data_size, 131072), -EPROTO);
	check_refused(FORGE(data_size, 1ULL << 63), -EPROTO);
	check_refused(FORGE(data_size, UINT64_MAX), -EPROTO);
	check_refused(FORGE(direction, 0), -EPROTO);
	check_refused(FORGE(direction, 3), -EPROTO);
	check_refused(FORGE(snaplen, 0), -EPROTO);
	check_refused(FORGE(snaplen, DPCAP_SNAPLEN_MAX + 1), -EPROTO);
	check_refused(forge(0, "", 0, 0, false), -EPERM);
	check_refused(forge(0, "", 0, 16, true), -EPROTO);
	check_refused(forge(0, "", 0, 4096, true), -EPROTO);

	CHECK_EQ(dpcap_ring_open(&r, -1), -EBADF);
	REQUIRE(pipe(pipe_fds) == 0);
	CHECK_EQ(dpcap_ring_open(&r, pipe_fds[0]), -EPROTO);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(dpcap_ring_open(&r, fd), -EPERM);
	close(fd);
}

static void
test_stamp(void)
{
	struct dpcap_ring_writer *w = make(&PARAMS);

	CHECK_EQ(dpcap_ring_stamp(w, 5000000), 5000000);
	CHECK_EQ(dpcap_ring_stamp(w, 5000100), 5000100);
	CHECK_EQ(dpcap_ring_stamp(w, 5000050), 5000100); /* jitter */
	CHECK_EQ(dpcap_ring_stamp(w, 5000200), 5000200);
	CHECK_EQ(dpcap_ring_stamp(w, 3000000), 3000000); /* the clock was set */
	CHECK_EQ(dpcap_ring_stamp(w, 2999999), 3000000);
	dpcap_ring_destroy(w);
}

int
main(void)
{
	test_params();
	test_seals();
	test_header_and_ends();
	test_wrap();
	test_lengths();
	test_full_ring_counts();
	test_hostile_tail();
	test_hostile_head();
	test_open_checks_everything();
	test_stamp();
	return CHECK_RESULT();
}
