/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "dpdk_api.h"
#include "frame.h"

#define ADDRESSES 12 /* bytes before the first tag: destination and source */
#define TPID_VLAN 0x8100
#define TPID_QINQ 0x88a8 /* the mbuf does not say which one it was */

#define NEXT_CLASSIC 64 /* struct rte_mbuf of a build with the IOVA field */
#define NEXT_NO_IOVA 8	/* of one without */

static size_t next_offset; /* of rte_mbuf.next; 0: not known */

/*
 * Two mbufs, each reachable by one of the two possible places of next. The
 * application's own librte_mbuf walks to the one which its build uses.
 *
 *	head (1 byte) --word 64--> classic (1 byte)
 *	              --word 8---> no_iova (1 byte)
 */
bool
frame_init(void)
{
	static const uint8_t bytes[3] = { 'h', 'c', 'n' };
	struct rte_mbuf *mbufs, *head, *classic, *no_iova;
	const uint8_t *reached;
	uint8_t copy;
	size_t i;

	next_offset = 0;
	mbufs = aligned_alloc(_Alignof(struct rte_mbuf), 3 * sizeof(*mbufs));
	if (dpdk.__rte_pktmbuf_read == NULL || mbufs == NULL)
		goto out;
	memset(mbufs, 0, 3 * sizeof(*mbufs));
	for (i = 0; i < 3; i++) {
		mbufs[i].buf_addr = (void *)(uintptr_t)&bytes[i];
		mbufs[i].nb_segs = 1;
		mbufs[i].data_len = 1;
		mbufs[i].pkt_len = 1;
	}
	head = &mbufs[0];
	classic = &mbufs[1];
	no_iova = &mbufs[2];
	head->nb_segs = 2;
	head->pkt_len = 2;
	memcpy((char *)head + NEXT_CLASSIC, &classic, sizeof(classic));
	memcpy((char *)head + NEXT_NO_IOVA, &no_iova, sizeof(no_iova));

	reached = dpdk.__rte_pktmbuf_read(head, 1, 1, &copy);
	if (reached == &bytes[1])
		next_offset = NEXT_CLASSIC;
	else if (reached == &bytes[2])
		next_offset = NEXT_NO_IOVA;
out:
	free(mbufs);
	return next_offset != 0;
}

static const struct rte_mbuf *
next_segment(const struct rte_mbuf *m)
{
	const struct rte_mbuf *next;

	if (next_offset == 0)
		return NULL;
	memcpy(&next, (const char *)m + next_offset, sizeof(next));
	return next;
}

/* What is being put together. */
struct scratch {
	uint8_t *bytes;
	uint32_t size;
	uint32_t used;
};

static void
append(struct scratch *out, const void *data, uint32_t len)
{
	if (len > out->size - out->used)
		len = out->size - out->used;
	memcpy(out->bytes + out->used, data, len);
	out->used += len;
}

static void
append_tag(struct scratch *out, uint16_t tpid, uint16_t tci)
{
	const uint8_t tag[] = { tpid >> 8, (uint8_t)tpid, tci >> 8, (uint8_t)tci };

	append(out, tag, sizeof(tag));
}

/* The tags that are beside the bytes, outermost first. */
static void
append_tags(struct scratch *out, const struct rte_mbuf *m, uint64_t flags)
{
	/* Received: QINQ_STRIPPED alone took the outer tag only. To be sent: QINQ asks for both. */
	if (flags & (RTE_MBUF_F_RX_QINQ_STRIPPED | RTE_MBUF_F_TX_QINQ))
		append_tag(out, TPID_QINQ, m->vlan_tci_outer);
	if (flags & (RTE_MBUF_F_RX_VLAN_STRIPPED | FRAME_TX_TAGS))
		append_tag(out, TPID_VLAN, m->vlan_tci);
}

struct frame
frame_linearise(const struct rte_mbuf *m, uint64_t tag_flags, uint8_t *scratch, uint32_t size)
{
	struct scratch out = { .bytes = scratch, .size = size };
	const uint64_t tags = m->ol_flags & tag_flags;
	const struct rte_mbuf *const head = m;
	uint32_t tag_bytes = 0, segments;

	/* nb_segs bounds the walk: a chain that the application is building may be longer. */
	for (segments = m->nb_segs; m != NULL && segments > 0; m = next_segment(m), segments--) {
		const uint8_t *data = (const uint8_t *)m->buf_addr + m->data_off;
		uint32_t len = m->data_len;

		/* The tags go behind the addresses, wherever segments part. */
		if (tags != 0 && tag_bytes == 0 && out.used + len >= ADDRESSES) {
			uint32_t before = ADDRESSES - out.used;

			append(&out, data, before);
			append_tags(&out, head, tags);
			tag_bytes = out.used - ADDRESSES;
			data += before;
			len -= before;
		}
		append(&out, data, len);
	}
	return (struct frame){ .data = scratch, .len = out.used, .wirelen = head->pkt_len + tag_bytes };
}
