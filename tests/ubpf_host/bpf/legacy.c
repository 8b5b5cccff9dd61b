/* SPDX-License-Identifier: BSD-3-Clause */
/* Map definitions of the first libbpf, and a program in .text. */
#include "bpf.h"

struct bpf_map_def {
	u32 type, key_size, value_size, max_entries, flags;
};

struct bpf_map_def unused SEC("maps") = {BPF_MAP_TYPE_LRU_HASH, 8, 8, 16, 0};
struct bpf_map_def lengths SEC("maps") = {BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0};

u64 last_length(const u8 *packet, u64 len)
{
	u32 key = len & 3;
	u64 *value = bpf_map_lookup_elem(&lengths, &key);
	u64 last;

	if (!value)
		return -1;
	last = *value;
	*value = len;
	return last;
}
