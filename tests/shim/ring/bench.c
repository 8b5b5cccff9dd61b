/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a packet costs the writer and the drain, in TSC cycles: benchmarks/ring.py runs
 * this and compares. Each burst (or each filling of the ring) is timed by itself and the
 * median is given, so that interruptions do not count.
 *
 * usage: ring_bench writer COPY LENGTH SINK BURSTS     median cycles a packet in the hook
 *        ring_bench drain  -    LENGTH SINK ROUNDS     median cycles a packet in the drain
 *
 * COPY is memcpy, sse, avx2, avx512, movsb or stream; LENGTH 0 is a mix of lengths. SINK is
 * "self" (the ring is emptied without being read), or a path: /dev/null, or a file that is
 * written over ("fresh:PATH": cut first; "reserve:PATH": cut and allocated again).
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#error "the benchmark counts TSC cycles"
#endif

#include "drain.h"
#include "epb.h"

#define BURST 32
#define BUFFERS 256 /* packets in memory, as a pool of mbufs has them */
#define STRIDE 2176
#define FILE_BYTES (64ULL << 20) /* then it is written over */
#define MAX_SAMPLES (1 << 20)

static struct dpcap_ring_writer *w;
static uint8_t *pool;
static uint32_t lengths[BUFFERS];
static double samples[MAX_SAMPLES];
static _Atomic bool stop;

static void
pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core % sysconf(_SC_NPROCESSORS_ONLN), &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static int
by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
report(size_t n)
{
	qsort(samples, n, sizeof(samples[0]), by_value);
	printf("%.1f\n", samples[n / 2]);
}

/* ---- Copies to compare: each is what dpcap_epb_copy() could have been ---------- */

static inline void
copy_memcpy(uint8_t *dst, const uint8_t *src, uint32_t len)
{
	dpcap_epb_copy(dst, src, len);
}

