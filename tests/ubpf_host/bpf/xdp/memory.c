/* SPDX-License-Identifier: BSD-3-Clause */
/* Variable places in the stack, in map values and in what helpers are given. */
#include "xdp.h"

#define FOR(i, n) NO_UNROLL for (u32 i = 0; i < (n); i++)

struct histogram {
	u32 slots[32];
	u8 last[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct histogram);
} histogram SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 262144);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 128);
	__type(key, u32);
	__type(value, struct histogram);
} hosts SEC(".maps");

u64 seen;
u32 table[64];

XDP u32 slot_by_mask(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct histogram *h;
	u32 zero = 0;

	if (data + 15 > end)
		return 0;
	h = bpf_map_lookup_elem(&histogram, &zero);
	if (!h)
		return 1;
	return ++h->slots[data[14] & 31];
}

XDP u32 slot_by_comparison(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct histogram *h;
	u32 zero = 0, at;

	if (data + 15 > end)
		return 0;
	at = data[14];
	h = bpf_map_lookup_elem(&histogram, &zero);
	if (!h || at >= 32)
		return 1;
	return h->slots[at] += 3;
}

XDP u32 copied_into_a_value(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct histogram *h;
	u32 zero = 0, sum = 0;

	h = bpf_map_lookup_elem(&histogram, &zero);
	if (!h)
		return 0;
	FOR(i, 16) {
		if (data + i + 1 > end)
			break;
		sum += h->last[i];
		h->last[i] = data[i];
	}
	return sum;
}

/* Globals are the value of a map. */
XDP u32 globals(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);

	seen++;
	if (data + 15 > end)
		return (u32)seen;
	table[data[14] & 63] += (u32)seen;
	return table[data[12] & 63];
}

XDP u32 ring_of_fixed_size(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct {
		u64 length;
		u8 start[16];
	} event = {};

	if (data + 16 > end)
		return 0;
	event.length = end - data;
	__builtin_memcpy(event.start, data, 16);
	return bpf_ringbuf_output(&events, &event, sizeof(event), 0) ? 1 : 2;
}

/* The size of what is given to the helper comes from the packet. */
XDP u32 ring_of_variable_size(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), copy[64] = {};
	u32 n;

	if (data + 15 > end)
		return 0;
	n = data[14] & 63;
	FOR(i, 64) {
		if (i >= n || data + i + 1 > end)
			break;
		copy[i] = data[i];
	}
	return bpf_ringbuf_output(&events, copy, n + 1, 0) ? 1 : 2;
}

XDP u32 ring_from_the_packet(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), *p;

	if (data + 15 > end)
		return 0;
	p = data + 14 + (data[14] & 15) * 4;
	if (p + 8 > end)
		return 1;
	return bpf_ringbuf_output(&events, p, 8, 0) ? 2 : 3;
}

/* A small stack of labels, pushed and popped. */
XDP u32 stack_of_labels(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx) + 14, *end = END(ctx);
	u32 labels[8] = {}, n = 0, sum = 0;

	FOR(i, 8) {
		if (p + 4 > end)
			break;
		labels[n & 7] = *(u32 *)p;
		n++;
		if (p[2] & 1)
			break;
		p += 4;
	}
	FOR(i, 8) {
		if (!n)
			break;
		n--;
		sum = sum * 31 + labels[n & 7];
	}
	return sum;
}

/* Sorted in place: an inner index that depends on the outer one. */
XDP u32 sorted_bytes(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), bytes[6];

	if (data + 20 > end)
		return 0;
	__builtin_memcpy(bytes, data + 14, sizeof(bytes));
	UNROLL for (int i = 0; i < 5; i++)
		UNROLL for (int j = 0; j < 5 - i; j++)
			if (bytes[j] > bytes[j + 1]) {
				u8 t = bytes[j];

				bytes[j] = bytes[j + 1];
				bytes[j + 1] = t;
			}
	return bytes[0] << 16 | bytes[2] << 8 | bytes[5];
}

/* Two lookups, of which only one may have found something. */
XDP u32 known_or_new_host(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct histogram fresh = {}, *source, *destination;
	u32 key;

	if (data + 34 > end)
		return 0;
	key = *(u32 *)(data + 26);
	source = bpf_map_lookup_elem(&hosts, &key);
	if (!source) {
		bpf_map_update_elem(&hosts, &key, &fresh, 0);
		source = bpf_map_lookup_elem(&hosts, &key);
		if (!source)
			return 1;
	}
	destination = bpf_map_lookup_elem(&hosts, data + 30);
	source->slots[data[23] & 31]++;
	if (destination)
		return destination->slots[data[23] & 31];
	return source->slots[0] + 100;
}

/* Which map value is used depends on the packet. */
XDP u32 either_value(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct histogram *h;
	u32 key = 0;

	if (data + 30 > end)
		return 0;
	if (data[12] == 8) {
		h = bpf_map_lookup_elem(&histogram, &key);
	} else {
		key = *(u32 *)(data + 26);
		h = bpf_map_lookup_elem(&hosts, &key);
	}
	return h ? ++h->slots[31] : 1;
}

/* A callee writes into its caller's structure, by what the packet says. */
static noinline u32 note(struct histogram *h, u32 at, u32 what)
{
	if (at >= 32)
		return 0;
	h->slots[at] = what;
	return at;
}

XDP u32 noted_by_a_callee(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	struct histogram h = {};

	if (data + 20 > end)
		return 0;
	note(&h, data[14], 5);
	note(&h, data[15], 7);
	return h.slots[4] * 10 + h.slots[5] + note(&h, data[16] & 31, 1);
}

/* Reads stack that a variable write may have reached. */
XDP u32 variable_write(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx), bytes[16] = {1, 2, 3, 4};

	if (data + 16 > end)
		return 0;
	bytes[data[14] & 15] = data[15];
	return bytes[0] << 8 | bytes[data[15] & 15];
}

/* A bit set in a table of bits. */
XDP u32 bloom_filter(struct xdp_md *ctx)
{
	u8 *data = DATA(ctx), *end = END(ctx);
	u32 hash, hits = 0;

	if (data + 34 > end)
		return 0;
	hash = *(u32 *)(data + 26) * 0x9e3779b1u;
	UNROLL for (int i = 0; i < 3; i++) {
		u32 bit = hash >> (i * 8) & 0x7ff;

		hits += table[bit >> 5] >> (bit & 31) & 1;
		table[bit >> 5] |= 1u << (bit & 31);
	}
	return hits;
}
