/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "drain_internal.h"

struct dpcap_drain *
dpcap_drain_create(uint64_t slack_ns, uint64_t patience_ns)
{
	struct dpcap_drain *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->slack_ns = slack_ns;
	d->patience_ns = patience_ns;
	return d;
}

void
dpcap_drain_destroy(struct dpcap_drain *d)
{
	if (d == NULL)
		return;
	for (uint32_t i = 0; i < d->n_sources; i++)
		dpcap_ring_reader_close(&d->sources[i].ring);
	free(d->sources);
	free(d->heap);
	free(d);
}

int
dpcap_drain_add(struct dpcap_drain *d, int fd)
{
	struct dpcap_ring_reader ring;
	struct source *sources;
	uint32_t *heap;
	int rc;

	sources = realloc(d->sources, (d->n_sources + 1) * sizeof(*sources));
	if (sources == NULL)
		return -ENOMEM;
	d->sources = sources;
	heap = realloc(d->heap, (d->n_sources + 1) * sizeof(*heap));
	if (heap == NULL)
		return -ENOMEM;
	d->heap = heap;

	rc = dpcap_ring_open(&ring, fd);
	if (rc != 0)
		return rc;
	d->n_heap = 0; /* made anew by the next run */
	sources[d->n_sources] = (struct source){.ring = ring};
	return (int)d->n_sources++;
}

int
dpcap_drain_end(struct dpcap_drain *d, int index)
{
	if (index < -1 || index >= (int)d->n_sources)
		return -EINVAL;
	for (uint32_t i = 0; i < d->n_sources; i++)
		if (index == -1 || index == (int)i)
			d->sources[i].ended = true;
	return 0;
}

/* Published and not yet written; what cannot be understood does not count. */
static uint64_t
unread(const struct source *s)
{
	struct dpcap_ring_span span;

	if (s->corrupt || dpcap_ring_readable(&s->ring, &span) != 0)
		return 0;
	return span.bytes;
}

static bool
is_ended(const struct source *s)
{
	/* In this order: what was published before closing is seen. */
	return (s->corrupt || s->ended || dpcap_ring_is_closed(&s->ring)) && unread(s) == 0;
}

uint64_t
dpcap_drain_pending(const struct dpcap_drain *d)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < d->n_sources; i++)
		bytes += unread(&d->sources[i]);
	return bytes;
}

int
dpcap_drain_wait(const struct dpcap_drain *d, uint64_t nap_ns, uint32_t naps)
{
	const struct timespec nap = {
		.tv_sec = (time_t)(nap_ns / 1000000000),
		.tv_nsec = (long)(nap_ns % 1000000000),
	};

	for (uint32_t i = 0; i < naps; i++) {
		if (nanosleep(&nap, NULL) != 0)
			return -errno;
		if (dpcap_drain_pending(d) != 0)
			return 1;
	}
	return 0;
}

int
dpcap_drain_done(const struct dpcap_drain *d)
{
	for (uint32_t i = 0; i < d->n_sources; i++)
		if (!is_ended(&d->sources[i]))
			return 0;
	return 1;
}

int
dpcap_drain_count(const struct dpcap_drain *d)
{
	return (int)d->n_sources;
}

int
dpcap_drain_stats(const struct dpcap_drain *d, int index, struct dpcap_drain_ring_stats *stats)
{
	const struct source *s;

	if (index < 0 || index >= (int)d->n_sources)
		return -EINVAL;
	s = &d->sources[index];
	*stats = (struct dpcap_drain_ring_stats){
		.interface_id = s->ring.interface_id,
		.direction = s->ring.direction,
		.port = s->ring.port,
		.queue = s->ring.queue,
		.ended = is_ended(s),
		.corrupt = s->corrupt,
		.received = atomic_load_explicit(&s->ring.shm->received, memory_order_relaxed),
		.accepted = atomic_load_explicit(&s->ring.shm->accepted, memory_order_relaxed),
		.dropped = atomic_load_explicit(&s->ring.shm->dropped, memory_order_relaxed),
		.packets = s->packets,
		.announced = s->announced,
		.bytes = s->bytes,
		.pending = unread(s),
		.late_packets = s->late,
		.first_ns = s->first_ns,
		.last_ns = s->last_ns,
	};
	return 0;
}
