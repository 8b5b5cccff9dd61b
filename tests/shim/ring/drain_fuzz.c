/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer: a drain whose writers have gone bad. The input is a list of operations:
 * good bursts, arbitrary changes of the shared memory, forged memfds, and calls of
 * the drain. Whatever happens, nothing outside is read, every call ends, and what comes
 * out of dpcap_drain_read() is whole blocks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drain.h"
#include "epb.h"

#define MAX_RINGS 4
#define SNAPLEN 3000

#define MUST(condition)                                                           \
	do {                                                                      \
		if (!(condition)) {                                               \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);   \
			abort();                                                  \
		}                                                                 \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

static uint32_t
take(struct input *in, size_t bytes)
{
	uint32_t v = 0;

	if (bytes > in->left)
		bytes = in->left;
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->left -= bytes;
	return v;
}

/* Values that are near to something that matters, or any. */
static uint64_t
odd_number(struct input *in, uint64_t near)
{
	const uint32_t how = take(in, 1);

	switch (how & 3) {
	case 0:
		return near + (uint64_t)(int64_t)(int8_t)take(in, 1);
	case 1:
		return take(in, 2);
	case 2:
		return near ^ 1ULL << (how >> 2);
	default:
		return (uint64_t)take(in, 4) << 32 | take(in, 4);
	}
}

static void
put_burst(struct dpcap_ring_writer *w, struct input *in)
{
	static uint8_t packet[SNAPLEN];
	uint32_t n = take(in, 1) % 8;

	dpcap_ring_begin(w);
	while (n-- > 0) {
		const uint32_t len = take(in, 2) % (SNAPLEN + 1);
		const struct dpcap_epb epb = {
			.ts_ns = dpcap_ring_stamp(w, take(in, 4)),
			.caplen = len,
			.origlen = len,
			.has_hash = len & 1,
		};

		dpcap_epb_put(w, &epb, packet);
	}
	if (take(in, 1) & 7)
		dpcap_ring_publish(w);
}

static void
check_blocks(const uint8_t *p, const struct dpcap_drain_result *r)
{
	uint64_t at = 0, packets = 0;

	while (at < r->bytes) {
		uint32_t h[6], trailer;

		MUST(r->bytes - at >= 32);
		memcpy(h, p + at, sizeof(h));
		MUST(h[0] == 6 && h[1] >= 32 && h[1] <= r->bytes - at && h[1] % 4 == 0);
		MUST(h[2] < MAX_RINGS && h[5] <= h[1] - 32 && h[5] <= SNAPLEN);
		memcpy(&trailer, p + at + h[1] - 4, sizeof(trailer));
		MUST(trailer == h[1]);
		at += h[1];
		packets++;
	}
	MUST(at == r->bytes && packets == r->packets);
}

static struct dpcap_drain_limits
some_limits(struct input *in)
{
	const uint32_t which = take(in, 1);

	return (struct dpcap_drain_limits){
		.max_packets = which & 1 ? take(in, 1) : 0,
		.max_bytes = which & 2 ? take(in, 2) : 0,
		.until_ns = which & 4 ? take(in, 4) : 0,
	};
}

/* A memfd that only resembles a ring's. */
static void
add_forged(struct dpcap_drain *d, const struct dpcap_ring_writer *w, struct input *in)
{
	uint8_t header[sizeof(struct dpcap_ring_shm)];
	const int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return;
	memcpy(header, w->shm, sizeof(header));
	for (uint32_t n = take(in, 1) % 16; n > 0; n--)
		header[take(in, 1) % sizeof(header)] = (uint8_t)take(in, 1);
	MUST(ftruncate(fd, take(in, 1) & 1 ? (off_t)dpcap_ring_memfd_size(w) : (off_t)take(in, 3)) == 0);
	(void)!write(fd, header, sizeof(header));
	if (take(in, 1) & 7)
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	dpcap_drain_add(d, fd);
	close(fd);
}

