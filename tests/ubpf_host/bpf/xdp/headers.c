/* SPDX-License-Identifier: BSD-3-Clause */
/* Header after header, by a pointer that moves by what the packet says. */
#include "xdp.h"

/* The position, handed from parser to parser. */
struct cursor {
	void *at, *end;
};

inline struct ether *parse_ether(struct cursor *c, u32 *type)
{
	struct ether *ether = c->at;

	if ((void *)(ether + 1) > c->end)
		return 0;
	c->at = ether + 1;
	*type = ntohs(ether->type);
	return ether;
}

inline void skip_vlans(struct cursor *c, u32 *type)
{
	UNROLL for (int i = 0; i < 4; i++) {
		struct vlan *vlan = c->at;

		if (*type != ETH_VLAN && *type != ETH_QINQ)
			break;
		if ((void *)(vlan + 1) > c->end)
			break;
		*type = ntohs(vlan->type);
		c->at = vlan + 1;
	}
}

inline s32 parse_ipv4(struct cursor *c)
{
	struct ipv4 *ip = c->at;
	u32 size;

	if ((void *)(ip + 1) > c->end)
		return -1;
	size = ip->ihl * 4;
	if (size < sizeof(*ip) || c->at + size > c->end)
		return -1;
	c->at += size;
	return ip->protocol;
}

inline s32 parse_ipv6(struct cursor *c)
{
	struct ipv6 *ip = c->at;

	if ((void *)(ip + 1) > c->end)
		return -1;
	c->at = ip + 1;
	return ip->next;
}

inline s32 skip_extensions(struct cursor *c, s32 next)
{
	UNROLL for (int i = 0; i < 6; i++) {
		struct extension *header = c->at;

		if ((void *)(header + 1) > c->end)
			return -1;
		switch (next) {
		case PROTO_HOP:
		case PROTO_ROUTING:
		case PROTO_OPTIONS:
			c->at = (u8 *)header + (header->length + 1) * 8;
			break;
		case PROTO_FRAGMENT:
			c->at = (u8 *)header + 8;
			break;
		default:
			return next;
		}
		next = header->next;
	}
	return -1;
}

inline u32 udp_port(struct cursor *c)
{
	struct udp *udp = c->at;

	if ((void *)(udp + 1) > c->end)
		return 0;
	c->at = udp + 1;
	return ntohs(udp->destination);
}

inline s32 parse_tcp(struct cursor *c)
{
	struct tcp *tcp = c->at;
	u32 size;

	if ((void *)(tcp + 1) > c->end)
		return -1;
	size = tcp->offset * 4;
	if (size < sizeof(*tcp) || c->at + size > c->end)
		return -1;
	c->at += size;
	return ntohs(tcp->destination);
}

#define CURSOR(ctx) {DATA(ctx), END(ctx)}

XDP u32 ether_type(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;

	return parse_ether(&c, &type) ? type : 0;
}

XDP u32 vlan_stack(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;

	if (!parse_ether(&c, &type))
		return 0;
	skip_vlans(&c, &type);
	return type + (u32)(c.at - (void *)DATA(ctx));
}

XDP u32 vlan_loop(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;

	if (!parse_ether(&c, &type))
		return 0;
	NO_UNROLL for (int i = 0; i < 8; i++) {
		struct vlan *vlan = c.at;

		if (type != ETH_VLAN || (void *)(vlan + 1) > c.end)
			break;
		type = ntohs(vlan->type);
		c.at = vlan + 1;
	}
	return type;
}

XDP u32 udp_behind_ip_options(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;

	if (!parse_ether(&c, &type) || type != ETH_IPV4 || parse_ipv4(&c) != PROTO_UDP)
		return 0;
	return udp_port(&c);
}

XDP u32 ports_v4_v6_vlan(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	s32 protocol;
	u32 type;

	if (!parse_ether(&c, &type))
		return 0;
	skip_vlans(&c, &type);
	if (type == ETH_IPV4)
		protocol = parse_ipv4(&c);
	else if (type == ETH_IPV6)
		protocol = skip_extensions(&c, parse_ipv6(&c));
	else
		return 1;
	if (protocol == PROTO_UDP)
		return udp_port(&c);
	if (protocol == PROTO_TCP)
		return (u32)parse_tcp(&c);
	return 2;
}

XDP u32 ipv6_extensions(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;

	if (!parse_ether(&c, &type) || type != ETH_IPV6)
		return 0;
	return (u32)skip_extensions(&c, parse_ipv6(&c));
}

XDP u32 ipv6_extension_loop(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = DATA(ctx) + 54;
	struct ipv6 *ip = (void *)(DATA(ctx) + 14);
	u8 next;

	if (p > end)
		return 0;
	next = ip->next;
	NO_UNROLL for (int i = 0; i < 10; i++) {
		struct extension *header = (void *)p;

		if ((void *)(header + 1) > (void *)end)
			return 1;
		if (next != PROTO_HOP && next != PROTO_ROUTING && next != PROTO_OPTIONS)
			return next;
		next = header->next;
		p += 8 + header->length * 8;
	}
	return 2;
}

