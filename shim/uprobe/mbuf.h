/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct rte_mbuf and its flags as far as a capture from outside looks at them: the same
 * from DPDK 20.11 to 26.07 (rte_mbuf_core.h). DPDK's own headers are not needed, and
 * where they are, tests/shim/uprobe compares.
 *
 * Include <stdint.h>, or the names of it, before.
 */
#ifndef DPCAP_UPROBE_MBUF_H
#define DPCAP_UPROBE_MBUF_H

struct mbuf {
	uint64_t buf_addr;
	uint64_t next_no_iova; /* rte_mbuf.next in builds without the field of the IO address */
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t packet_type;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t vlan_tci;
	uint32_t rss;
	uint32_t hash_high;
	uint16_t vlan_tci_outer;
	uint16_t buf_len;
	uint64_t pool;
	uint64_t next; /* rte_mbuf.next in ordinary builds */
} __attribute__((packed, aligned(8)));

#define MBUF_RX_RSS_HASH (1ULL << 1)
#define MBUF_RX_VLAN_STRIPPED (1ULL << 6)
#define MBUF_RX_QINQ_STRIPPED (1ULL << 15)
#define MBUF_RX_IP_CKSUM_MASK (1ULL << 4 | 1ULL << 7)
#define MBUF_RX_IP_CKSUM_GOOD (1ULL << 7)
#define MBUF_RX_L4_CKSUM_MASK (1ULL << 3 | 1ULL << 8)
#define MBUF_RX_L4_CKSUM_GOOD (1ULL << 8)
#define MBUF_TX_QINQ (1ULL << 49)
#define MBUF_TX_TCP_SEG (1ULL << 50)
#define MBUF_TX_L4_MASK (3ULL << 52)
#define MBUF_TX_IP_CKSUM (1ULL << 54)
#define MBUF_TX_VLAN (1ULL << 57)

#define MBUF_ADDRESSES 12 /* bytes of a frame before its first tag */
#define MBUF_TAG 4	  /* bytes of a tag */
#define MBUF_TPID_VLAN 0x8100
#define MBUF_TPID_QINQ 0x88a8 /* the mbuf does not say which one it was */

#endif /* DPCAP_UPROBE_MBUF_H */
