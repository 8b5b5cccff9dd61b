/* SPDX-License-Identifier: BSD-3-Clause */
/* Linux's context of XDP programs and the headers that the programs here parse. */
#ifndef DPCAP_TESTS_XDP_H
#define DPCAP_TESTS_XDP_H

#include "../bpf.h"

typedef signed int s32;
typedef signed long s64;

#define inline static inline __attribute__((always_inline))
#define ntohs(x) __builtin_bswap16(x)
#define ntohl(x) __builtin_bswap32(x)
#define XDP SEC("xdp")
#define UNROLL _Pragma("clang loop unroll(full)")
#define NO_UNROLL _Pragma("clang loop unroll(disable)")

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index;
};

#define DATA(ctx) ((u8 *)(u64)(ctx)->data)
#define END(ctx) ((u8 *)(u64)(ctx)->data_end)

enum {
	ETH_IPV4 = 0x0800,
	ETH_IPV6 = 0x86dd,
	ETH_VLAN = 0x8100,
	ETH_QINQ = 0x88a8,
	PROTO_HOP = 0,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_NONE = 59,
	PROTO_OPTIONS = 60,
};

struct ether {
	u8 to[6], from[6];
	u16 type;
} __attribute__((packed));

struct vlan {
	u16 tag, type;
};

struct ipv4 {
	u8 ihl : 4, version : 4, tos;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 source, destination;
};

struct ipv6 {
	u32 flow;
	u16 length;
	u8 next, limit;
	u32 source[4], destination[4];
};

struct extension {
	u8 next, length; /* in units of 8 bytes, without the first */
};

struct tcp {
	u16 source, destination;
	u32 sequence, acknowledged;
	u8 unused : 4, offset : 4, flags;
	u16 window, checksum, urgent;
};

struct udp {
	u16 source, destination, length, checksum;
};

struct gtpu {
	u8 flags, type;
	u16 length;
	u32 teid;
};

#endif
