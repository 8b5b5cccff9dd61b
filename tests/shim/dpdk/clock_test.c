/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock against a simulated machine: a counter whose rate wanders, readings that
 * take time and get interrupted, a real clock that is slewed and set. Simulated hours
 * pass in milliseconds, so nothing here depends on how fast the test runs.
 */
#include <math.h>
#include <pthread.h>

#include "../../../shim/dpdk/clock.c"
#include "../check.h"

#define MS 1000000.0 /* nanoseconds */
#define SECOND (1000 * MS)

/* The machine. now is true time in nanoseconds; the clocks are seen from there. */
struct machine {
	double now;
	double ticks;	     /* the counter */
	double ghz;	     /* its nominal rate: ticks a nanosecond */
	double ppm;	     /* how wrong that is just now */
	double real;	     /* CLOCK_REALTIME, nanoseconds since the start */
	double slew_ppm;     /* of CLOCK_REALTIME against true time */
	uint32_t random;
	bool interrupted;    /* some readings are interrupted for 5 us */
	uint64_t first_real; /* CLOCK_REALTIME at the start */
};

static double
uniform(struct machine *m)
{
	m->random = m->random * 1664525 + 1013904223;
	return (m->random >> 8) / (double)(1 << 24);
}

static void
pass(struct machine *m, double ns)
{
	m->now += ns;
	m->ticks += ns * m->ghz * (1 + m->ppm * 1e-6);
	m->real += ns * (1 + m->slew_ppm * 1e-6);
}

/* Reading a clock takes about 10 ns. */
static void
reading(struct machine *m)
{
	pass(m, 5 + 10 * uniform(m));
	if (m->interrupted && uniform(m) < 0.2)
		pass(m, 5000);
}

static uint64_t
read_ticks(void *ctx)
{
	struct machine *m = ctx;

	reading(m);
	return (uint64_t)m->ticks;
}

static uint64_t
read_real(void *ctx)
{
	struct machine *m = ctx;

	reading(m);
	return m->first_real + (uint64_t)m->real;
}

static void
sleep_ns(void *ctx, uint64_t ns)
{
	pass(ctx, (double)ns);
}

static void
boot(struct machine *m, struct dpcap_clock *clock, double ghz)
{
	const struct dpcap_clock_source source = {read_ticks, read_real, sleep_ns, m};

	*m = (struct machine){
		.ghz = ghz,
		.ticks = 1e6,
		.random = 1,
		.interrupted = true,
		.first_real = 1800000000ULL * 1000000000ULL,
	};
	dpcap_clock_init(clock, &source);
}

/* How far the clock is ahead of the real one just now, nanoseconds. */
static double
error_of(const struct machine *m, const struct dpcap_clock *clock)
{
	return (double)(int64_t)(dpcap_clock_to_ns(clock, (uint64_t)m->ticks) - m->first_real) - m->real;
}

/*
 * Let time pass, looking at the clock ten times between corrections. Returns the
 * largest error; checks that time does not turn back by looking at it around each
 * correction.
 */
static double
run(struct machine *m, struct dpcap_clock *clock, double seconds, double interval, bool may_turn_back)
{
	const double end = m->now + seconds * SECOND;
	uint64_t last = dpcap_clock_to_ns(clock, (uint64_t)m->ticks);
	double worst = 0;

	while (m->now < end) {
		for (int i = 0; i < 10; i++) {
			const uint64_t ns = dpcap_clock_to_ns(clock, (uint64_t)m->ticks);

			if (fabs(error_of(m, clock)) > worst)
				worst = fabs(error_of(m, clock));
			CHECK(may_turn_back || ns >= last);
			last = ns;
			pass(m, interval / 10);
		}
		last = dpcap_clock_to_ns(clock, (uint64_t)m->ticks);
		dpcap_clock_correct(clock);
	}
	return worst;
}

/* The rate of the counter wanders with the temperature, 5 ppm up and down in 20 minutes. */
static void
test_an_hour_of_drift(double ghz, double interval)
{
	struct dpcap_clock clock;
	struct machine m;
	double worst = 0;

	boot(&m, &clock, ghz);
	m.ppm = 30;
	run(&m, &clock, 10, interval, false); /* finds out about the 30 ppm */
	for (int second = 0; second < 3600; second += 10) {
		double w;

		m.ppm = 30 + 5 * sin(second / 1200.0 * 2 * M_PI);
		w = run(&m, &clock, 10, interval, false);
		if (w > worst)
			worst = w;
	}
	printf("%.2f GHz, corrected every %4.0f ms: within %.0f ns of the real clock for an hour\n", ghz,
	       interval / MS, worst);
	CHECK(worst < 1000);
	CHECK_EQ(clock.steps, 0);
}

/* NTP speeds the real clock up by its maximum, 500 ppm, and lets go again. */
static void
test_slew(void)
{
	const double interval = 100 * MS;
	struct dpcap_clock clock;
	struct machine m;

	boot(&m, &clock, 2.5);
	run(&m, &clock, 5, interval, false);
	for (int i = 0; i < 4; i++) {
		m.slew_ppm = i % 2 == 0 ? 500 : -500;
		/* 1000 ppm of change, unnoticed for one interval, measured as median of three */
		CHECK(run(&m, &clock, 2, interval, false) < 400000);
		CHECK(run(&m, &clock, 5, interval, false) < 1000);
	}
	CHECK_EQ(clock.steps, 0);
}

