/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "queue.h"

bool queue_lcore_fences;

/* Newest first. Contexts are added at the head and never taken out. */
static struct queue_ctx *_Atomic contexts;

/* An object on its way out. */
struct retired {
	struct queue_ctx *ctx;
	uint64_t inside; /* in_use when the barrier had passed */
	bool counted;	 /* inside is valid */
	void (*release)(void *);
	void *object;
	struct retired *next;
};

static struct retired *retired;

static long
membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

void
queue_init(void)
{
	queue_lcore_fences = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0;
}

struct queue_ctx *
queue_ctx_get(uint16_t port, uint16_t queue, uint32_t direction)
{
	struct queue_ctx *ctx;
	void *scratch;

	for (ctx = atomic_load_explicit(&contexts, memory_order_relaxed); ctx != NULL; ctx = ctx->next)
		if (ctx->port == port && ctx->queue == queue && ctx->direction == direction)
			return ctx;

	/* Address space only: its pages come with the first packet that needs them. */
	scratch = mmap(NULL, QUEUE_SCRATCH_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (scratch == MAP_FAILED)
		return NULL;
	ctx = aligned_alloc(_Alignof(struct queue_ctx), sizeof(*ctx));
	if (ctx == NULL) {
		munmap(scratch, QUEUE_SCRATCH_SIZE);
		return NULL;
	}
	memset(ctx, 0, sizeof(*ctx));
	ctx->scratch = scratch;
	ctx->port = port;
	ctx->queue = queue;
	ctx->direction = direction;
	ctx->next = atomic_load_explicit(&contexts, memory_order_relaxed);
	atomic_store_explicit(&contexts, ctx, memory_order_release);
	return ctx;
}

struct queue_ctx *
queue_first(void)
{
	return atomic_load_explicit(&contexts, memory_order_relaxed);
}

void
queue_add(struct queue_ctx *ctx, struct sink *sink)
{
	struct sink *first = atomic_load_explicit(&ctx->sinks, memory_order_relaxed);

	atomic_store_explicit(&sink->next, first, memory_order_relaxed);
	atomic_store_explicit(&ctx->sinks, sink, memory_order_release);
	if (sink->counters != NULL)
		atomic_fetch_add_explicit(&ctx->n_watches, 1, memory_order_relaxed);
}

void
queue_remove(struct queue_ctx *ctx, struct sink *sink)
{
	struct sink *next = atomic_load_explicit(&sink->next, memory_order_relaxed);
	struct sink *_Atomic *link = &ctx->sinks, *at;

	while ((at = atomic_load_explicit(link, memory_order_relaxed)) != NULL && at != sink)
		link = &at->next;
	if (at != sink)
		return;
	atomic_store_explicit(link, next, memory_order_release);
	if (sink->counters != NULL)
		atomic_fetch_sub_explicit(&ctx->n_watches, 1, memory_order_relaxed);
}

void
queue_retire(struct queue_ctx *ctx, void (*release)(void *), void *object)
{
	struct retired *r = malloc(sizeof(*r));

	if (r == NULL)
		return; /* a leak is the only safe thing left */
	*r = (struct retired){ .ctx = ctx, .release = release, .object = object, .next = retired };
	retired = r;
}

/* Whether the lcore that may have been inside when the barrier passed has left. */
static bool
has_left(const struct retired *r)
{
	uint64_t now = atomic_load_explicit(&r->ctx->in_use, memory_order_acquire);

	return (r->inside & 1) == 0 || now != r->inside;
}

unsigned int
queue_reclaim(void)
{
	struct retired **link, *r;
	unsigned int waiting = 0;
	bool fresh = false;

	for (r = retired; r != NULL; r = r->next)
		fresh |= !r->counted;
	if (fresh) {
		atomic_thread_fence(memory_order_seq_cst);
		if (!queue_lcore_fences && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)
			return 1; /* cannot fail once registered; if it did, try again */
		for (r = retired; r != NULL; r = r->next)
			if (!r->counted) {
				r->inside = atomic_load_explicit(&r->ctx->in_use, memory_order_acquire);
				r->counted = true;
			}
	}
	for (link = &retired; *link != NULL;) {
		r = *link;
		if (!has_left(r)) {
			waiting++;
			link = &r->next;
			continue;
		}
		*link = r->next;
		r->release(r->object);
		free(r);
	}
	return waiting;
}

void
queue_abandon_after_fork(void)
{
	struct queue_ctx *ctx;

	for (ctx = atomic_load_explicit(&contexts, memory_order_acquire); ctx != NULL; ctx = ctx->next)
		atomic_store_explicit(&ctx->sinks, NULL, memory_order_relaxed);
}