static inline void
copy_movsb(uint8_t *dst, const uint8_t *src, uint32_t len)
{
	size_t n = len;

	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

static inline void
copy_sse(uint8_t *dst, const uint8_t *src, uint32_t len)
{
	uint32_t i = 0;

	if (len < 16) {
		copy_movsb(dst, src, len);
		return;
	}
	for (; i + 16 < len; i += 16)
		_mm_storeu_si128((void *)(dst + i), _mm_loadu_si128((const void *)(src + i)));
	_mm_storeu_si128((void *)(dst + len - 16), _mm_loadu_si128((const void *)(src + len - 16)));
}

/* Past the cache; the ends of the packet as usual. */
static inline void
copy_stream(uint8_t *dst, const uint8_t *src, uint32_t len)
{
	uint32_t i = (uint32_t)(-(uintptr_t)dst & 15);

	if (len < 64) {
		copy_sse(dst, src, len);
		return;
	}
	_mm_storeu_si128((void *)dst, _mm_loadu_si128((const void *)src));
	for (; i + 16 <= len; i += 16)
		_mm_stream_si128((void *)(dst + i), _mm_loadu_si128((const void *)(src + i)));
	_mm_storeu_si128((void *)(dst + len - 16), _mm_loadu_si128((const void *)(src + len - 16)));
}

__attribute__((target("avx2"))) static inline void
copy_avx2(uint8_t *dst, const uint8_t *src, uint32_t len)
{
	uint32_t i = 0;

	if (len < 32) {
		copy_sse(dst, src, len);
		return;
	}
	for (; i + 32 < len; i += 32)
		_mm256_storeu_si256((void *)(dst + i), _mm256_loadu_si256((const void *)(src + i)));
	_mm256_storeu_si256((void *)(dst + len - 32), _mm256_loadu_si256((const void *)(src + len - 32)));
}

__attribute__((target("avx512f,avx512bw"))) static inline void
copy_avx512(uint8_t *dst, const uint8_t *src, uint32_t len)
{
	uint32_t i = 0;

	if (len < 64) {
		const __mmask64 mask = len == 0 ? 0 : ~0ULL >> (64 - len);

		_mm512_mask_storeu_epi8(dst, mask, _mm512_maskz_loadu_epi8(mask, src));
		return;
	}
	for (; i + 64 < len; i += 64)
		_mm512_storeu_si512(dst + i, _mm512_loadu_si512(src + i));
	_mm512_storeu_si512(dst + len - 64, _mm512_loadu_si512(src + len - 64));
}

#define BURST_WITH(copy, attributes)                                               \
	attributes static void burst_##copy(uint32_t k)                            \
	{                                                                          \
		struct dpcap_epb epb = {0};                                        \
                                                                                   \
		dpcap_ring_begin(w);                                               \
		epb.ts_ns = dpcap_ring_stamp(w, 1700000000000000000ULL + k);       \
		for (uint32_t i = 0; i < BURST; i++) {                             \
			const uint32_t n = (k * BURST + i) % BUFFERS;              \
			uint8_t *data;                                             \
                                                                                   \
			epb.caplen = epb.origlen = lengths[n];                     \
			data = dpcap_epb_begin(w, &epb);                           \
			if (data == NULL)                                          \
				continue;                                          \
			copy_##copy(data, pool + (size_t)n * STRIDE, epb.caplen);  \
			dpcap_epb_end(w, &epb);                                    \
		}                                                                  \
		dpcap_ring_publish(w);                                             \
	}

BURST_WITH(memcpy, )
BURST_WITH(movsb, )
BURST_WITH(sse, )
BURST_WITH(stream, )
BURST_WITH(avx2, __attribute__((target("avx2"))))
BURST_WITH(avx512, __attribute__((target("avx512f,avx512bw"))))

static const struct copy {
	const char *name;
	void (*burst)(uint32_t k);
} COPIES[] = {
	{"memcpy", burst_memcpy}, {"movsb", burst_movsb}, {"sse", burst_sse},
	{"stream", burst_stream}, {"avx2", burst_avx2},	  {"avx512", burst_avx512},
};

/* ---- The sink --------------------------------------------------------------------- */

struct sink {
	const char *path;
	bool cut, reserve;
	int fd;
	uint64_t bytes; /* written since the start of the file */
	struct dpcap_drain *drain;
};

static bool
has_prefix(const char **s, const char *prefix)
{
	const size_t n = strlen(prefix);

	if (strncmp(*s, prefix, n) != 0)
		return false;
	*s += n;
	return true;
}

static void
rewind_file(struct sink *s)
{
	if ((s->cut || s->reserve) && ftruncate(s->fd, 0) != 0)
		perror(s->path);
	if (s->reserve && fallocate(s->fd, FALLOC_FL_KEEP_SIZE, 0, FILE_BYTES + (16 << 20)) != 0)
		perror(s->path);
	lseek(s->fd, 0, SEEK_SET);
	s->bytes = 0;
}

static void
open_sink(struct sink *s, const char *path)
{
	s->cut = has_prefix(&path, "fresh:");
	s->reserve = has_prefix(&path, "reserve:");
	s->path = path;
	s->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	s->drain = dpcap_drain_create(DPCAP_DRAIN_SLACK_NS, DPCAP_DRAIN_PATIENCE_NS);
	if (s->fd < 0 || s->drain == NULL || dpcap_drain_add(s->drain, dpcap_ring_fd(w)) < 0) {
		perror(path);
		exit(1);
	}
	rewind_file(s);
}

static void
close_sink(struct sink *s)
{
	dpcap_drain_destroy(s->drain);
	close(s->fd);
	if (strncmp(s->path, "/dev/null", 9) != 0)
		unlink(s->path);
}

static uint64_t
drain_once(struct sink *s)
{
	struct dpcap_drain_result r;

	if (dpcap_drain_write(s->drain, s->fd, 0, NULL, &r) != 0 || r.error != 0) {
		fprintf(stderr, "%s: %s\n", s->path, strerror(r.error));
		exit(1);
	}
	s->bytes += r.bytes;
	return r.packets;
}

/* ---- The two measurements ----------------------------------------------------------- */

static void *
drain_until_stopped(void *arg)
{
	struct sink *s = arg;

	pin(1);
	while (!stop) {
		if (s->bytes > FILE_BYTES)
			rewind_file(s);
		if (drain_once(s) == 0)
			sched_yield();
	}
	return NULL;
}

static void
measure_writer(const struct copy *copy, const char *path, size_t bursts)
{
	const bool self = strcmp(path, "self") == 0;
	struct sink sink = {0};
	pthread_t thread;

	if (!self) {
		open_sink(&sink, path);
		pthread_create(&thread, NULL, drain_until_stopped, &sink);
	}
	pin(0);
	for (uint32_t k = 0; k < bursts; k++) {
		unsigned long long start;

		/* Never full: what is measured is storing, not dropping. */
		while (!self && w->head - atomic_load(&w->shm->tail) > w->size / 2)
			sched_yield();
		start = __rdtsc();
		copy->burst(k);
		samples[k] = (double)(__rdtsc() - start) / BURST;
		if (self)
			atomic_store(&w->shm->tail, w->head);
	}
	stop = true;
	if (!self) {
		pthread_join(thread, NULL);
		close_sink(&sink);
	}
	report(bursts);
}

static pthread_barrier_t filled, emptied;

static void *
fill_and_wait(void *arg)
{
	(void)arg;
	pin(0);
	for (uint32_t k = 0; !stop; pthread_barrier_wait(&emptied)) {
		const uint64_t start = w->head;

		while (w->head - start < w->size / 2)
			burst_memcpy(k++);
		pthread_barrier_wait(&filled);
	}
	return NULL;
}

static void
measure_drain(const char *path, size_t rounds)
{
	struct sink sink = {0};
	pthread_t thread;

	open_sink(&sink, path);
	pthread_barrier_init(&filled, NULL, 2);
	pthread_barrier_init(&emptied, NULL, 2);
	pthread_create(&thread, NULL, fill_and_wait, NULL);
	pin(1);
	for (size_t i = 0; i < rounds; i++) {
		unsigned long long start;
		uint64_t packets = 0;

		if (sink.bytes > FILE_BYTES)
			rewind_file(&sink);
		pthread_barrier_wait(&filled);
		start = __rdtsc();
		while (dpcap_drain_pending(sink.drain) > 0)
			packets += drain_once(&sink);
		samples[i] = (double)(__rdtsc() - start) / (double)packets;
		stop = i + 1 == rounds;
		pthread_barrier_wait(&emptied);
	}
	pthread_join(thread, NULL);
	close_sink(&sink);
	report(rounds);
}

int
main(int argc, char **argv)
{
	static const uint32_t mix[] = {64, 64, 64, 128, 256, 512, 594, 1460};
	const struct dpcap_ring_params params = {.direction = 1, .snaplen = STRIDE};
	uint32_t random = 1;
	size_t n;

	if (argc != 6 || (n = strtoul(argv[5], NULL, 10)) == 0 || n > MAX_SAMPLES) {
		fprintf(stderr, "usage: ring_bench writer|drain COPY LENGTH SINK COUNT\n");
		return 2;
	}
	pool = mmap(NULL, BUFFERS * STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w = dpcap_ring_create(&params);
	if (pool == MAP_FAILED || w == NULL) {
		perror("ring_bench");
		return 1;
	}
	memset(pool, 0x5a, BUFFERS * STRIDE);
	for (uint32_t i = 0; i < BUFFERS; i++) {
		random = random * 1664525 + 1013904223;
		lengths[i] = strtoul(argv[3], NULL, 10) != 0 ? (uint32_t)strtoul(argv[3], NULL, 10) : mix[random >> 29];
	}
	if (strcmp(argv[1], "drain") == 0) {
		measure_drain(argv[4], n);
		return 0;
	}
	for (size_t i = 0; i < sizeof(COPIES) / sizeof(COPIES[0]); i++)
		if (strcmp(argv[2], COPIES[i].name) == 0)
			measure_writer(&COPIES[i], argv[4], n);
	return 0;
}
