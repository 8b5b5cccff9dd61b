/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock on a real machine, as the shim runs it: one thread corrects it every 100 ms,
 * another one looks every millisecond how far it is from clock_gettime(2).
 *
 *	dpdk_clock_watch SECONDS
 *
 * A reading between two of the real clock proves an error only as far as it lies outside
 * of the two ("proved"); where they are close together the middle tells it to within
 * half of their distance ("measured"). Prints one line a minute and one for all:
 *
 *	SECONDS readings N measured N median NS p99 NS max NS proved NS steps N
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../shim/dpdk/clock.c"

#define CORRECTION_NS 100000000L
#define READING_NS 1000000L
/* Readings further apart were interrupted. */
#define CLOSE_NS 200
#define MAX_ERROR_NS 100000

/* Errors, counted by nanosecond; the last one is that much or more. */
struct errors {
	uint32_t by_ns[MAX_ERROR_NS + 1];
	uint64_t readings;
	uint64_t measured;
	uint64_t max_ns;
	uint64_t proved_ns;
};

static struct dpcap_clock watched;
static _Atomic bool over;

static void
nap(long ns)
{
	const struct timespec ts = { .tv_nsec = ns };

	nanosleep(&ts, NULL);
}

static void *
correct(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		nap(CORRECTION_NS);
		dpcap_clock_correct(&watched);
	}
	return NULL;
}

static void
note(struct errors *errors, uint64_t before, uint64_t ns, uint64_t after)
{
	const uint64_t middle = before + (after - before) / 2;
	const uint64_t off = ns > middle ? ns - middle : middle - ns;
	const uint64_t proved = ns < before ? before - ns : ns > after ? ns - after : 0;

	errors->readings++;
	if (proved > errors->proved_ns)
		errors->proved_ns = proved;
	if (after - before > CLOSE_NS)
		return;
	errors->measured++;
	errors->by_ns[off < MAX_ERROR_NS ? off : MAX_ERROR_NS]++;
	if (off > errors->max_ns)
		errors->max_ns = off;
}

static uint32_t
percentile(const struct errors *errors, double share)
{
	uint64_t left = (uint64_t)((double)errors->measured * share);

	for (uint32_t ns = 0; ns < MAX_ERROR_NS; ns++) {
		if (errors->by_ns[ns] >= left)
			return ns;
		left -= errors->by_ns[ns];
	}
	return MAX_ERROR_NS;
}

static void
print(uint64_t seconds, const struct errors *errors)
{
	printf("%" PRIu64 " readings %" PRIu64 " measured %" PRIu64 " median %" PRIu32 " p99 %" PRIu32 " max %" PRIu64
	       " proved %" PRIu64 " steps %" PRIu64 "\n",
	       seconds, errors->readings, errors->measured, percentile(errors, 0.5), percentile(errors, 0.99),
	       errors->max_ns, errors->proved_ns, watched.steps);
	fflush(stdout);
}

static void
add(struct errors *sum, const struct errors *errors)
{
	for (uint32_t ns = 0; ns <= MAX_ERROR_NS; ns++)
		sum->by_ns[ns] += errors->by_ns[ns];
	sum->readings += errors->readings;
	sum->measured += errors->measured;
	if (errors->max_ns > sum->max_ns)
		sum->max_ns = errors->max_ns;
	if (errors->proved_ns > sum->proved_ns)
		sum->proved_ns = errors->proved_ns;
}

int
main(int argc, char **argv)
{
	static struct errors minute, all;
	const uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	const uint64_t start = dpcap_clock_realtime();
	uint64_t told = 0, now = 0;
	pthread_t thread;

	dpcap_clock_init(&watched, NULL);
	if (!watched.counter) {
		fprintf(stderr, "clock_watch: the TSC is no clock here: the shim takes clock_gettime(2) itself\n");
		return 77; /* skipped */
	}
	if (pthread_create(&thread, NULL, correct, NULL) != 0)
		return 1;
	while (now < seconds) {
		const uint64_t before = dpcap_clock_realtime();
		const uint64_t ns = dpcap_clock_now(&watched);
		const uint64_t after = dpcap_clock_realtime();

		note(&minute, before, ns, after);
		now = (after - start) / 1000000000ULL;
		if (now / 60 != told || now >= seconds) {
			told = now / 60;
			print(now, &minute);
			add(&all, &minute);
			memset(&minute, 0, sizeof(minute));
		}
		nap(READING_NS);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	print(now, &all);
	return 0;
}
