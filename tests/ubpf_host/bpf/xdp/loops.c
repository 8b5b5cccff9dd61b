/* SPDX-License-Identifier: BSD-3-Clause */
/* Loops over what a packet holds: sums, options, names, copies. */
#include "xdp.h"

#define FOR(i, n) NO_UNROLL for (u32 i = 0; i < (n); i++)

XDP u32 ipv4_checksum(struct xdp_md *ctx)
{
	u16 *p = (u16 *)(DATA(ctx) + 14);
	u32 sum = 0;

	if ((u8 *)(p + 10) > END(ctx))
		return 0;
	FOR(i, 10)
		sum += p[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~(sum + (sum >> 16));
}

XDP u32 checksum_unrolled(struct xdp_md *ctx)
{
	u16 *p = (u16 *)(DATA(ctx) + 14);
	u32 sum = 0;

	if ((u8 *)(p + 10) > END(ctx))
		return 0;
	UNROLL for (int i = 0; i < 10; i++)
		sum += p[i];
	return sum;
}

/* The packet's end is asked for in each round. */
XDP u32 checksum_to_end(struct xdp_md *ctx)
{
	u8 *end = END(ctx);
	u16 *p = (u16 *)(DATA(ctx) + 34);
	u32 sum = 0;

	FOR(i, 700) {
		if ((u8 *)(p + 1) > end)
			break;
		sum += *p++;
	}
	return sum;
}

XDP u32 index_checked(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 sum = 0;

	FOR(i, 64) {
		if (data + i + 1 > end)
			break;
		sum = sum * 31 + data[i];
	}
	return sum;
}

/* A variable start and a counted index. */
XDP u32 start_and_index(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u64 off;
	u32 sum = 0;

	if (data + 15 > end)
		return 0;
	off = 14 + (data[14] & 15) * 4;
	FOR(i, 16) {
		if (data + off + i + 1 > end)
			break;
		sum += data[off + i];
	}
	return sum;
}

/* Checked once for all rounds: the pointer is the same, the rounds are constants. */
XDP u32 block_unrolled(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;
	u32 sum = 0;

	if (data + 15 > end)
		return 0;
	p = data + 14 + (data[14] & 15) * 4;
	if (p + 8 > end)
		return 1;
	UNROLL for (int i = 0; i < 8; i++)
		sum += p[i];
	return sum;
}

/* The same with a loop: the kernel knows the counter's value in each round. */
XDP u32 block_loop(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;
	u32 sum = 0;

	if (data + 15 > end)
		return 0;
	p = data + 14 + (data[14] & 15) * 4;
	if (p + 8 > end)
		return 1;
	FOR(i, 8)
		sum += p[i];
	return sum;
}

/* A bound that the packet gives. */
XDP u32 count_in_packet(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p = data + 15;
	u32 n, sum = 0;

	if (p > end)
		return 0;
	n = data[14];
	NO_UNROLL for (u32 i = 0; i < n; i++) {
		if (p + 1 > end)
			return sum;
		sum += *p++;
	}
	return sum + 1000;
}

inline u32 find_option(u8 *p, u8 *last, u8 *end, u8 wanted)
{
	FOR(i, 8) {
		u8 kind, size;

		if (p + 1 > end || p >= last)
			return 1;
		kind = *p;
		if (kind == 0)
			return 2;
		if (kind == 1) {
			p++;
			continue;
		}
		if (p + 2 > end)
			return 3;
		size = p[1];
		if (size < 2)
			return 4;
		if (kind == wanted) {
			if (p + 4 > end)
				return 5;
			return p[2] << 8 | p[3];
		}
		p += size;
	}
	return 6;
}

XDP u32 tcp_mss(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct tcp *tcp = (void *)(data + 34);

	if ((void *)(tcp + 1) > (void *)end || data[23] != PROTO_TCP)
		return 0;
	return find_option((u8 *)(tcp + 1), (u8 *)tcp + tcp->offset * 4, end, 2);
}

/* Offset in the options, and their length. */
XDP u32 ip_options_by_offset(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *options = data + 34;
	u32 length, off = 0;

	if (options > end)
		return 0;
	length = (data[14] & 15) * 4;
	if (length <= 20)
		return 1;
	length -= 20;
	FOR(i, 10) {
		u8 *p = options + (off & 63);

		if (off >= length || p + 2 > end)
			return 2;
		if (p[0] == 7)
			return p[1];
		off += p[0] == 1 ? 1 : p[1];
	}
	return 3;
}

/* Type, length of two bytes, value. */
XDP u32 tlv_sum(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx) + 14, *end = END(ctx);
	u32 sum = 0;

	FOR(i, 32) {
		u16 size;

		if (p + 4 > end)
			break;
		size = p[2] << 8 | p[3];
		if (size > 512)
			break;
		sum += p[0] * 256 + p[1];
		p += 4 + size;
	}
	return sum;
}

