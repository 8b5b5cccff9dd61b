/* SPDX-License-Identifier: BSD-3-Clause */
/* mbuf.h against DPDK's own headers. All of it is checked when it is compiled. */
#include <rte_mbuf.h>
#include <stddef.h>
#include <stdint.h>

#include "mbuf.h"

#define SAME(ours, theirs) \
	_Static_assert(offsetof(struct mbuf, ours) == offsetof(struct rte_mbuf, theirs), #theirs)

SAME(buf_addr, buf_addr);
SAME(data_off, data_off);
SAME(nb_segs, nb_segs);
SAME(port, port);
SAME(ol_flags, ol_flags);
SAME(pkt_len, pkt_len);
SAME(data_len, data_len);
SAME(vlan_tci, vlan_tci);
SAME(rss, hash.rss);
SAME(vlan_tci_outer, vlan_tci_outer);
SAME(buf_len, buf_len);
#ifndef RTE_IOVA_IN_MBUF
#define RTE_IOVA_IN_MBUF 1 /* before it could be left out */
#endif
#if RTE_IOVA_IN_MBUF
SAME(next, next);
#else
SAME(next_no_iova, next);
#endif

_Static_assert(MBUF_RX_RSS_HASH == RTE_MBUF_F_RX_RSS_HASH, "flags");
_Static_assert(MBUF_RX_VLAN_STRIPPED == RTE_MBUF_F_RX_VLAN_STRIPPED, "flags");
_Static_assert(MBUF_RX_QINQ_STRIPPED == RTE_MBUF_F_RX_QINQ_STRIPPED, "flags");
_Static_assert(MBUF_RX_IP_CKSUM_MASK == RTE_MBUF_F_RX_IP_CKSUM_MASK, "flags");
_Static_assert(MBUF_RX_IP_CKSUM_GOOD == RTE_MBUF_F_RX_IP_CKSUM_GOOD, "flags");
_Static_assert(MBUF_RX_L4_CKSUM_MASK == RTE_MBUF_F_RX_L4_CKSUM_MASK, "flags");
_Static_assert(MBUF_RX_L4_CKSUM_GOOD == RTE_MBUF_F_RX_L4_CKSUM_GOOD, "flags");
_Static_assert(MBUF_TX_QINQ == RTE_MBUF_F_TX_QINQ, "flags");
_Static_assert(MBUF_TX_TCP_SEG == RTE_MBUF_F_TX_TCP_SEG, "flags");
_Static_assert(MBUF_TX_L4_MASK == RTE_MBUF_F_TX_L4_MASK, "flags");
_Static_assert(MBUF_TX_IP_CKSUM == RTE_MBUF_F_TX_IP_CKSUM, "flags");
_Static_assert(MBUF_TX_VLAN == RTE_MBUF_F_TX_VLAN, "flags");

int
main(void)
{
	return 0;
}