XDP u32 tcp_payload_byte(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u8 *payload;
	u32 type;

	if (!parse_ether(&c, &type) || type != ETH_IPV4 || parse_ipv4(&c) != PROTO_TCP ||
	    parse_tcp(&c) < 0)
		return 0;
	payload = c.at;
	if (payload + 4 > END(ctx))
		return 1;
	return payload[0] << 8 | payload[3];
}

/* Offsets, not pointers; each is checked where it is used. */
XDP u32 by_offset(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u64 off = 14;

	if (data + off + 20 > end)
		return 0;
	if (data[12] != 8)
		return 1;
	off += (data[off] & 15) * 4;
	if (data + off + 4 > end)
		return 2;
	return data[off + 2] << 8 | data[off + 3];
}

/* Both headers' sizes come from the packet: two variables in one offset. */
XDP u32 two_variable_headers(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u64 ip, tcp;

	if (data + 14 + 20 > end)
		return 0;
	ip = (data[14] & 15) * 4;
	if (data + 14 + ip + 20 > end)
		return 1;
	tcp = (data[14 + ip + 12] >> 4) * 4;
	if (data + 14 + ip + tcp + 2 > end)
		return 2;
	return data[14 + ip + tcp] + data[14 + ip + tcp + 1];
}

/* The rest of the packet is measured, not pointed to. */
XDP u32 remaining_length(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u64 length = end - data;

	if (length < 34 || data[12] != 8)
		return 0;
	return (u32)length - (data[16] << 8 | data[17]);
}

/* GTP-U: optional fields, then extension headers in units of four bytes. */
inline u8 *skip_gtpu(u8 *p, u8 *end)
{
	struct gtpu *gtpu = (void *)p;
	u8 next;

	if ((void *)(gtpu + 1) > (void *)end || gtpu->type != 255)
		return 0;
	p += sizeof(*gtpu);
	if (!(gtpu->flags & 7))
		return p;
	if (p + 4 > end)
		return 0;
	next = gtpu->flags & 4 ? p[3] : 0;
	p += 4;
	NO_UNROLL for (int i = 0; i < 4; i++) {
		u32 size;

		if (!next)
			return p;
		if (p + 1 > end)
			return 0;
		size = *p * 4;
		if (!size || p + size > end)
			return 0;
		next = *(p + size - 1);
		p += size;
	}
	return 0;
}

XDP u32 gtpu_inner(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;
	u8 *inner;

	if (!parse_ether(&c, &type) || type != ETH_IPV4 || parse_ipv4(&c) != PROTO_UDP ||
	    udp_port(&c) != 2152)
		return 0;
	inner = skip_gtpu(c.at, c.end);
	if (!inner || inner + 20 > END(ctx))
		return 1;
	return inner[9];
}

/* As compilers like to write it where the length is masked before it is used. */
XDP u32 gtpu_extension_masked(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p = data + 54;
	u32 size;

	if (p + 1 > end)
		return 0;
	size = (*p * 4) & 0x3fc;
	p += size;
	if (p + 1 > end)
		return 1;
	return *p;
}

/* MPLS labels until the bottom of the stack. */
XDP u32 mpls_labels(struct xdp_md *ctx)
{
	u8 *end = END(ctx), *p = DATA(ctx) + 14;
	u32 n = 0;

	NO_UNROLL for (; n < 16; n++) {
		if (p + 4 > end)
			return n | 0x100;
		if (p[2] & 1)
			return n;
		p += 4;
	}
	return n;
}

/* A tunnel: the same parser twice. */
XDP u32 ip_in_ip(struct xdp_md *ctx)
{
	struct cursor c = CURSOR(ctx);
	u32 type;

	if (!parse_ether(&c, &type) || type != ETH_IPV4)
		return 0;
	if (parse_ipv4(&c) != 4)
		return 1;
	if (parse_ipv4(&c) != PROTO_UDP)
		return 2;
	return udp_port(&c);
}

/* A load balancer's hash over ports that lie at a computed place. */
XDP u32 five_tuple_hash(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct ether *ether = (void *)data;
	u32 hash = 0, *ports;
	u64 off;

	if ((void *)(ether + 1) > (void *)end)
		return 0;
	off = sizeof(*ether);
	if (ether->type == ntohs(ETH_IPV6)) {
		struct ipv6 *ip = (void *)(data + off);

		if ((void *)(ip + 1) > (void *)end)
			return 1;
		UNROLL for (int i = 0; i < 4; i++)
			hash ^= ip->source[i] ^ ip->destination[i];
		off += sizeof(*ip);
	} else if (ether->type == ntohs(ETH_IPV4)) {
		struct ipv4 *ip = (void *)(data + off);

		if ((void *)(ip + 1) > (void *)end || ip->ihl < 5)
			return 2;
		hash = ip->source ^ ip->destination;
		off += ip->ihl * 4;
	}
	ports = (void *)(data + off);
	if ((void *)(ports + 1) > (void *)end)
		return 3;
	return hash ^ *ports;
}
