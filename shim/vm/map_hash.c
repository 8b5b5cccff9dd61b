/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hash maps: chains of preallocated nodes.
 *
 * Writers hold the lock of one bucket for a few stores. Lookups take no lock; a chain
 * that changed meanwhile is walked again. Readers in other processes copy a node and
 * look whether its version is still the same (a seqlock), so that no writer ever waits
 * for a reader. Every wait is bounded: a writer whose thread lost its core costs others
 * an -EBUSY, not their liveness.
 *
 * The LRU map evicts by the CLOCK algorithm (Corbato 1968): a hand goes around the
 * nodes, clears the mark of those used since it last came by, takes the first without.
 */
#include "maps.h"

#include <errno.h>
#include <string.h>

/* Spins for a bucket's lock, and walks of a chain that changes under a lookup. */
#define LOCK_SPINS (1 << 14)
#define WALK_RETRIES 64
/* Copies of a node that changes under a reader. */
#define READ_RETRIES 1000
/* Nodes that the clock's hand passes for one eviction before it takes any. */
#define CLOCK_STEPS 128

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* Multiply and shift over 8-byte words, with a seed that nobody outside can guess. */
static uint32_t hash_key(const struct dpcap_vm_map *map, const void *key)
{
	const uint8_t *bytes = key;
	uint32_t left = map->def.key_size;
	uint64_t hash = map->layout.seed ^ left;

	while (left > 0) {
		uint32_t n = left < 8 ? left : 8;
		uint64_t word = 0;

		memcpy(&word, bytes, n);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
		bytes += n;
		left -= n;
	}
	hash *= 0xd6e8feb86659fd93;
	return (uint32_t)(hash >> 32);
}

/* The node with number + 1 = link; NULL for none, and for a number that cannot be. */
static struct map_node *node_at(const struct dpcap_vm_map *map, uint32_t link)
{
	if (link == 0 || link > map->def.max_entries)
		return NULL;
	return (struct map_node *)(map->values + (uint64_t)(link - 1) * map->layout.node_stride);
}

static uint8_t *node_value(const struct dpcap_vm_map *map, struct map_node *node)
{
	return (uint8_t *)node + map->layout.value_in_node;
}

static struct map_bucket *bucket_of(const struct dpcap_vm_map *map, uint32_t hash)
{
	return &map->buckets[hash & (map->layout.n_buckets - 1)];
}