static void
test_step(void)
{
	const double steps[] = {3600 * SECOND, -3600 * SECOND, 0.5 * SECOND, -20 * MS};
	const double interval = 100 * MS;
	struct dpcap_clock clock;
	struct machine m;

	boot(&m, &clock, 2.5);
	run(&m, &clock, 5, interval, false);
	for (int i = 0; i < 4; i++) {
		m.real += steps[i];
		pass(&m, interval);
		dpcap_clock_correct(&clock); /* one is enough */
		CHECK(run(&m, &clock, 2, interval, false) < 1000);
		CHECK_EQ(clock.steps, i + 1);
	}

	/* A small one is bent away: time does not turn back for it. */
	m.real -= 5 * MS;
	run(&m, &clock, 2, interval, false);
	CHECK(run(&m, &clock, 2, interval, false) < 1000);
	CHECK_EQ(clock.steps, 4);
}

/* The counter starts anew, or runs at another rate: the machine slept or moved house. */
static void
test_suspend_and_migration(void)
{
	const double interval = 100 * MS;
	struct dpcap_clock clock;
	struct machine m;

	boot(&m, &clock, 2.5);
	m.ticks += 1e12;
	run(&m, &clock, 5, interval, true);
	m.ticks = 1e6;
	m.real += 600 * SECOND;
	run(&m, &clock, 0.15, interval, true);
	CHECK(run(&m, &clock, 2, interval, false) < 1000);
	m.ghz = 3.1;
	run(&m, &clock, 1, interval, true);
	CHECK(run(&m, &clock, 5, interval, false) < 1000);
}

/* The correcting thread sleeps for a minute; corrections in quick succession do no harm. */
static void
test_irregular_corrections(void)
{
	struct dpcap_clock clock;
	struct machine m;
	double before;

	boot(&m, &clock, 2.5);
	m.ppm = -20;
	run(&m, &clock, 5, 100 * MS, false);
	pass(&m, 60 * SECOND);
	CHECK(fabs(error_of(&m, &clock)) < 60 * 3000);
	run(&m, &clock, 2, 100 * MS, false);
	before = (double)clock.corrections;
	CHECK(run(&m, &clock, 0.5, 1 * MS, false) < 1000);
	CHECK((double)clock.corrections - before <= 50);
}

/* The counter may be read before the line is replaced and converted after: both directions work. */
static void
test_ticks_before_the_base(void)
{
	struct dpcap_clock clock;
	struct machine m;
	uint64_t early, ns;

	boot(&m, &clock, 2.5);
	run(&m, &clock, 1, 100 * MS, false);
	early = (uint64_t)m.ticks;
	ns = dpcap_clock_to_ns(&clock, early);
	pass(&m, 100 * MS);
	dpcap_clock_correct(&clock);
	CHECK(early < clock.last_ticks);
	CHECK(llabs((int64_t)(dpcap_clock_to_ns(&clock, early) - ns)) < 1000);
}

/* The machine that the test runs on: nothing is asked but that both clocks tell the same time. */
static void
test_this_machine(void)
{
	struct dpcap_clock clock;
	uint64_t corrections;

	dpcap_clock_init(&clock, NULL);
	for (int i = 0; i < 1000; i++) {
		const uint64_t before = dpcap_clock_realtime();
		const uint64_t ns = dpcap_clock_now(&clock);
		const uint64_t after = dpcap_clock_realtime();

		dpcap_clock_correct(&clock);
		/* Wide: the clock may be set by NTP at any moment. */
		CHECK(ns + 10000000 > before && ns < after + 10000000);
	}
	printf("this machine: %s\n", clock.tsc ? "TSC" : "clock_gettime");

	/* Without a counter, ticks are the real time. */
	clock.tsc = clock.counter = false;
	atomic_store(&clock.line[0].base_ticks, 0);
	atomic_store(&clock.line[0].base_ns, 0);
	atomic_store(&clock.line[0].mult, 1ULL << DPCAP_CLOCK_SHIFT);
	atomic_store(&clock.generation, 0);
	CHECK_EQ(dpcap_clock_to_ns(&clock, 1800000000123456789), 1800000000123456789);
	corrections = clock.corrections;
	dpcap_clock_correct(&clock);
	CHECK_EQ(clock.corrections, corrections);
	CHECK_EQ(dpcap_clock_to_ns(&clock, 1800000000123456789), 1800000000123456789);
}

/* ---- Readers while the line is replaced --------------------------------------- */

#define OFFSET_NS 1800000000000000000ULL

static _Atomic bool replacing;

static void *
read_lines(void *arg)
{
	struct dpcap_clock *clock = arg;

	while (atomic_load(&replacing))
		REQUIRE(dpcap_clock_to_ns(clock, 12345678) == OFFSET_NS + 12345678);
	return NULL;
}

/* All the lines tell the same time, but only if none is read half old and half new. */
static void
test_readers_see_whole_lines(void)
{
	struct dpcap_clock clock = {0};
	pthread_t readers[2];

	publish(&clock, 0, OFFSET_NS, 1ULL << DPCAP_CLOCK_SHIFT);
	atomic_store(&replacing, true);
	for (int i = 0; i < 2; i++)
		REQUIRE(pthread_create(&readers[i], NULL, read_lines, &clock) == 0);
	for (uint64_t i = 1; i < 30000000; i++)
		publish(&clock, i * 1000, OFFSET_NS + i * 1000, 1ULL << DPCAP_CLOCK_SHIFT);
	atomic_store(&replacing, false);
	for (int i = 0; i < 2; i++)
		pthread_join(readers[i], NULL);
}

int
main(void)
{
	test_readers_see_whole_lines();
	test_an_hour_of_drift(2.6, 100 * MS);
	test_an_hour_of_drift(5.2, 1000 * MS);
	test_an_hour_of_drift(0.9, 250 * MS);
	test_slew();
	test_step();
	test_suspend_and_migration();
	test_irregular_corrections();
	test_ticks_before_the_base();
	test_this_machine();
	return CHECK_RESULT();
}
