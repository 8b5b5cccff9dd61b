/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the time-stamp counter to nanoseconds of CLOCK_REALTIME, without a division
 * and without a system call:
 *
 *	ns = base_ns + ((ticks - base_ticks) * mult >> DPCAP_CLOCK_SHIFT)
 *
 * One thread corrects the line against the real clock every now and then; any number
 * of lcores read it. Corrections bend the line where it is, so that time neither jumps
 * nor turns back; only a step of the real clock makes one here.
 *
 * Where the counter cannot be trusted (not x86-64, or the rate varies), ticks are
 * nanoseconds of clock_gettime(2) and everything else stays the same.
 */
#ifndef DPCAP_CLOCK_H
#define DPCAP_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define DPCAP_CLOCK_SHIFT 48

/* Where time comes from; the tests put their own in. */
struct dpcap_clock_source {
	uint64_t (*ticks)(void *ctx);	 /* the counter */
	uint64_t (*realtime)(void *ctx); /* nanoseconds of CLOCK_REALTIME */
	void (*sleep)(void *ctx, uint64_t ns);
	void *ctx;
};

/* One line through the two clocks. */
struct dpcap_clock_line {
	_Atomic uint64_t base_ticks;
	_Atomic uint64_t base_ns;
	_Atomic uint64_t mult; /* nanoseconds a tick, << DPCAP_CLOCK_SHIFT */
};

/*
 * Lines are published by a latch: line[generation % 2] is the one to use while the
 * other is being changed. So a reader never waits for the correcting thread, which
 * may be preempted anywhere, even by the reader itself; it reads again only when the
 * line was replaced meanwhile.
 */
struct dpcap_clock {
	_Alignas(64) _Atomic uint32_t generation;
	bool tsc;     /* dpcap_clock_ticks() reads the TSC */
	bool counter; /* ticks need correction; false: they are nanoseconds */
	uint32_t ticks_cost; /* ticks between two readings with nothing in between */
	struct dpcap_clock_line line[2];

	/* Of the correcting thread. */
	_Alignas(64) struct dpcap_clock_source source;
	uint64_t width;	     /* usual ticks between the two ends of a reading */
	uint64_t last_ticks; /* the latest reading of both clocks */
	uint64_t last_ns;
	uint64_t rate;	   /* measured nanoseconds a tick, << DPCAP_CLOCK_SHIFT */
	uint64_t rates[3]; /* of the last intervals */
	int64_t error_ns;  /* how far the latest correction found the line ahead */
	uint64_t steps;	   /* of the real clock that were followed */
	uint64_t corrections;
};

/*
 * Calibrate: takes about 10 ms. source NULL: the TSC where it is invariant, else
 * clock_gettime(2).
 */
void dpcap_clock_init(struct dpcap_clock *clock, const struct dpcap_clock_source *source);

/*
 * Compare with the real clock and bend the line. To be called by one thread, every
 * 100 ms to 1 s. Between two calls the line runs free: it goes wrong by what the
 * counter and the real clock drift apart in that time.
 */
void dpcap_clock_correct(struct dpcap_clock *clock);

static inline uint64_t
dpcap_clock_realtime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* The counter now: once a burst, or around what is to be timed. */
static inline uint64_t
dpcap_clock_ticks(const struct dpcap_clock *clock)
{
#if defined(__x86_64__)
	if (__builtin_expect(clock->tsc, 1))
		return __rdtsc();
#endif
	(void)clock;
	return dpcap_clock_realtime();
}

/* Ticks that passed since a reading of the counter, without those that reading it took. */
static inline uint64_t
dpcap_clock_passed(const struct dpcap_clock *clock, uint64_t since)
{
	const uint64_t passed = dpcap_clock_ticks(clock) - since;

	return passed > clock->ticks_cost ? passed - clock->ticks_cost : 0;
}

/* Nanoseconds of CLOCK_REALTIME at ticks, which may lie before or after the base. */
static inline uint64_t
dpcap_clock_to_ns(const struct dpcap_clock *clock, uint64_t ticks)
{
	uint64_t base_ticks, base_ns, mult;
	uint32_t generation;

	do {
		generation = atomic_load_explicit(&clock->generation, memory_order_acquire);
		const struct dpcap_clock_line *line = &clock->line[generation & 1];

		/* acquire: the generation is looked at again after them */
		base_ticks = atomic_load_explicit(&line->base_ticks, memory_order_acquire);
		base_ns = atomic_load_explicit(&line->base_ns, memory_order_acquire);
		mult = atomic_load_explicit(&line->mult, memory_order_acquire);
	} while (__builtin_expect(
		atomic_load_explicit(&clock->generation, memory_order_relaxed) != generation, 0));
	return base_ns + (uint64_t)(((__int128)(int64_t)(ticks - base_ticks) * (int64_t)mult) >> DPCAP_CLOCK_SHIFT);
}

/* Nanoseconds of CLOCK_REALTIME now. */
static inline uint64_t
dpcap_clock_now(const struct dpcap_clock *clock)
{
	return dpcap_clock_to_ns(clock, dpcap_clock_ticks(clock));
}

#endif /* DPCAP_CLOCK_H */
