/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The chooser against forms whose cost is made up: it finds the cheapest one, follows
 * when that changes, is not misled by interruptions, and tries every form for ever, but
 * seldom.
 */
#include "../../../shim/dpdk/chooser.c"
#include "../check.h"

#define PACKETS 32

struct world {
	struct chooser chooser;
	uint32_t form;
	double cost[CHOOSER_MAX_FORMS]; /* cycles a packet */
	double noise;			/* of a burst, 1: up to twice or nothing */
	uint32_t interrupt_every;	/* steps, 0: never */
	uint32_t steps;
	uint64_t bursts;
	uint64_t ran[CHOOSER_MAX_FORMS];
	uint32_t random;
};

static double
uniform(struct world *w)
{
	w->random = w->random * 1664525 + 1013904223;
	return (w->random >> 8) / (double)(1 << 24);
}

static void
begin(struct world *w, uint32_t n_forms, uint32_t seed)
{
	*w = (struct world){ .noise = 0.2, .random = seed };
	chooser_init(&w->chooser, n_forms, seed);
}

/* Run so many bursts. */
static void
run(struct world *w, uint64_t bursts)
{
	const uint64_t end = w->bursts + bursts;
	uint32_t asked = 1;

	while (w->bursts < end) {
		double cycles = w->cost[w->form] * PACKETS * (1 + w->noise * (2 * uniform(w) - 1));

		w->steps++;
		if (w->interrupt_every != 0 && w->steps % w->interrupt_every == 0)
			cycles += 50000;
		w->ran[w->form] += asked;
		w->bursts += asked;
		w->form = chooser_step(&w->chooser, (uint64_t)cycles, PACKETS, &asked);
		REQUIRE(w->form < w->chooser.n_forms);
		REQUIRE(asked >= 1 && asked < 2 * CHOOSER_MEAN_PERIOD);
	}
}

static uint32_t
best(const struct world *w)
{
	return atomic_load(&w->chooser.best);
}

static void
test_finds_the_cheapest(void)
{
	for (uint32_t n = 1; n <= CHOOSER_MAX_FORMS; n++)
		for (uint32_t cheap = 0; cheap < n; cheap++) {
			struct world w;

			begin(&w, n, n * 100 + cheap);
			for (uint32_t form = 0; form < n; form++)
				w.cost[form] = form == cheap ? 3 : 5 + form;
			run(&w, 20000);
			CHECK_EQ(best(&w), cheap);
			/* Tries included, it hardly runs anything else. */
			CHECK(w.ran[cheap] > w.bursts * 8 / 10);
			CHECK(atomic_load(&w.chooser.cost[cheap]) > 2 * CHOOSER_COST_ONE);
			CHECK(atomic_load(&w.chooser.cost[cheap]) < 4 * CHOOSER_COST_ONE);
			CHECK(atomic_load(&w.chooser.ran[cheap]) <= w.ran[cheap]);
		}
}

static void
test_leans_to_the_first(void)
{
	struct world w;

	begin(&w, 2, 7);
	w.noise = 0;
	w.cost[0] = 10;
	w.cost[1] = 9;
	run(&w, 50000);
	CHECK_EQ(best(&w), 0);
	w.cost[1] = 8.5;
	run(&w, 50000);
	CHECK_EQ(best(&w), 1);
}

static void
test_follows_a_change(void)
{
	struct world w;

	begin(&w, 3, 11);
	w.cost[0] = 4, w.cost[1] = 8, w.cost[2] = 8;
	run(&w, 200000);
	CHECK_EQ(best(&w), 0);
	for (uint32_t change = 0; change < 20; change++) {
		uint32_t cheap = (change * 2 + 1) % 3;

		for (uint32_t form = 0; form < 3; form++)
			w.cost[form] = form == cheap ? 2 : 20 + change;
		run(&w, 20ULL * CHOOSER_MEAN_PERIOD);
		CHECK_EQ(best(&w), cheap);
	}
}

/* An interrupt in one of a hundred measured bursts, hundreds of times as long as a burst. */
static void
test_is_not_misled(void)
{
	uint64_t right = 0;
	struct world w;

	begin(&w, 3, 13);
	w.cost[0] = 6, w.cost[1] = 4, w.cost[2] = 9;
	w.interrupt_every = 97;
	for (uint32_t i = 0; i < 1000; i++) {
		run(&w, CHOOSER_MEAN_PERIOD);
		right += best(&w) == 1;
	}
	CHECK(right > 700);
}

/* None is forgotten, the tries cost little, and nobody can foresee them. */
static void
test_tries(void)
{
	uint32_t lengths[64] = { 0 }, n_lengths = 0;
	struct world w;

	begin(&w, 3, 17);
	w.cost[0] = 1, w.cost[1] = 1000, w.cost[2] = 1000000;
	run(&w, 2000ULL * CHOOSER_MEAN_PERIOD);
	for (uint32_t form = 1; form < 3; form++) {
		const uint64_t expected = 2000ULL * (CHOOSER_WARM_BURSTS + CHOOSER_COUNTED_BURSTS);

		CHECK(w.ran[form] > expected * 8 / 10);
		CHECK(w.ran[form] < expected * 12 / 10);
	}
	while (n_lengths < 64) {
		uint32_t asked;

		w.form = chooser_step(&w.chooser, 100, PACKETS, &asked);
		if (asked > 1)
			lengths[n_lengths++] = asked;
	}
	for (uint32_t i = 0; i < 64; i++) {
		CHECK(lengths[i] >= CHOOSER_MEAN_PERIOD / 2);
		CHECK(i == 0 || lengths[i] != lengths[i - 1]);
	}
}

/* A clock that stands still or jumps must not break it. */
static void
test_any_measurement(void)
{
	static const uint64_t cycles[] = { 0, 1, UINT32_MAX, UINT64_MAX / CHOOSER_COST_ONE / 20, 0, 0, 7 };
	uint32_t asked, ran[4] = { 0 };
	struct chooser chooser;

	chooser_init(&chooser, 4, 0);
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t form = chooser_step(&chooser, cycles[i % 7], i % 65, &asked);

		REQUIRE(form < 4);
		ran[form]++;
	}
	for (uint32_t form = 0; form < 4; form++)
		CHECK(ran[form] > 1000);
	for (uint32_t i = 0; i < 1000; i++)
		chooser_step(&chooser, 100, 0, &asked);
}

int
main(void)
{
	test_finds_the_cheapest();
	test_leans_to_the_first();
	test_follows_a_change();
	test_is_not_misled();
	test_tries();
	test_any_measurement();
	return CHECK_RESULT();
}
