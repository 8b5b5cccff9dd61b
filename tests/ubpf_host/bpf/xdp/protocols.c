/* SPDX-License-Identifier: BSD-3-Clause */
/* One protocol each, as monitoring and load balancing programs read them. */
#include "xdp.h"

#define FOR(i, n) NO_UNROLL for (u32 i = 0; i < (n); i++)
#define U16(p) ((p)[0] << 8 | (p)[1])

/* Behind Ethernet and IPv4, whose options are skipped. */
inline u8 *ipv4_payload(struct xdp_md *ctx, u8 protocol)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 size;

	if (data + 34 > end || U16(data + 12) != ETH_IPV4 || data[23] != protocol)
		return 0;
	size = (data[14] & 15) * 4;
	return size < 20 ? 0 : data + 14 + size;
}

/* GRE: each flag adds four bytes. */
XDP u32 gre_key(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, 47);
	u32 off = 4;

	if (!p || p + 4 > end)
		return 0;
	if (p[0] & 0x80)
		off += 4;
	if (p[0] & 0x20) {
		if (p + off + 4 > end)
			return 1;
		return *(u32 *)(p + off);
	}
	return 2;
}

/* Every flag moves what comes behind. */
XDP u32 flags_move_the_rest(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 off = 16;

	if (data + 16 > end)
		return 0;
	UNROLL for (int i = 0; i < 8; i++)
		if (data[14] >> i & 1)
			off += i + 1;
	if (data + off + 1 > end)
		return 1;
	return data[off] + off;
}

/* VXLAN: the inner frame is parsed from its own start. */
XDP u32 vxlan_inner_type(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_UDP), *inner;

	if (!p || p + 16 + 14 > end || U16(p + 2) != 4789 || !(p[8] & 8))
		return 0;
	inner = p + 16;
	if (U16(inner + 12) != ETH_VLAN)
		return U16(inner + 12);
	if (inner + 18 > end)
		return 1;
	return U16(inner + 16);
}

/* Geneve: options of variable length behind a header of variable length. */
XDP u32 geneve_option(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_UDP), *last;

	if (!p || p + 16 > end)
		return 0;
	last = p + 16 + (p[8] & 63) * 4;
	p += 16;
	FOR(i, 8) {
		if (p + 4 > end || p >= last)
			return 1;
		if (p[2] == 7)
			return U16(p);
		p += 4 + (p[3] & 31) * 4;
	}
	return 2;
}

/* SCTP chunks, padded to four bytes. */
XDP u32 sctp_chunks(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, 132);
	u32 types = 0;

	if (!p || p + 12 > end)
		return 0;
	p += 12;
	FOR(i, 12) {
		u32 size;

		if (p + 4 > end)
			break;
		types = types * 3 + p[0];
		size = (U16(p + 2) + 3) & ~3u;
		if (size < 4 || size > 1500)
			break;
		p += size;
	}
	return types;
}

/* RTP: contributing sources, then perhaps an extension. */
XDP u32 rtp_payload(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_UDP);
	u8 flags;

	if (!p || p + 20 > end)
		return 0;
	p += 8;
	flags = p[0];
	p += 12 + (flags & 15) * 4;
	if (flags & 16) {
		if (p + 4 > end)
			return 1;
		p += 4 + U16(p + 2) * 4;
	}
	if (p + 1 > end)
		return 2;
	return *p;
}

/* QUIC: integers of 1, 2, 4 or 8 bytes; connection identifiers of any length. */
XDP u32 quic_connection(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_UDP);
	u32 hash = 0;
	u8 size;

	if (!p || p + 14 > end || !(p[8] & 0x80))
		return 0;
	size = p[13];
	if (size > 20)
		return 1;
	p += 14;
	FOR(i, 20) {
		if (i >= size)
			break;
		if (p + i + 1 > end)
			return 2;
		hash = hash * 31 + p[i];
	}
	p += size;
	if (p + 1 > end)
		return 3;
	return hash ^ *p;
}

/* The question's type lies behind its name. */
XDP u32 dns_type(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_UDP);

	if (!p || p + 20 > end || U16(p + 2) != 53)
		return 0;
	p += 20;
	FOR(i, 24) {
		u8 size;

		if (p + 1 > end)
			return 1;
		size = *p;
		if (!size) {
			if (p + 5 > end)
				return 2;
			return U16(p + 1) << 16 | U16(p + 3);
		}
		p += size + 1;
	}
	return 3;
}

