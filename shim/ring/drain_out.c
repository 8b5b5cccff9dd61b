/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing what was queued, and accounting for what was really written. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "drain_internal.h"

/* packets blocks at the tail of a ring are out. */
static void
written(struct dpcap_drain *d, struct dpcap_drain_result *result, const struct run *run)
{
	struct source *s = &d->sources[run->source];

	if (s->packets == 0)
		s->first_ns = run->first_ns;
	s->last_ns = run->last_ns;
	s->packets += run->packets;
	s->announced += run->dropped;
	s->bytes += run->bytes;
	s->late += run->late;
	if (run->last_ns > d->last_ns)
		d->last_ns = run->last_ns;
	result->packets += run->packets;
	result->bytes += run->bytes;
	dpcap_ring_consume(&s->ring, run->bytes);
}

/* The first bytes of a run are out: count its whole blocks, remember the broken one. */
static void
written_in_part(struct dpcap_drain *d, struct dpcap_drain_result *result, const struct run *run, uint64_t bytes)
{
	struct source *s = &d->sources[run->source];
	struct run whole = {.source = run->source};
	uint64_t newest = d->last_ns;
	bool sane;

	s->pos = s->ring.tail;
	s->limit = s->pos + run->bytes;
	while ((sane = drain_peek(s)) && s->next.size <= bytes - whole.bytes) {
		if (whole.packets++ == 0)
			whole.first_ns = s->next.ts_ns;
		whole.last_ns = s->next.ts_ns;
		if (s->next.ts_ns < newest)
			whole.late++;
		else
			newest = s->next.ts_ns;
		whole.dropped += s->next.dropped;
		whole.bytes += s->next.size;
		s->pos += s->next.size;
	}
	if (whole.packets > 0)
		written(d, result, &whole);
	d->partial = bytes - whole.bytes;
	d->partial_source = run->source;
	d->partial_info = s->next;
	if (!sane) /* the writer changed what it had published */
		d->partial_info.size = 0;
}

/* Of everything queued, bytes are out. */
static void
account(struct dpcap_drain *d, struct dpcap_drain_result *result, uint64_t bytes)
{
	for (uint32_t i = 0; i < d->n_runs && bytes > 0; i++) {
		const struct run *run = &d->runs[i];

		if (bytes < run->bytes) {
			written_in_part(d, result, run, bytes);
			return;
		}
		written(d, result, run);
		bytes -= run->bytes;
	}
}

static uint64_t
queued_bytes(const struct dpcap_drain *d)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < d->n_runs; i++)
		bytes += d->runs[i].bytes;
	return bytes;
}

static void
failed(struct dpcap_drain_result *result)
{
	result->stop = DPCAP_DRAIN_ERROR;
	result->error = errno;
}

/* Write the rest of a broken block. false: it is still not whole. */
static bool
finish_partial(struct dpcap_drain *d, int fd, struct dpcap_drain_result *result)
{
	const struct dpcap_epb_info *info = &d->partial_info;
	const struct dpcap_ring_reader *ring;
	const uint8_t *block;
	ssize_t n;

	if (d->partial == 0)
		return true;
	ring = &d->sources[d->partial_source].ring;
	block = ring->data + (ring->tail & (ring->size - 1));
	if (info->size == 0) {
		errno = EBADMSG;
		failed(result);
		return false;
	}
	n = write(fd, block + d->partial, info->size - d->partial);
	if (n < 0) {
		failed(result);
		return false;
	}
	d->partial += (uint64_t)n;
	if (d->partial < info->size) {
		result->stop = DPCAP_DRAIN_AGAIN;
		return false;
	}
	d->partial = 0;
	written(d, result,
		&(struct run){
			.source = d->partial_source,
			.packets = 1,
			.late = info->ts_ns < d->last_ns,
			.dropped = info->dropped,
			.bytes = info->size,
			.first_ns = info->ts_ns,
			.last_ns = info->ts_ns,
		});
	return true;
}

/* One batch to fd. false: stop here. */
static bool
write_batch(struct dpcap_drain *d, int fd, struct dpcap_drain_result *result)
{
	const uint64_t bytes = queued_bytes(d);
	const ssize_t n = writev(fd, d->iov, (int)d->n_runs);

	if (n < 0) {
		failed(result);
		return false;
	}
	account(d, result, (uint64_t)n);
	if ((uint64_t)n < bytes) {
		/* A signal, a full pipe or a full disk: the next call will know. */
		result->stop = DPCAP_DRAIN_AGAIN;
		return false;
	}
	return true;
}

/* What the limits leave after what this run has written. */
static struct quota
quota_left(const struct dpcap_drain_limits *limits, const struct dpcap_drain_result *result)
{
	struct quota quota = {UINT64_MAX, UINT64_MAX, UINT64_MAX, result->packets == 0};

	if (limits == NULL)
		return quota;
	if (limits->max_packets != 0)
		quota.packets = limits->max_packets - result->packets;
	if (limits->max_bytes != 0)
		quota.bytes = limits->max_bytes > result->bytes ? limits->max_bytes - result->bytes : 0;
	if (limits->until_ns != 0)
		quota.until_ns = limits->until_ns;
	return quota;
}

static void
close_result(const struct dpcap_drain *d, struct dpcap_drain_result *result)
{
	result->partial = d->partial;
	result->last_ns = d->last_ns;
}

int
dpcap_drain_write(struct dpcap_drain *d, int fd, uint32_t flags, const struct dpcap_drain_limits *limits,
		  struct dpcap_drain_result *result)
{
	*result = (struct dpcap_drain_result){.stop = DPCAP_DRAIN_IDLE};
	if (!finish_partial(d, fd, result))
		goto out;
	drain_look(d, flags);
	for (;;) {
		const struct quota quota = quota_left(limits, result);

		result->stop = drain_queue(d, &quota);
		if (d->n_runs > 0 && !write_batch(d, fd, result))
			break;
		if (result->stop != DPCAP_DRAIN_AGAIN || result->bytes >= CALL_BYTES)
			break;
	}
out:
	close_result(d, result);
	return 0;
}

int
dpcap_drain_read(struct dpcap_drain *d, void *buffer, size_t size, uint32_t flags,
		 const struct dpcap_drain_limits *limits, struct dpcap_drain_result *result)
{
	*result = (struct dpcap_drain_result){.stop = DPCAP_DRAIN_IDLE};
	if (d->partial != 0)
		return -EBUSY;
	drain_look(d, flags);
	for (;;) {
		struct quota quota = quota_left(limits, result);
		uint8_t *p = (uint8_t *)buffer + result->bytes;

		quota.oversize = false;
		if (quota.bytes > size - result->bytes)
			quota.bytes = size - result->bytes;
		result->stop = drain_queue(d, &quota);
		for (uint32_t i = 0; i < d->n_runs; i++) {
			memcpy(p, d->iov[i].iov_base, d->iov[i].iov_len);
			p += d->iov[i].iov_len;
		}
		account(d, result, queued_bytes(d));
		if (result->stop != DPCAP_DRAIN_AGAIN)
			break;
	}
	close_result(d, result);
	return 0;
}

int
dpcap_drain_reserve(int fd, uint64_t offset, uint64_t bytes)
{
	int rc;

	do
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
	while (rc != 0 && errno == EINTR);
	return rc == 0 ? 0 : -errno;
}

void
dpcap_drain_cut(struct dpcap_drain *d)
{
	d->partial = 0;
}