static bool lock_bucket(struct map_bucket *bucket)
{
	for (uint32_t i = 0; i < LOCK_SPINS; i++) {
		uint32_t lock = __atomic_load_n(&bucket->lock, __ATOMIC_RELAXED);

		if (!(lock & 1) &&
		    __atomic_compare_exchange_n(&bucket->lock, &lock, lock + 1, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
		relax();
	}
	return false;
}

static void unlock_bucket(struct map_bucket *bucket)
{
	__atomic_fetch_add(&bucket->lock, 1, __ATOMIC_RELEASE);
}

/* Give a node a state, with a version that it never had. */
static void set_state(struct map_node *node, enum map_node_state state)
{
	uint32_t version = ((node->version | NODE_STATE) + 1) | state;

	__atomic_store_n(&node->version, version, __ATOMIC_RELEASE);
	/* What changes next must not be seen before the state. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* ---- the stack of free nodes */

static void push_free(struct dpcap_vm_map *map, uint32_t link)
{
	struct map_node *node = node_at(map, link);
	uint64_t top = __atomic_load_n(&map->control->free_nodes, __ATOMIC_RELAXED);
	uint64_t wanted;

	do {
		__atomic_store_n(&node->next, (uint32_t)top, __ATOMIC_RELAXED);
		wanted = ((top >> 32) + 1) << 32 | link;
	} while (!__atomic_compare_exchange_n(&map->control->free_nodes, &top, wanted, true,
					      __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static uint32_t pop_free(struct dpcap_vm_map *map)
{
	uint64_t top = __atomic_load_n(&map->control->free_nodes, __ATOMIC_ACQUIRE);
	uint64_t wanted;
	struct map_node *node;

	do {
		node = node_at(map, (uint32_t)top);
		if (!node)
			return 0;
		wanted = ((top >> 32) + 1) << 32 | __atomic_load_n(&node->next, __ATOMIC_RELAXED);
	} while (!__atomic_compare_exchange_n(&map->control->free_nodes, &top, wanted, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE));
	return (uint32_t)top;
}

/* A node that nobody ever had: making a large map touches none of them. */
static uint32_t take_fresh(struct dpcap_vm_map *map)
{
	uint32_t n = __atomic_load_n(&map->control->n_touched, __ATOMIC_RELAXED);

	do {
		if (n >= map->def.max_entries)
			return 0;
	} while (!__atomic_compare_exchange_n(&map->control->n_touched, &n, n + 1, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return n + 1;
}

/* ---- finding */

static bool is_node_of(const struct dpcap_vm_map *map, const struct map_node *node, uint32_t hash,
		       const void *key)
{
	return __atomic_load_n(&node->hash, __ATOMIC_RELAXED) == hash &&
	       memcmp(node->key, key, map->def.key_size) == 0;
}

/*
 * Walk the chain of a bucket. *previous (may be NULL) is the link that points to the
 * node found. A damaged or changing chain ends after as many steps as there are nodes.
 */
static uint32_t walk(const struct dpcap_vm_map *map, struct map_bucket *bucket, uint32_t hash,
		     const void *key, uint32_t **previous)
{
	uint32_t *place = &bucket->first;

	for (uint32_t steps = 0; steps < map->def.max_entries; steps++) {
		uint32_t link = __atomic_load_n(place, __ATOMIC_ACQUIRE);
		struct map_node *node = node_at(map, link);

		if (!node)
			return 0;
		/* Seen without the lock only: the chain changed, and goes on in the free nodes. */
		if ((__atomic_load_n(&node->version, __ATOMIC_ACQUIRE) & NODE_STATE) == NODE_FREE)
			return 0;
		if (is_node_of(map, node, hash, key)) {
			if (previous)
				*previous = place;
			return link;
		}
		place = &node->next;
	}
	return 0;
}

/* As walk(), without the lock. */
static uint32_t walk_unlocked(const struct dpcap_vm_map *map, uint32_t hash, const void *key)
{
	struct map_bucket *bucket = bucket_of(map, hash);

	for (uint32_t i = 0; i < WALK_RETRIES; i++) {
		uint32_t before = __atomic_load_n(&bucket->lock, __ATOMIC_ACQUIRE);
		uint32_t link = walk(map, bucket, hash, key, NULL);

		if (link != 0)
			return link;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		/* A node that moved away while it was looked at may hide those behind it. */
		if (!(before & 1) && __atomic_load_n(&bucket->lock, __ATOMIC_RELAXED) == before)
			return 0;
		relax();
	}
	return 0;
}

void *map_hash_lookup(struct dpcap_vm_map *map, const void *key)
{
	struct map_node *node = node_at(map, walk_unlocked(map, hash_key(map, key), key));

	if (!node)
		return NULL;
	/* Written only when it changes: the line stays shared between lcores. */
	if (map->writable && !__atomic_load_n(&node->referenced, __ATOMIC_RELAXED))
		__atomic_store_n(&node->referenced, 1, __ATOMIC_RELAXED);
	return node_value(map, node);
}

/* ---- changing */

/* Take a live node out of its chain. The bucket is locked; place is the link to it. */
static void unlink_node(struct map_node *node, uint32_t *place)
{
	set_state(node, NODE_FREE);
	__atomic_store_n(place, node->next, __ATOMIC_RELEASE);
}

/* Evict the key of one node. False: it was not live, or busy, or changed meanwhile. */
static bool evict(struct dpcap_vm_map *map, uint32_t link)
{
	struct map_node *node = node_at(map, link);
	uint32_t hash = __atomic_load_n(&node->hash, __ATOMIC_RELAXED);
	struct map_bucket *bucket = bucket_of(map, hash);
	uint32_t *place = &bucket->first;
	bool found = false;

	if (!lock_bucket(bucket))
		return false;
	for (uint32_t steps = 0; steps < map->def.max_entries; steps++) {
		struct map_node *other = node_at(map, *place);

		if (!other || other == node) {
			found = other == node;
			break;
		}
		place = &other->next;
	}
	if (found)
		unlink_node(node, place);
	unlock_bucket(bucket);
	return found;
}

static uint32_t take_least_used(struct dpcap_vm_map *map)
{
	for (uint32_t steps = 0; steps < 2 * CLOCK_STEPS; steps++) {
		uint32_t hand = __atomic_fetch_add(&map->control->clock_hand, 1, __ATOMIC_RELAXED);
		uint32_t link = hand % map->def.max_entries + 1;
		struct map_node *node = node_at(map, link);
		uint32_t version = __atomic_load_n(&node->version, __ATOMIC_ACQUIRE);

		if ((version & NODE_STATE) == NODE_FREE)
			continue;
		if (steps < CLOCK_STEPS &&
		    __atomic_exchange_n(&node->referenced, 0, __ATOMIC_RELAXED))
			continue;
		if (evict(map, link))
			return link;
	}
	return 0;
}

static uint32_t take_node(struct dpcap_vm_map *map)
{
	uint32_t link = pop_free(map);

	if (link == 0)
		link = take_fresh(map);
	if (link == 0 && map->def.type == DPCAP_VM_MAP_LRU_HASH)
		link = take_least_used(map);
	return link;
}

/* Change the value of a key that is there. The bucket is locked. */
static void replace_value(struct dpcap_vm_map *map, struct map_node *node, const void *value)
{
	set_state(node, NODE_CHANGING);
	memcpy(node_value(map, node), value, map->def.value_size);
	set_state(node, NODE_LIVE);
}

int map_hash_update(struct dpcap_vm_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t hash = hash_key(map, key);
	struct map_bucket *bucket = bucket_of(map, hash);
	struct map_node *node;
	uint32_t spare = 0, link;
	int ret;

	/* A node is found before the lock is taken: eviction takes another bucket's. */
	if (flags != DPCAP_VM_MAP_EXIST && walk_unlocked(map, hash, key) == 0) {
		spare = take_node(map);
		if (spare == 0)
			return -E2BIG;
	}
	if (!lock_bucket(bucket)) {
		ret = -EBUSY;
		goto out;
	}
	link = walk(map, bucket, hash, key, NULL);
	ret = 0;
	if (link != 0 && flags == DPCAP_VM_MAP_NOEXIST) {
		ret = -EEXIST;
	} else if (link != 0) {
		replace_value(map, node_at(map, link), value);
	} else if (flags == DPCAP_VM_MAP_EXIST) {
		ret = -ENOENT;
	} else if (spare == 0) {
		/* Deleted by another thread since it was looked for. */
		ret = -EBUSY;
	} else {
		node = node_at(map, spare);
		set_state(node, NODE_CHANGING);
		__atomic_store_n(&node->hash, hash, __ATOMIC_RELAXED);
		memcpy(node->key, key, map->def.key_size);
		memcpy(node_value(map, node), value, map->def.value_size);
		__atomic_store_n(&node->referenced, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&node->next, bucket->first, __ATOMIC_RELAXED);
		set_state(node, NODE_LIVE);
		__atomic_store_n(&bucket->first, spare, __ATOMIC_RELEASE);
		spare = 0;
	}
	unlock_bucket(bucket);
out:
	if (spare != 0)
		push_free(map, spare);
	return ret;
}

int map_hash_delete(struct dpcap_vm_map *map, const void *key)
{
	uint32_t hash = hash_key(map, key);
	struct map_bucket *bucket = bucket_of(map, hash);
	uint32_t *place;
	uint32_t link;

	if (!lock_bucket(bucket))
		return -EBUSY;
	link = walk(map, bucket, hash, key, &place);
	if (link != 0)
		unlink_node(node_at(map, link), place);
	unlock_bucket(bucket);
	if (link == 0)
		return -ENOENT;
	push_free(map, link);
	return 0;
}

/* ---- reading, from another process */

int map_hash_read(const struct dpcap_vm_map *map, const void *key, void *value)
{
	uint32_t hash = hash_key(map, key);

	for (uint32_t i = 0; i < READ_RETRIES; i++) {
		struct map_node *node = node_at(map, walk_unlocked(map, hash, key));
		uint32_t version;

		if (!node)
			return -ENOENT;
		version = __atomic_load_n(&node->version, __ATOMIC_ACQUIRE);
		if ((version & NODE_STATE) != NODE_LIVE || !is_node_of(map, node, hash, key)) {
			relax();
			continue;
		}
		memcpy(value, node_value(map, node), map->def.value_size);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&node->version, __ATOMIC_RELAXED) == version)
			return 0;
	}
	return -EBUSY;
}

int dpcap_vm_map_next_key(const struct dpcap_vm_map *map, uint32_t *cursor, void *key)
{
	uint32_t n = __atomic_load_n(&map->control->n_touched, __ATOMIC_ACQUIRE);

	if (map->layout.n_buckets == 0)
		return -EINVAL;
	while (*cursor < n && *cursor < map->def.max_entries) {
		struct map_node *node = node_at(map, ++*cursor);

		for (uint32_t i = 0; i < READ_RETRIES; i++) {
			uint32_t version = __atomic_load_n(&node->version, __ATOMIC_ACQUIRE);

			if ((version & NODE_STATE) == NODE_FREE)
				break;
			memcpy(key, node->key, map->def.key_size);
			__atomic_thread_fence(__ATOMIC_ACQUIRE);
			if ((version & NODE_STATE) == NODE_LIVE &&
			    __atomic_load_n(&node->version, __ATOMIC_RELAXED) == version)
				return 0;
			relax();
		}
	}
	return -ENOENT;
}