/* A DNS question: labels to the root. */
XDP u32 dns_name(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx) + 14, *end = END(ctx);
	u32 hash = 5381;

	FOR(i, 16) {
		u8 size;

		if (p + 1 > end)
			return 1;
		size = *p++;
		if (!size)
			return hash;
		if (size & 0xc0)
			return 2;
		hash = hash * 33 + size;
		p += size;
	}
	return 3;
}

/* Byte by byte, with what is left of the label as the state. */
XDP u32 dns_name_bytes(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx) + 14, *end = END(ctx), left = 0;
	u32 hash = 5381, labels = 0;

	FOR(i, 64) {
		u8 c;

		if (p + 1 > end)
			return 1;
		c = *p++;
		if (left) {
			left--;
			hash = hash * 33 + (c | 0x20);
			continue;
		}
		if (!c)
			return hash + labels;
		left = c;
		labels++;
	}
	return 3;
}

/* Into the stack, byte by byte, while there is packet. */
XDP u32 copy_to_stack(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx) + 14, *end = END(ctx), copy[32] = {0};
	u32 sum = 0;

	FOR(i, 32) {
		if (p + i + 1 > end)
			break;
		copy[i] = p[i];
	}
	FOR(i, 32)
		sum = sum * 31 + copy[i];
	return sum;
}

/* A prefix of variable length, compared with a constant. */
XDP u32 starts_with(struct xdp_md *ctx)
{
	static const char wanted[] = "GET /index";
	u8 *p = DATA(ctx) + 54, *end = END(ctx);

	if (p + sizeof(wanted) > end)
		return 0;
	UNROLL for (u32 i = 0; i < sizeof(wanted) - 1; i++)
		if (p[i] != wanted[i])
			return i + 1;
	return 100;
}

/* A table that is never written, indexed by what the packet says. */
static const volatile u32 weights[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};

XDP u32 table_lookup(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 sum = 0;

	FOR(i, 24) {
		if (data + i + 1 > end)
			break;
		sum += weights[data[i] & 15];
	}
	return sum;
}

/* A table's value is the next offset. */
static const volatile u8 steps[4] = {1, 2, 4, 8};

XDP u32 table_step(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u32 n = 0;

	FOR(i, 30) {
		if (p + 1 > end)
			break;
		p += steps[*p & 3];
		n++;
	}
	return n;
}

/* Two loops, one within the other. */
XDP u32 nested(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 most = 0;

	FOR(i, 6) {
		u32 sum = 0;

		FOR(j, 6) {
			u8 *p = data + 14 + i * 6 + j;

			if (p + 1 > end)
				return most;
			sum += *p;
		}
		if (sum > most)
			most = sum;
	}
	return most;
}

/* Backwards from a variable place. */
XDP u32 last_bytes(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;
	u32 sum = 0, n;

	if (data + 20 > end)
		return 0;
	n = data[14] & 31;
	p = data + 20 + n;
	if (p > end)
		return 1;
	NO_UNROLL while (n--) {
		sum = sum * 7 + data[20 + n];
		if (sum == 12345)
			break;
	}
	return sum;
}

/* Unsigned arithmetic by which compilers count to a pointer. */
XDP u32 pointer_loop(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx), *last = p + 40;
	u32 sum = 0;

	if (last > end)
		return 0;
	NO_UNROLL for (; p != last; p += 4)
		sum += *(u32 *)p;
	return sum;
}

/* Search for a byte; the place found is used afterwards. */
XDP u32 find_then_read(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 at = 64;

	FOR(i, 60) {
		if (data + i + 3 > end)
			return 0;
		if (data[i] == 13 && data[i + 1] == 10) {
			at = i + 2;
			break;
		}
	}
	if (at >= 64)
		return 1;
	if (data + at + 1 > end)
		return 2;
	return data[at];
}
