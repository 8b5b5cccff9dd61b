/* SPDX-License-Identifier: BSD-3-Clause */
/* What is saved on the way: flags, stack, local functions, maps. */
#include "xdp.h"

struct key {
	u32 source, destination;
	u16 sport, dport;
	u8 protocol, pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct key);
	__type(value, u64);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

/* A structure on the stack is filled by one function and read by the other. */
struct info {
	u32 l3, l4;
	u8 protocol, is_v6;
};

inline int dissect(u8 *data, u8 *end, struct info *info)
{
	if (data + 34 > end)
		return -1;
	info->l3 = 14;
	if (data[12] == 8) {
		info->is_v6 = 0;
		info->l4 = 14 + (data[14] & 15) * 4;
		info->protocol = data[23];
	} else {
		if (data + 54 > end)
			return -1;
		info->is_v6 = 1;
		info->l4 = 54;
		info->protocol = data[20];
	}
	return 0;
}

XDP u32 dissect_then_read(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct info info = {0};
	u8 *l4;

	if (dissect(data, end, &info))
		return 0;
	l4 = data + info.l4;
	if (l4 + 4 > end)
		return 1;
	return info.is_v6 << 24 | info.protocol << 16 | l4[2] << 8 | l4[3];
}

/* The same across a call that is none of clang's to inline. */
static noinline int dissect_called(struct xdp_md *ctx, struct info *info)
{
	return dissect(DATA(ctx), END(ctx), info);
}

XDP u32 dissect_by_call(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *l4;
	struct info info = {0};

	if (dissect_called(ctx, &info))
		return 0;
	l4 = data + (info.l4 & 127);
	if (l4 + 2 > end)
		return 1;
	return info.protocol + l4[1];
}

/* A callee that gets the pointers, and returns a number. */
static noinline u32 read_u16(u8 *p, u8 *end)
{
	if (p + 2 > end)
		return 0;
	return p[0] << 8 | p[1];
}

XDP u32 pointers_as_arguments(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);

	if (data + 15 > end)
		return 0;
	return read_u16(data + 12, end) + read_u16(data + 14 + (data[14] & 15) * 4, end);
}

XDP u32 flow_count(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *l4;
	struct key key = {0};
	u64 one = 1, *value;

	if (data + 34 > end)
		return 0;
	key.source = *(u32 *)(data + 26);
	key.destination = *(u32 *)(data + 30);
	key.protocol = data[23];
	l4 = data + 14 + (data[14] & 15) * 4;
	if (l4 + 4 > end)
		return 1;
	key.sport = *(u16 *)l4;
	key.dport = *(u16 *)(l4 + 2);
	value = bpf_map_lookup_elem(&flows, &key);
	if (value) {
		__sync_fetch_and_add(value, 1);
		return 2;
	}
	bpf_map_update_elem(&flows, &key, &one, 0);
	return 3;
}

/* A counter chosen by the packet, its length added. */
XDP u32 length_histogram(struct xdp_md *ctx)
{
	u64 length = END(ctx) - DATA(ctx), *value;
	u32 slot = length >> 6;

	if (slot > 15)
		slot = 15;
	value = bpf_map_lookup_elem(&counters, &slot);
	if (!value)
		return 0;
	*value += length;
	return slot + 1;
}

/* The key lies in the packet itself. */
XDP u32 key_in_packet(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 *key = (u32 *)(data + 12);
	u64 *value;

	if ((u8 *)(key + 1) > end)
		return 0;
	value = bpf_map_lookup_elem(&counters, key);
	return value ? 1 : 2;
}

/* Pointers that differ by the way taken, then one access. */
XDP u32 chosen_pointer(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;

	if (data + 60 > end)
		return 0;
	p = data[0] & 1 ? data + 20 : data + 40;
	if (data[1] & 1)
		p += data[2] & 7;
	return p[0] + p[8];
}

/* The length is kept in a signed number. */
XDP u32 signed_length(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx);
	s32 left = (s32)(END(ctx) - data) - 14;

	if (left < 20)
		return 0;
	if (data + 34 > END(ctx))
		return 1;
	return data[33] + (u32)left;
}

/* A flag says that the check was made. */
XDP u32 flag_for_a_check(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 ok = 0, queue = ctx->rx_queue_index;

	if (data + 64 <= end)
		ok = 1;
	if (queue > 1000)
		queue = 7;
	if (ok)
		return data[63] + queue;
	return queue;
}

/* Saved over a call of a helper, and used afterwards. */
XDP u32 saved_over_a_call(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *l4;
	u32 cpu;

	if (data + 15 > end)
		return 0;
	l4 = data + 14 + (data[14] & 15) * 4;
	if (l4 + 4 > end)
		return 1;
	cpu = bpf_get_smp_processor_id();
	return l4[0] + l4[3] + (cpu > 100000);
}

/* A value of the map bounds the loop. */
XDP u32 bounded_by_a_value(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 zero = 0, sum = 0;
	u64 *value = bpf_map_lookup_elem(&counters, &zero), n;

	if (!value)
		return 0;
	n = *value & 15;
	NO_UNROLL for (u64 i = 0; i < n; i++) {
		if (data + i + 1 > end)
			break;
		sum += data[i];
	}
	return sum;
}
