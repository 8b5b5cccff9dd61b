/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Maps, as the parts of the VM share them. Not part of the API.
 *
 * A map lives in a memfd that other processes map and read. Version 1 of its layout,
 * every part aligned to 64 bytes, numbers in the machine's byte order:
 *
 *  0 +--------------------------------------------------------------+
 *    | struct map_header: magic, version, shape, where the parts are |
 *    +--------------------------------------------------------------+
 *    | struct map_control: what changes all the time                 |
 *    +--------------------------------------------------------------+
 *    | hash: n_buckets of { uint32 lock, uint32 first node + 1 }     |
 *    +--------------------------------------------------------------+
 *    | array:     value 0 | value 1 | ... each value_stride bytes    |
 *    | per lcore: one such array an lcore, each lcore_stride bytes   |
 *    | hash:      max_entries of struct map_node with key and value  |
 *    | ring:      max_entries bytes                                  |
 *    +--------------------------------------------------------------+
 *
 * A reader may be hostile where it can write (a ring), so that nothing read from the
 * memory is trusted: shapes come from the private copy, node numbers are checked.
 */
#ifndef DPCAP_VM_MAPS_H
#define DPCAP_VM_MAPS_H

#include <stdbool.h>

#include "dpcap_vm.h"

#define MAP_MAGIC "DPCAPMAP"
#define MAP_VERSION 1
#define MAP_ALIGN 64

struct map_header {
	char magic[8];
	uint32_t version;
	uint32_t n_lcores;
	struct dpcap_vm_map_def def;
	uint32_t n_buckets; /* a power of two; 0: no hash */
	uint32_t value_stride;
	uint32_t node_stride;
	uint32_t value_in_node; /* where the value is in a node */
	uint64_t seed;		/* of the hash function */
	uint64_t lcore_stride;
	uint64_t control; /* offsets of the parts */
	uint64_t buckets;
	uint64_t data;
	uint64_t size; /* of everything */
};

struct map_control {
	/* Free nodes: a stack, low half: first node + 1, high half: counts, against ABA. */
	_Alignas(MAP_ALIGN) uint64_t free_nodes;
	uint32_t n_touched; /* nodes after these were never used */
	_Alignas(MAP_ALIGN) uint32_t clock_hand;
	/* Ring: bytes ever reserved by writers, and taken out by the reader. */
	_Alignas(MAP_ALIGN) uint64_t reserved;
	uint64_t dropped;
	_Alignas(MAP_ALIGN) uint64_t consumed;
};

struct map_bucket {
	uint32_t lock; /* odd: held; counts the changes */
	uint32_t first; /* node + 1 */
};

/*
 * A key and its value:
 *
 *  +---------+------+------+------------+----------------+-------------------+
 *  | version | next | hash | referenced | key, to 8 bytes | value, to 8 bytes |
 *  +---------+------+------+------------+----------------+-------------------+
 *  0         4      8      12           16
 */
struct map_node {
	uint32_t version; /* low two bits: enum map_node_state; the rest counts the changes */
	uint32_t next;	  /* node + 1 */
	uint32_t hash;
	uint32_t referenced; /* LRU: looked up since the clock's hand passed */
	uint8_t key[];
};

enum map_node_state {
	NODE_FREE = 0,
	NODE_LIVE = 1,
	NODE_CHANGING = 2,
	NODE_STATE = 3, /* mask */
};

struct dpcap_vm_map {
	struct dpcap_vm_map_def def;
	/* Value 0. Array: value i follows at i * value_stride; what a program addresses directly. */
	uint8_t *values;
	uint32_t value_stride;

	struct map_header layout; /* a private copy */
	uint8_t *memory;
	struct map_control *control;
	struct map_bucket *buckets;
	bool writable;
	int fd;
};

void *map_hash_lookup(struct dpcap_vm_map *map, const void *key);
int map_hash_update(struct dpcap_vm_map *map, const void *key, const void *value, uint64_t flags);
int map_hash_delete(struct dpcap_vm_map *map, const void *key);
int map_hash_read(const struct dpcap_vm_map *map, const void *key, void *value);

#endif /* DPCAP_VM_MAPS_H */
