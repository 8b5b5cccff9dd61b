/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frame of an mbuf as it is on the wire: one run of bytes, with the VLAN tags
 * that the NIC took out, or will put in, at their place.
 *
 * Only those mbuf fields are used whose place is the same from 20.11 to 26.07. The
 * exception is next, at 64 or 8: frame_init() finds out.
 */
#ifndef DPCAP_FRAME_H
#define DPCAP_FRAME_H

#include <rte_mbuf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dpcap_vm.h"

_Static_assert(offsetof(struct rte_mbuf, buf_addr) == 0, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, data_off) == 16, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, nb_segs) == 20, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, port) == 22, "mbuf layout");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frame_all_plain() picks nb_segs out of a word");
_Static_assert(offsetof(struct rte_mbuf, ol_flags) == 24, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, pkt_len) == 36, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, data_len) == 40, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, vlan_tci) == 42, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, hash) == 44, "mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, vlan_tci_outer) == 52, "mbuf layout");

/* How the VM's burst entry finds the bytes of an mbuf of one segment. */
#define FRAME_BURST_LAYOUT                                                 \
	{                                                                  \
		.base = offsetof(struct rte_mbuf, buf_addr),               \
		.offset = offsetof(struct rte_mbuf, data_off),             \
		.len = offsetof(struct rte_mbuf, data_len),                \
		.wirelen = offsetof(struct rte_mbuf, pkt_len),             \
	}

/* ol_flags that say: a tag is beside the bytes and not in them. */
#define FRAME_RX_TAGS (RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_QINQ_STRIPPED)
#define FRAME_TX_TAGS (RTE_MBUF_F_TX_VLAN | RTE_MBUF_F_TX_QINQ)

struct frame {
	const uint8_t *data;
	uint32_t len;	  /* bytes at data */
	uint32_t wirelen; /* bytes of the whole frame; len where all of it is at data */
};

/* Find the place of rte_mbuf.next. false: only first segments can be seen. */
bool frame_init(void);

/* Whether the bytes of the mbuf are the frame. */
static inline bool
frame_is_plain(const struct rte_mbuf *m, uint64_t tag_flags)
{
	return m->nb_segs == 1 && (m->ol_flags & tag_flags) == 0;
}

/*
 * Whether all mbufs are plain. Runs on every packet: nb_segs and ol_flags are or'ed
 * together, of all mbufs at once.
 *
 *	mbuf + 16: | data_off | refcnt | nb_segs | port | ol_flags            |
 */
static inline bool
frame_all_plain(struct rte_mbuf *const *pkts, uint16_t n, uint64_t tag_flags)
{
	typedef uint64_t v2u64 __attribute__((vector_size(16), aligned(8), may_alias));
	v2u64 any = { 0 }, odd = { 0 };
	uint32_t i;

#define FRAME_WORDS(m) (*(const v2u64 *)((const char *)(m) + offsetof(struct rte_mbuf, data_off)))
	for (i = 0; i + 4 <= n; i += 4) {
		any |= FRAME_WORDS(pkts[i]) | FRAME_WORDS(pkts[i + 1]);
		odd |= FRAME_WORDS(pkts[i + 2]) | FRAME_WORDS(pkts[i + 3]);
	}
	for (; i < n; i++)
		any |= FRAME_WORDS(pkts[i]);
#undef FRAME_WORDS
	any |= odd;
	return (any[1] & tag_flags) == 0 && (uint16_t)(any[0] >> 32) == 1; /* nb_segs is never 0 */
}

static inline struct frame
frame_plain(const struct rte_mbuf *m)
{
	return (struct frame){
		.data = (const uint8_t *)m->buf_addr + m->data_off,
		.len = m->data_len,
		.wirelen = m->pkt_len,
	};
}

/*
 * Put the frame together in size bytes of scratch, as far as it fits. tag_flags says
 * which side of the NIC the mbuf is on: FRAME_RX_TAGS or FRAME_TX_TAGS.
 */
struct frame frame_linearise(const struct rte_mbuf *m, uint64_t tag_flags, uint8_t *scratch, uint32_t size);

#endif /* DPCAP_FRAME_H */
