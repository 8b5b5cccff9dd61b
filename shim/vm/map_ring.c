/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring: any number of writers, one reader, each record
 *
 *  +----------------------------+----------+----------------------+
 *  | size | RECORD_THERE, 32 bit | 0, 32 bit | data, to 8 bytes    |
 *  +----------------------------+----------+----------------------+
 *  0                            4          8
 *
 * at a multiple of 8 bytes; data may wrap, the header cannot. A writer reserves its
 * bytes by moving `reserved`, copies, then writes the header. What is not written yet
 * is zero, so that the reader stops there; it zeroes what it has taken out.
 */
#include "maps.h"

#include <errno.h>
#include <string.h>

#define RECORD_THERE 0x80000000u
#define RECORD_HEADER 8

static uint64_t record_size(uint64_t data_size)
{
	return RECORD_HEADER + (data_size + 7) / 8 * 8;
}

static uint32_t *header_at(const struct dpcap_vm_map *map, uint64_t position)
{
	return (uint32_t *)(map->values + (position & (map->def.max_entries - 1)));
}

/* Where position is, and how many of size bytes are there before the ring's end. */
static uint8_t *span(const struct dpcap_vm_map *map, uint64_t position, uint64_t size,
		     uint64_t *first)
{
	uint64_t offset = position & (map->def.max_entries - 1);
	uint64_t room = map->def.max_entries - offset;

	*first = size < room ? size : room;
	return map->values + offset;
}

int dpcap_vm_ring_output(struct dpcap_vm_map *map, const void *data, uint64_t size)
{
	struct map_control *control = map->control;
	uint64_t capacity = map->def.max_entries;
	uint64_t start, needed, first;
	uint8_t *place;

	if (map->def.type != DPCAP_VM_MAP_RING)
		return -EINVAL;
	if (size > capacity - RECORD_HEADER)
		return -E2BIG;
	needed = record_size(size);
	start = __atomic_load_n(&control->reserved, __ATOMIC_RELAXED);
	do {
		uint64_t used = start - __atomic_load_n(&control->consumed, __ATOMIC_ACQUIRE);

		if (used > capacity || needed > capacity - used) {
			__atomic_fetch_add(&control->dropped, 1, __ATOMIC_RELAXED);
			return -EAGAIN;
		}
	} while (!__atomic_compare_exchange_n(&control->reserved, &start, start + needed, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	place = span(map, start + RECORD_HEADER, size, &first);
	memcpy(place, data, first);
	memcpy(map->values, (const uint8_t *)data + first, size - first);
	__atomic_store_n(header_at(map, start), (uint32_t)size | RECORD_THERE, __ATOMIC_RELEASE);
	return 0;
}

int64_t dpcap_vm_ring_read(struct dpcap_vm_map *map, void *data, uint64_t size)
{
	struct map_control *control = map->control;
	uint64_t position, length, needed, first;
	uint32_t header;
	uint8_t *place;

	if (map->def.type != DPCAP_VM_MAP_RING)
		return -EINVAL;
	position = __atomic_load_n(&control->consumed, __ATOMIC_RELAXED);
	if (position & (RECORD_HEADER - 1))
		return -EPROTO;
	header = __atomic_load_n(header_at(map, position), __ATOMIC_ACQUIRE);
	if (header == 0)
		return -EAGAIN;
	length = header & ~RECORD_THERE;
	needed = record_size(length);
	if (!(header & RECORD_THERE) || needed > map->def.max_entries)
		return -EPROTO;
	if (length > size)
		return -EMSGSIZE;
	place = span(map, position + RECORD_HEADER, length, &first);
	memcpy(data, place, first);
	memcpy((uint8_t *)data + first, map->values, length - first);
	place = span(map, position, needed, &first);
	memset(place, 0, first);
	memset(map->values, 0, needed - first);
	__atomic_store_n(&control->consumed, position + needed, __ATOMIC_RELEASE);
	return (int64_t)length;
}

uint64_t dpcap_vm_ring_dropped(const struct dpcap_vm_map *map)
{
	return __atomic_load_n(&map->control->dropped, __ATOMIC_RELAXED);
}
