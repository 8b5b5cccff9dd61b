/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <stdio.h>
#endif

#include "clock.h"

#define MILLISECOND 1000000ULL

/* How long the first calibration watches both clocks. */
#define CALIBRATION_NS (10 * MILLISECOND)
/* Corrections closer than this would measure the noise of reading two clocks. */
#define MIN_INTERVAL_NS (10 * MILLISECOND)
/* A pair of readings is the tightest of so many at most. */
#define TRIES 64
/* A larger error is a step of the real clock; a smaller one is bent away. */
#define STEP_NS (10 * (int64_t)MILLISECOND)

struct pair {
	uint64_t ticks;
	uint64_t ns;
};

static uint64_t
tsc_ticks(void *ctx)
{
	(void)ctx;
#if defined(__x86_64__)
	return __rdtsc();
#else
	return dpcap_clock_realtime();
#endif
}

static uint64_t
system_ns(void *ctx)
{
	(void)ctx;
	return dpcap_clock_realtime();
}

static void
system_sleep(void *ctx, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000ULL), .tv_nsec = (long)(ns % 1000000000ULL)};

	(void)ctx;
	nanosleep(&ts, NULL);
}

/*
 * May the TSC be taken for a clock? Either the CPU says that its rate is invariant
 * (CPUID 80000007H, EDX bit 8), or the kernel has chosen it for its own clock: a
 * hypervisor may hide the bit.
 */
static bool
tsc_is_invariant(void)
{
#if defined(__x86_64__)
	unsigned int a, b, c, d = 0;
	char name[16] = "";
	FILE *f;

	if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1u << 8)))
		return true;
	f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	if (f == NULL)
		return false;
	if (fgets(name, sizeof(name), f) == NULL)
		name[0] = '\0';
	fclose(f);
	return strcmp(name, "tsc\n") == 0;
#else
	return false;
#endif
}

/*
 * Read both clocks as nearly at once as can be: the real clock between two readings
 * of the counter, again until they are about as close together as they have been
 * before. Wider ones were interrupted, and nobody knows on which side.
 */
static struct pair
read_pair(struct dpcap_clock *clock)
{
	const struct dpcap_clock_source *source = &clock->source;
	struct pair best = {0, 0};
	uint64_t best_width = UINT64_MAX;

	for (int i = 0; i < TRIES && best_width > clock->width * 2; i++) {
		const uint64_t before = source->ticks(source->ctx);
		const uint64_t ns = source->realtime(source->ctx);
		const uint64_t width = source->ticks(source->ctx) - before;

		if (width < best_width) {
			best_width = width;
			best.ticks = before + width / 2;
			best.ns = ns;
		}
	}
	/* The usual width follows a lower one at once and a higher one slowly. */
	clock->width += clock->width / 8 + 1;
	if (clock->width > best_width)
		clock->width = best_width;
	return best;
}

/* Nanoseconds a tick << DPCAP_CLOCK_SHIFT. */
static uint64_t
rate_of(uint64_t ns, uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ns << DPCAP_CLOCK_SHIFT) / ticks);
}

/* Put the line through (ticks, ns) with that slope; readers go over to it at once. */
static void
publish(struct dpcap_clock *clock, uint64_t ticks, uint64_t ns, uint64_t mult)
{
	const uint32_t next = atomic_load_explicit(&clock->generation, memory_order_relaxed) + 1;
	struct dpcap_clock_line *line = &clock->line[next & 1];

	/* release: nobody sees them before the generation that took this line out of use */
	atomic_store_explicit(&line->base_ticks, ticks, memory_order_release);
	atomic_store_explicit(&line->base_ns, ns, memory_order_release);
	atomic_store_explicit(&line->mult, mult, memory_order_release);
	atomic_store_explicit(&clock->generation, next, memory_order_release);
}

/* The least of some tries: the others were interrupted, or not yet in the cache. */
static uint32_t
cost_of_ticks(const struct dpcap_clock *clock)
{
	uint64_t least = UINT32_MAX;

	for (int i = 0; i < TRIES; i++) {
		const uint64_t before = dpcap_clock_ticks(clock);
		const uint64_t cost = dpcap_clock_ticks(clock) - before;

		if (cost < least)
			least = cost;
	}
	return (uint32_t)least;
}

void
dpcap_clock_init(struct dpcap_clock *clock, const struct dpcap_clock_source *source)
{
	static const struct dpcap_clock_source system = {tsc_ticks, system_ns, system_sleep, NULL};
	struct pair first, second;

	memset(clock, 0, sizeof(*clock));
	clock->source = source != NULL ? *source : system;
	clock->tsc = source == NULL && tsc_is_invariant();
	clock->counter = source != NULL || clock->tsc;
	clock->ticks_cost = cost_of_ticks(clock);
	if (!clock->counter) {
		publish(clock, 0, 0, 1ULL << DPCAP_CLOCK_SHIFT);
		return;
	}
	do { /* once more if one of the clocks was set meanwhile */
		first = read_pair(clock);
		clock->source.sleep(clock->source.ctx, CALIBRATION_NS);
		second = read_pair(clock);
	} while (second.ticks <= first.ticks || second.ns <= first.ns);
	clock->rate = rate_of(second.ns - first.ns, second.ticks - first.ticks);
	for (int i = 0; i < 3; i++)
		clock->rates[i] = clock->rate;
	clock->last_ticks = second.ticks;
	clock->last_ns = second.ns;
	publish(clock, second.ticks, second.ns, clock->rate);
}

static uint64_t
median(const uint64_t v[3])
{
	const uint64_t low = v[0] < v[1] ? v[0] : v[1];
	const uint64_t high = v[0] < v[1] ? v[1] : v[0];

	return v[2] < low ? low : v[2] > high ? high : v[2];
}

/*
 * The rate is the median of the last three intervals', so that an interval in which
 * the real clock was set does not count; the error that was found is spread over the
 * next two intervals by a slightly steeper or flatter line. It stays far from flat:
 * at most STEP_NS in 2 * MIN_INTERVAL_NS, half the real slope.
 */
void
dpcap_clock_correct(struct dpcap_clock *clock)
{
	struct pair now;
	uint64_t line_ns, ticks;
	bool ticks_back;
	__int128 bend;

	if (!clock->counter)
		return;
	now = read_pair(clock);
	line_ns = dpcap_clock_to_ns(clock, now.ticks);
	ticks = now.ticks - clock->last_ticks;
	ticks_back = now.ticks <= clock->last_ticks; /* the machine slept */
	if (!ticks_back && (unsigned __int128)ticks * clock->rate >> DPCAP_CLOCK_SHIFT < MIN_INTERVAL_NS)
		return;

	clock->corrections++;
	clock->error_ns = (int64_t)(line_ns - now.ns);
	if (!ticks_back && now.ns > clock->last_ns) {
		clock->rates[clock->corrections % 3] = rate_of(now.ns - clock->last_ns, ticks);
		clock->rate = median(clock->rates);
	}
	clock->last_ticks = now.ticks;
	clock->last_ns = now.ns;
	if (ticks_back || llabs(clock->error_ns) > STEP_NS) {
		clock->steps++;
		publish(clock, now.ticks, now.ns, clock->rate);
		return;
	}
	bend = (-(__int128)clock->error_ns * ((__int128)1 << DPCAP_CLOCK_SHIFT)) / (int64_t)ticks / 2;
	publish(clock, now.ticks, line_ns, (uint64_t)((__int128)clock->rate + bend));
}
