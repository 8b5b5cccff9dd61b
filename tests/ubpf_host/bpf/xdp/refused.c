/* SPDX-License-Identifier: BSD-3-Clause */
/* One byte too many, or a check of something else: nobody should accept these. */
#include "xdp.h"

/* Keeps the compiler from using what it knows of the value. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

XDP u32 one_byte_more(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);

	if (data + 14 > end)
		return 0;
	return data[14];
}

XDP u32 check_of_another_pointer(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;

	if (data + 20 > end)
		return 0;
	p = data + data[14];
	return *p;
}

XDP u32 check_before_the_move(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;

	if (data + 15 > end)
		return 0;
	p = data + (data[14] & 15) * 4;
	if (p + 4 > end)
		return 1;
	p += data[14] & 3;
	return p[3];
}

XDP u32 offset_without_bound(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;
	u64 off;

	if (data + 8 > end)
		return 0;
	off = *(u64 *)data;
	p = data + off;
	if (p + 1 > end)
		return 1;
	return *p;
}

XDP u32 negative_offset(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;

	if (data + 20 > end)
		return 0;
	p = data + 10 - (data[14] & 15);
	if (p + 1 > end)
		return 1;
	return *p;
}

XDP u32 loop_one_too_far(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u32 sum = 0;

	if (p + 16 > end)
		return 0;
	NO_UNROLL for (u32 i = 0; i <= 16; i++)
		sum += p[i];
	return sum;
}

XDP u32 loop_without_check(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u32 sum = 0, n;

	if (p + 1 > end)
		return 0;
	n = *p;
	NO_UNROLL for (u32 i = 0; i < n; i++)
		sum += p[i];
	return sum;
}

XDP u32 loop_of_the_packet(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u32 sum = 0;

	NO_UNROLL while (1) {
		if (p + 1 > end)
			return sum;
		sum += *p;
		p += *p & 1;
	}
}

XDP u32 past_the_end(struct xdp_md *ctx)
{
	u8 *end = END(ctx);

	return *end;
}

XDP u32 stack_by_the_packet(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), copy[16] = {1};
	u32 at;

	if (data + 1 > end)
		return 0;
	at = data[0];
	OPAQUE(at);
	return ((volatile u8 *)copy)[at];
}

XDP u32 uninitialised(struct xdp_md *ctx)
{
	u8 copy[16];
	u8 *p = copy;

	OPAQUE(p);
	return p[3];
}

static const volatile u32 table[8] = {1};

XDP u32 table_one_too_far(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 at;

	if (data + 1 > end)
		return 0;
	at = data[0] & 15;
	OPAQUE(at);
	return table[at];
}

XDP u32 wrong_end_of_the_comparison(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);

	if (data + 14 < end)
		return 0;
	return data[13];
}