/* A TLS ClientHello: session, ciphers and compression are skipped, then the extensions. */
XDP u32 tls_server_name(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_TCP);
	u32 hash = 0;
	u16 size;

	if (!p || p + 20 > end)
		return 0;
	p += (p[12] >> 4) * 4;
	if (p + 44 > end || p[0] != 22 || p[5] != 1)
		return 1;
	size = p[43];
	p += 44 + size;
	if (p + 2 > end)
		return 2;
	size = U16(p);
	if (size > 400)
		return 3;
	p += 2 + size;
	if (p + 1 > end)
		return 4;
	p += 1 + *p + 2;
	FOR(i, 16) {
		if (p + 4 > end)
			return 5;
		size = U16(p + 2);
		if (U16(p) == 0) {
			p += 9;
			FOR(j, 32) {
				if (p + 1 > end)
					break;
				hash = hash * 31 + *p++;
			}
			return hash;
		}
		if (size > 600)
			return 6;
		p += 4 + size;
	}
	return 7;
}

/* An error message quotes the packet that caused it. */
XDP u32 icmp_quoted_port(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, 1);
	u32 size;

	if (!p || p + 8 + 20 > end || p[0] != 3)
		return 0;
	p += 8;
	size = (p[0] & 15) * 4;
	if (p[9] != PROTO_UDP || p + size + 4 > end)
		return 1;
	return U16(p + size + 2);
}

/* PPPoE: its length is compared with the packet's. */
XDP u32 pppoe_protocol(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p = data + 14;
	u32 length;

	if (p + 8 > end || U16(data + 12) != 0x8864)
		return 0;
	length = U16(p + 4);
	if (length < 2 || p + 6 + length > end)
		return 1;
	return U16(p + 6) << 16 | p[6 + length - 1];
}

/* Segment routing: a list of addresses, the current one chosen by the packet. */
XDP u32 segment_routing(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p = data + 54, *segment;

	if (p + 8 > end || U16(data + 12) != ETH_IPV6 || data[20] != PROTO_ROUTING || p[2] != 4)
		return 0;
	segment = p + 8 + p[3] * 16;
	if (segment + 16 > end || p[3] > p[4])
		return 1;
	return *(u32 *)(segment + 12);
}

/* Ether types by a switch with a table of jumps, were there one. */
XDP u32 classify(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);

	if (data + 14 > end)
		return 0;
	switch (U16(data + 12)) {
	case 0x0800:
		return data + 34 <= end ? 0x100 | data[23] : 1;
	case 0x0806:
		return data + 42 <= end ? 0x200 | data[21] : 2;
	case 0x86dd:
		return data + 54 <= end ? 0x300 | data[20] : 3;
	case 0x8100:
		return data + 18 <= end ? 0x10000 | U16(data + 16) : 4;
	case 0x8847:
		return data + 18 <= end ? 0x500 | data[17] : 5;
	case 0x88cc:
		return 6;
	default:
		return 7;
	}
}

/* BGP: messages in a segment, each with its length. */
XDP u32 bgp_messages(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = DATA(ctx) + 54;
	u32 types = 0;

	FOR(i, 10) {
		u32 size;

		if (p + 19 > end)
			break;
		size = U16(p + 16);
		types = types << 2 | (p[18] & 3);
		if (size < 19 || size > 4096)
			break;
		p += size;
	}
	return types;
}

/* PFCP and GTPv2: information elements with flags that decide on their length. */
XDP u32 information_elements(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = ipv4_payload(ctx, PROTO_UDP);
	u32 found = 0;

	if (!p || p + 24 > end)
		return 0;
	p += 8 + (p[8] & 1 ? 16 : 8);
	FOR(i, 20) {
		u16 type, size;

		if (p + 4 > end)
			break;
		type = U16(p);
		size = U16(p + 2);
		if (type == 20 && p + 4 + 4 <= end)
			found += U16(p + 4);
		if (size > 1000)
			break;
		p += 4 + size;
	}
	return found;
}
