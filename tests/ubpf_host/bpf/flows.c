/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts the packets and bytes of IPv4 flows, and tells of new ones. */
#include "bpf.h"

struct flow {
	u32 source, destination;
};

struct counters {
	u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow);
	__type(value, struct counters);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} new_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} per_lcore SEC(".maps");

u64 seen = 5;
u64 missed;
static const u8 weights[4] = {1, 2, 4, 8};

SEC("dpcap") u64 count_flows(const u8 *packet, u64 len, u64 wirelen)
{
	struct counters *counters, fresh;
	struct flow flow;
	u64 *mine;
	u32 zero = 0;

	if (len < 34 || packet[12] != 8 || packet[13] != 0) {
		missed++;
		return 0;
	}
	seen++;
	mine = bpf_map_lookup_elem(&per_lcore, &zero);
	if (mine)
		++*mine;
	__builtin_memcpy(&flow, packet + 26, sizeof(flow));
	counters = bpf_map_lookup_elem(&flows, &flow);
	if (counters) {
		__sync_fetch_and_add(&counters->packets, 1);
		__sync_fetch_and_add(&counters->bytes, wirelen);
	} else {
		fresh.packets = 1;
		fresh.bytes = wirelen;
		bpf_map_update_elem(&flows, &flow, &fresh, 0);
		bpf_ringbuf_output(&new_flows, &flow, sizeof(flow), 0);
	}
	return weights[packet[14] & 3];
}

/* A function of its own, with data of its own. */
static noinline u64 add_header(const u8 *packet, u64 len, u64 sum)
{
	if (len < 14)
		return sum;
	return sum + packet[12] + seen;
}

noinline u64 twice(u64 n)
{
	return 2 * n;
}

SEC("other") u64 call_functions(const u8 *packet, u64 len)
{
	return twice(add_header(packet, len, 1)) + twice(len);
}

SEC("other") u64 print(const u8 *packet, u64 len)
{
	static const char format[] = "%d bytes at %lld\n";

	return bpf_trace_printk(format, sizeof(format), (u32)len, bpf_ktime_get_ns() > 0);
}
