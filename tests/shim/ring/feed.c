/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring's writer for tests in Python: a shared library, loaded by
 * tests/support/ring_writer.py, whose declarations are these.
 */
#include "epb.h"
#include "ring.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT void *feed_create(uint64_t size, uint32_t interface_id, uint16_t port, uint16_t queue, uint32_t direction,
			 uint32_t snaplen);
EXPORT int feed_fd(void *w);
EXPORT void feed_begin(void *w);
EXPORT int feed_put(void *w, uint64_t ts_ns, uint32_t flags, int64_t hash, const void *packet, uint32_t len,
		    uint32_t wirelen);
EXPORT void feed_publish(void *w, uint32_t received);
EXPORT void feed_close(void *w);
EXPORT void feed_destroy(void *w);

void *
feed_create(uint64_t size, uint32_t interface_id, uint16_t port, uint16_t queue, uint32_t direction, uint32_t snaplen)
{
	return dpcap_ring_create(&(struct dpcap_ring_params){
		.data_size = size,
		.interface_id = interface_id,
		.port = port,
		.queue = queue,
		.direction = direction,
		.snaplen = snaplen,
	});
}

int
feed_fd(void *w)
{
	return dpcap_ring_fd(w);
}

void
feed_begin(void *w)
{
	dpcap_ring_begin(w);
}

/* One packet of len bytes, of which the snaplen is kept; hash -1: none. 0: dropped. */
int
feed_put(void *w, uint64_t ts_ns, uint32_t flags, int64_t hash, const void *packet, uint32_t len, uint32_t wirelen)
{
	const struct dpcap_epb epb = {
		.ts_ns = ts_ns,
		.caplen = dpcap_epb_caplen(w, len),
		.origlen = wirelen,
		.flags = flags,
		.hash = (uint32_t)hash,
		.has_hash = hash >= 0,
	};

	return dpcap_epb_put(w, &epb, packet);
}

void
feed_publish(void *w, uint32_t received)
{
	dpcap_ring_received(w, received);
	dpcap_ring_publish(w);
}

void
feed_close(void *w)
{
	dpcap_ring_close(w);
}

void
feed_destroy(void *w)
{
	dpcap_ring_destroy(w);
}
