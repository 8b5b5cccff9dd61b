/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "chooser.h"

/* A new measurement counts 1 / so many in the moving average. */
#define SMOOTHING 4
/* A measurement so many times the average was disturbed, by an interrupt or another
 * process, or the traffic has changed: it counts as no more than this. */
#define MOST 4

/* Marsaglia, "Xorshift RNGs", 2003: 32 bits, shifts 13, 17, 5. */
static uint32_t
next_random(struct chooser *chooser)
{
	uint32_t x = chooser->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	chooser->random = x;
	return x;
}

static void
end_try(struct chooser *chooser)
{
	_Atomic uint32_t *cost = &chooser->cost[chooser->form];
	const uint64_t old = atomic_load_explicit(cost, memory_order_relaxed);
	uint64_t now;

	if (chooser->packets == 0)
		return;
	now = chooser->cycles * CHOOSER_COST_ONE / chooser->packets;
	if (now > UINT32_MAX)
		now = UINT32_MAX;
	if (old != 0) {
		if (now > old * MOST)
			now = old * MOST;
		now = (old * (SMOOTHING - 1) + now) / SMOOTHING;
	}
	/* 0 means not tried. */
	atomic_store_explicit(cost, now == 0 ? 1 : (uint32_t)now, memory_order_relaxed);
}

static uint32_t
cheapest(const struct chooser *chooser)
{
	uint64_t least = UINT64_MAX;
	uint32_t best = 0;

	for (uint32_t form = 0; form < chooser->n_forms; form++) {
		uint64_t cost = atomic_load_explicit(&chooser->cost[form], memory_order_relaxed);

		cost = form == 0 ? cost * (CHOOSER_LEAN - 1) : cost * CHOOSER_LEAN;
		if (cost < least) {
			least = cost;
			best = form;
		}
	}
	return best;
}

/* Behind the last form: run the best one for a while. */
static void
start_try(struct chooser *chooser, uint32_t form)
{
	chooser->tried = form;
	if (form < chooser->n_forms) {
		chooser->form = form;
		chooser->bursts = 1;
		chooser->left = CHOOSER_WARM_BURSTS + CHOOSER_COUNTED_BURSTS;
		chooser->cycles = 0;
		chooser->packets = 0;
		return;
	}
	chooser->form = cheapest(chooser);
	chooser->bursts = CHOOSER_MEAN_PERIOD / 2 + next_random(chooser) % CHOOSER_MEAN_PERIOD;
	atomic_store_explicit(&chooser->best, chooser->form, memory_order_relaxed);
}

void
chooser_init(struct chooser *chooser, uint32_t n_forms, uint32_t seed)
{
	memset(chooser, 0, sizeof(*chooser));
	chooser->n_forms = n_forms;
	chooser->random = seed | 1; /* xorshift never leaves 0 */
	start_try(chooser, 0);
}

uint32_t
chooser_step(struct chooser *chooser, uint64_t cycles, uint32_t packets, uint32_t *bursts)
{
	_Atomic uint64_t *ran = &chooser->ran[chooser->form];

	atomic_store_explicit(ran, atomic_load_explicit(ran, memory_order_relaxed) + chooser->bursts,
			      memory_order_relaxed);
	if (chooser->tried == chooser->n_forms) {
		start_try(chooser, 0);
	} else {
		if (chooser->left <= CHOOSER_COUNTED_BURSTS) {
			chooser->cycles += cycles;
			chooser->packets += packets;
		}
		if (--chooser->left == 0) {
			end_try(chooser);
			start_try(chooser, chooser->tried + 1);
		}
	}
	*bursts = chooser->bursts;
	return chooser->form;
}
