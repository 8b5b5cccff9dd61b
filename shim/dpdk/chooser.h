/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of several forms of a filter to run. They give the same answers; which one is
 * the fastest depends on the packets: branches are free while they are predicted and
 * cost more than all the rest where they are not. So the forms are tried on the packets
 * that are there, again and again, and the cheapest one runs in between.
 *
 *	| form 0 | form 1 | ... | the cheapest one, some 2048 bursts | form 0 | ...
 *	| 4 + 16 | 4 + 16 |     |                                    |
 *
 * A try is 4 bursts for the caches and the branch predictors and 16 that count, which go
 * into a moving average of the form's cost. The time between tries is random: with a
 * fixed one, the predictors of the CPU learn the tries too.
 *
 * Knows no clock and no program: whoever runs the bursts measures them. This header needs
 * nothing but C11, so that other programs can choose as the hooks do.
 */
#ifndef DPCAP_CHOOSER_H
#define DPCAP_CHOOSER_H

#include <stdatomic.h>
#include <stdint.h>

#define CHOOSER_MAX_FORMS 8

#define CHOOSER_WARM_BURSTS 4
#define CHOOSER_COUNTED_BURSTS 16
#define CHOOSER_MEAN_PERIOD 2048 /* bursts between two rounds of tries, half to one and a half times */

/* The first form counts as so much cheaper than it was measured, 1 / so many: what is
 * about as fast changes less with the traffic when it has no branches. */
#define CHOOSER_LEAN 8

/* Costs are cycles a packet, in units of 1 / so many. */
#define CHOOSER_COST_ONE 256

/* One thread at a time may step; any thread may read the atomic fields meanwhile. */
struct chooser {
	uint32_t n_forms;
	uint32_t random;
	uint32_t form;	 /* the current one */
	uint32_t bursts; /* that it was asked for */
	uint32_t tried;	 /* the form being tried; n_forms: the best one runs */
	uint32_t left;	 /* bursts of this try */
	uint64_t cycles; /* that count, of this try */
	uint64_t packets;
	_Atomic uint32_t best;			  /* the form that runs between tries */
	_Atomic uint32_t cost[CHOOSER_MAX_FORMS]; /* 0: not tried yet */
	_Atomic uint64_t ran[CHOOSER_MAX_FORMS];  /* bursts */
};

/*
 * Begin with n_forms (1 to CHOOSER_MAX_FORMS), the preferred one first. seed is any
 * number: choosers with other ones try at other times. The first burst is for form 0.
 */
void chooser_init(struct chooser *chooser, uint32_t n_forms, uint32_t seed);

/*
 * The last burst that was asked for, of so many packets, took so many cycles. Returns the
 * form to run now, and for how many bursts before the next call in *bursts. Only the last
 * of them has to be measured.
 */
uint32_t chooser_step(struct chooser *chooser, uint64_t cycles, uint32_t packets, uint32_t *bursts);

#endif /* DPCAP_CHOOSER_H */
