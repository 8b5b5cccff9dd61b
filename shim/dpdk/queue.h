/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a hook finds when it runs: one context for each (port, queue, direction),
 * never freed, with a list of what the sessions that look at this queue take from it.
 *
 *   rte_eth callback ──► struct queue_ctx ──► struct sink ──► struct sink ──► NULL
 *                        for ever             one session's   another's
 *
 * It is RCU with a reader that is an lcore and must not pay for a fence:
 *
 *   lcore                                   control thread
 *     in_use++ (odd: inside)                  take the sink out of the list
 *     walk the list, use the sinks            membarrier(): every running lcore has
 *     in_use++ (even: outside)                  executed a full barrier after the store
 *                                             read in_use: even, or later different:
 *                                               nobody uses the sink; free it
 *
 * Whoever entered before the barrier has its odd count visible after it; whoever
 * enters afterwards does not meet the sink. A lcore that is preempted inside keeps it
 * alive for as long as that takes: no sleep stands in for a grace period. A sink that
 * was taken out keeps its place in the list, so that who stands on it gets further.
 *
 * An application works through more memory between two bursts than the first-level
 * cache holds: each line that a hook needs has to come back, and each pointer on the way
 * to it is waited for. So what a burst without a match needs is the first line of the
 * context and the first line of the sink.
 */
#ifndef DPCAP_QUEUE_H
#define DPCAP_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "chooser.h"
#include "dpcap_vm.h"
#include "ring.h"
#include "watch.h"

struct queue_ctx;
struct rte_eth_rxtx_callback;

/* What captures made of a queue's packets. */
struct captured {
	uint64_t accepted; /* by the filters */
	uint64_t dropped;  /* of these: the ring was full */
};

/* What one session takes from one queue. */
struct sink {
	_Alignas(64) dpcap_vm_burst_fn burst; /* the form that runs; NULL: packets are run one by one */
	uint64_t meta;			      /* r4 of the program */
	struct sink *_Atomic next;	      /* of the queue */
	_Atomic uint64_t received;	      /* packets */
	struct dpcap_counters *counters;      /* a session that counts: what it counts in; NULL: it captures */
	uint32_t bursts_left;		      /* until the chooser is asked */

	/* For packets that match, or have to be run one by one. */
	_Alignas(64) struct dpcap_ring_writer *ring; /* NULL: it counts */
	dpcap_vm_fn jit; /* NULL: interpreter */
	const struct dpcap_vm_prog *prog; /* NULL: counts without a filter */
	const dpcap_vm_burst_fn *bursts; /* by the chooser's numbers */
	_Atomic uint64_t mac; /* of the port, first octet lowest; 0: not known */
	bool whole;	      /* a result other than 0 keeps snaplen bytes */
	struct chooser chooser;

	/* Of the control thread. */
	struct queue_ctx *ctx;
	struct program *program; /* one reference to it */
	struct watch *watch;	 /* the same; NULL: it captures */
	bool live;		 /* the queue's lcore sees it */
	uint64_t shown;		 /* of received: what the ring's header says */
	struct captured told;	 /* a capture: of it, to the queue; else of the queue, to the reader */
	struct sink *sibling;	 /* the next one of the session */
};

struct queue_ctx {
	_Alignas(64) struct sink *_Atomic sinks; /* NULL: nobody looks */
	_Atomic uint64_t in_use;		   /* written by lcores alone; odd: one is inside */
	_Atomic uint32_t missed; /* packets of threads that did not get in; not yet accounted */
	_Atomic uint32_t n_watches; /* sinks that count: they want to know of empty polls too */
	uint8_t *scratch; /* QUEUE_SCRATCH_SIZE bytes, for the lcore inside */
	uint32_t direction; /* DPCAP_DIRECTION_* */
	uint16_t port;
	uint16_t queue;

	/* Of the control thread. */
	const struct rte_eth_rxtx_callback *callback; /* as installed, NULL: not */
	struct captured captured;		      /* by all captures so far */
	struct queue_ctx *next;			      /* of all contexts */
};

/* The longest packet put together from segments: jumbo, LRO and TSO included. */
#define QUEUE_SCRATCH_SIZE (256 << 10)

