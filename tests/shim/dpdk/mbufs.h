/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mbufs without DPDK behind them, chained at either place of next, and a librte_mbuf
 * that follows the same one.
 */
#ifndef DPCAP_TEST_MBUFS_H
#define DPCAP_TEST_MBUFS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "dpdk_api.h"
#include "frame.h"

#define NEXT_CLASSIC 64
#define NEXT_NO_IOVA 8

/* Symbols of the application's DPDK; the shim's own table is filled by hand here. */
struct dpdk_api dpdk;

static size_t next_place = NEXT_CLASSIC;

static struct rte_mbuf *
get_next(const struct rte_mbuf *m)
{
	struct rte_mbuf *next;

	memcpy(&next, (const char *)m + next_place, sizeof(next));
	return next;
}

static void
set_next(struct rte_mbuf *m, struct rte_mbuf *next)
{
	memcpy((char *)m + next_place, &next, sizeof(next));
}

/* As in librte_mbuf, for what frame_init() asks. */
static const void *
pktmbuf_read(const struct rte_mbuf *m, uint32_t off, uint32_t len, void *buf)
{
	(void)buf;
	while (off >= m->data_len) {
		off -= m->data_len;
		m = get_next(m);
	}
	CHECK(off + len <= m->data_len);
	return (const char *)m->buf_addr + m->data_off + off;
}

/* Be a DPDK with next at this place. */
static inline void
use_next_place(size_t place)
{
	next_place = place;
	dpdk.__rte_pktmbuf_read = pktmbuf_read;
	REQUIRE(frame_init());
}

/* An mbuf with a copy of these bytes; what lies around them is poison to ASan. */
static inline struct rte_mbuf *
new_mbuf(const void *data, uint16_t len)
{
	struct rte_mbuf *m = aligned_alloc(64, sizeof(*m));
	uint8_t *copy = malloc(len ? len : 1);

	REQUIRE(m != NULL && copy != NULL);
	/* The word that is not next holds an address that nobody may follow. */
	memset(m, 0, sizeof(*m));
	memset((char *)m + (next_place == NEXT_CLASSIC ? NEXT_NO_IOVA : NEXT_CLASSIC), 0x5a, 8);
	memcpy(copy, data, len);
	set_next(m, NULL);
	m->buf_addr = copy;
	m->data_off = 0;
	m->nb_segs = 1;
	m->refcnt = 1;
	m->data_len = len;
	m->pkt_len = len;
	return m;
}

/* The same bytes in segments of at most seg_len bytes. */
static inline struct rte_mbuf *
new_chain(const void *data, uint32_t len, uint16_t seg_len)
{
	struct rte_mbuf *head = new_mbuf(data, len < seg_len ? (uint16_t)len : seg_len), *tail = head;
	uint32_t at;

	for (at = tail->data_len; at < len; at += tail->data_len) {
		struct rte_mbuf *m =
			new_mbuf((const char *)data + at, len - at < seg_len ? (uint16_t)(len - at) : seg_len);

		set_next(tail, m);
		tail = m;
		head->nb_segs++;
	}
	head->pkt_len = len;
	return head;
}

static inline void
free_mbuf(struct rte_mbuf *m)
{
	while (m != NULL) {
		struct rte_mbuf *next = m->nb_segs > 1 || get_next(m) != NULL ? get_next(m) : NULL;

		free(m->buf_addr);
		free(m);
		m = next;
	}
}

#endif /* DPCAP_TEST_MBUFS_H */