static void
run(struct dpcap_drain *d, struct dpcap_ring_writer **writers, struct input *in, const int *fds)
{
	static uint8_t out[1 << 17];
	struct dpcap_drain_result r = {0};

	while (in->left > 0) {
		const uint32_t op = take(in, 1);
		struct dpcap_ring_writer *w = writers[op >> 6];
		const struct dpcap_drain_limits limits = some_limits(in);
		const uint32_t flags = take(in, 1) & DPCAP_DRAIN_FLUSH;

		switch (op & 15) {
		default:
			put_burst(w, in);
			break;
		case 6: { /* a word where the reader looks next, or anywhere */
			const uint64_t tail = atomic_load(&w->shm->tail);
			const uint32_t word = (uint32_t)odd_number(in, 152);
			const uint64_t at = odd_number(in, tail + take(in, 1) % 8 * 4);

			memcpy(w->data + (at & (w->size - 1)), &word, sizeof(word));
			break;
		}
		case 7:
			atomic_store(&w->shm->head, odd_number(in, atomic_load(&w->shm->head)));
			break;
		case 8:
			atomic_store(&w->shm->tail, odd_number(in, atomic_load(&w->shm->tail)));
			break;
		case 9:
			dpcap_ring_close(w);
			break;
		case 10:
		case 11: {
			const size_t room = take(in, 3) % (sizeof(out) + 1);

			if (dpcap_drain_read(d, out, room, flags, &limits, &r) != 0)
				break;
			check_blocks(out, &r);
			MUST(limits.max_packets == 0 || r.packets <= limits.max_packets);
			MUST(r.bytes <= room && r.partial == 0);
			break;
		}
		case 12: /* a full pipe breaks blocks */
			dpcap_drain_write(d, fds[1], flags, &limits, &r);
			MUST((r.stop == DPCAP_DRAIN_ERROR) == (r.error != 0));
			break;
		case 13:
			(void)!read(fds[0], out, sizeof(out));
			break;
		case 14:
			if (take(in, 1) & 1)
				dpcap_drain_cut(d);
			else
				dpcap_drain_end(d, (int)take(in, 1) - 1);
			break;
		case 15:
			if (dpcap_drain_count(d) < 8)
				add_forged(d, w, in);
			break;
		}
		dpcap_drain_pending(d);
		dpcap_drain_done(d);
	}
	for (int i = 0; i < dpcap_drain_count(d); i++) {
		struct dpcap_drain_ring_stats stats;

		MUST(dpcap_drain_stats(d, i, &stats) == 0);
		MUST(stats.pending <= DPCAP_RING_MAX_SIZE);
	}
}

/* The writers are made once, as their pages take long to come, and are as new for each input. */
static struct dpcap_ring_writer **
fresh_writers(void)
{
	static struct dpcap_ring_writer *w[MAX_RINGS], made[MAX_RINGS];

	for (int i = 0; i < MAX_RINGS; i++) {
		if (w[i] == NULL) {
			w[i] = dpcap_ring_create(&(struct dpcap_ring_params){
				.data_size = DPCAP_RING_MIN_SIZE,
				.interface_id = (uint32_t)i,
				.direction = 1,
				.snaplen = SNAPLEN,
			});
			MUST(w[i] != NULL);
			made[i] = *w[i];
		}
		*w[i] = made[i];
		atomic_store(&w[i]->shm->head, 0);
		atomic_store(&w[i]->shm->tail, 0);
		atomic_store(&w[i]->shm->closed, 0);
	}
	return w;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct dpcap_ring_writer **w = fresh_writers();
	struct dpcap_drain *d = dpcap_drain_create(0, take(&in, 1) & 1 ? 0 : UINT64_MAX);
	int fds[2];

	MUST(d != NULL && pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
	fcntl(fds[1], F_SETPIPE_SZ, 4096);
	for (int i = 0; i < MAX_RINGS; i++)
		MUST(dpcap_drain_add(d, dpcap_ring_fd(w[i])) == i);
	run(d, w, &in, fds);
	dpcap_drain_destroy(d);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