/* Register for membarrier(2). To be called before the first lcore enters a hook. */
void queue_init(void);

/* Find or make the context. NULL: out of memory. */
struct queue_ctx *queue_ctx_get(uint16_t port, uint16_t queue, uint32_t direction);

/* All contexts, linked by next. */
struct queue_ctx *queue_first(void);

/* Show the sink to the lcores, or no more. */
void queue_add(struct queue_ctx *ctx, struct sink *sink);
void queue_remove(struct queue_ctx *ctx, struct sink *sink);

/*
 * Call release(object) when no lcore can hold what was unpublished from ctx before
 * this call. Never blocks: queue_reclaim() does the work.
 */
void queue_retire(struct queue_ctx *ctx, void (*release)(void *), void *object);

/*
 * Release what is safe by now; one membarrier for all that was retired since the
 * last call. Returns the number of objects still waiting for an lcore to leave.
 */
unsigned int queue_reclaim(void);

/* In a forked child: the hooks must not write into rings that the parent owns. */
void queue_abandon_after_fork(void);

/* Set when membarrier(2) does not work here: then the lcores fence for themselves. */
extern bool queue_lcore_fences;

/* How often a thread that finds the queue taken looks again before it gives up: some 40 us. */
#define QUEUE_PATIENCE 1000

/*
 * Enter with a plain store: for receive queues, which one thread polls at a time.
 * Threads that take turns are ordered by whatever hands the queue over.
 */
static inline bool
queue_lock_rx(struct queue_ctx *ctx)
{
	uint64_t count = atomic_load_explicit(&ctx->in_use, memory_order_relaxed);

	atomic_store_explicit(&ctx->in_use, count + 1, memory_order_relaxed);
	if (__builtin_expect(queue_lcore_fences, 0))
		atomic_thread_fence(memory_order_seq_cst);
	else
		atomic_signal_fence(memory_order_seq_cst); /* membarrier is the other half */
	return true;
}

/*
 * Enter with a compare and swap: with RTE_ETH_TX_OFFLOAD_MT_LOCKFREE several threads
 * may send on one queue at once. Whoever does not get in, because another one was
 * preempted inside, goes on without being captured: an lcore never waits for long.
 */
static inline bool
queue_lock_tx(struct queue_ctx *ctx)
{
	unsigned int tries;

	for (tries = 0; tries < QUEUE_PATIENCE; tries++) {
		uint64_t count = atomic_load_explicit(&ctx->in_use, memory_order_relaxed);

		if (__builtin_expect((count & 1) == 0, 1) &&
		    atomic_compare_exchange_strong_explicit(&ctx->in_use, &count, count + 1,
							    memory_order_seq_cst, memory_order_relaxed))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

static inline void
queue_leave(struct queue_ctx *ctx)
{
	uint64_t count = atomic_load_explicit(&ctx->in_use, memory_order_relaxed);

	atomic_store_explicit(&ctx->in_use, count + 1, memory_order_release);
}

/* Whether somebody wants to know of polls that found nothing. */
static inline bool
queue_is_watched(const struct queue_ctx *ctx)
{
	return atomic_load_explicit(&ctx->n_watches, memory_order_relaxed) != 0;
}

/* The next one to use, until queue_leave(); NULL: that was the last. */
static inline struct sink *
queue_next(struct sink *const _Atomic *link)
{
	return atomic_load_explicit(link, memory_order_acquire);
}

/*
 * The lcore's side, for a burst of n packets. Returns the first sink to use until
 * queue_leave(), or NULL; then nothing was entered.
 */
static inline struct sink *
queue_enter(struct queue_ctx *ctx, uint16_t n, bool rx)
{
	struct sink *sink;

	if (atomic_load_explicit(&ctx->sinks, memory_order_relaxed) == NULL)
		return NULL;
	if (__builtin_expect(!(rx ? queue_lock_rx(ctx) : queue_lock_tx(ctx)), 0)) {
		atomic_fetch_add_explicit(&ctx->missed, n, memory_order_relaxed);
		return NULL;
	}
	sink = queue_next(&ctx->sinks);
	if (__builtin_expect(sink == NULL, 0))
		queue_leave(ctx);
	return sink;
}

#endif /* DPCAP_QUEUE_H */
