/* SPDX-License-Identifier: BSD-3-Clause */
/* Making, opening and freeing maps; arrays; the way from the API to each type. */
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local uint32_t current_lcore;

void dpcap_vm_set_lcore(uint32_t lcore)
{
	current_lcore = lcore;
}

uint32_t dpcap_vm_lcore(void)
{
	return current_lcore;
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static bool is_array(uint32_t type)
{
	return type == DPCAP_VM_MAP_ARRAY || type == DPCAP_VM_MAP_PERCPU_ARRAY;
}

static bool is_hash(uint32_t type)
{
	return type == DPCAP_VM_MAP_HASH || type == DPCAP_VM_MAP_LRU_HASH;
}

static bool shape_makes_sense(const struct dpcap_vm_map_def *def, uint32_t n_lcores)
{
	if (def->max_entries == 0 || n_lcores == 0 || !memchr(def->name, '\0', sizeof(def->name)))
		return false;
	if (is_array(def->type))
		return def->key_size == 4 && def->value_size > 0;
	if (is_hash(def->type))
		return def->key_size > 0 && def->key_size <= DPCAP_VM_MAP_MAX_KEY &&
		       def->value_size > 0;
	/* Headers are 8 bytes and never wrap. */
	return def->type == DPCAP_VM_MAP_RING && def->key_size == 0 && def->value_size == 0 &&
	       def->max_entries >= MAP_ALIGN && (def->max_entries & (def->max_entries - 1)) == 0;
}

/* The one place that decides where things are. 0, -EINVAL or -E2BIG. */
static int compute_layout(const struct dpcap_vm_map_def *def, uint32_t n_lcores, uint64_t seed,
			  struct map_header *layout)
{
	uint64_t entry;

	if (!shape_makes_sense(def, n_lcores))
		return -EINVAL;
	if (def->value_size > DPCAP_VM_MAP_MAX_BYTES || def->max_entries > DPCAP_VM_MAP_MAX_BYTES)
		return -E2BIG;
	memset(layout, 0, sizeof(*layout));
	memcpy(layout->magic, MAP_MAGIC, sizeof(layout->magic));
	layout->version = MAP_VERSION;
	layout->n_lcores = def->type == DPCAP_VM_MAP_PERCPU_ARRAY ? n_lcores : 1;
	layout->def = *def;
	layout->seed = seed;
	layout->value_stride = (uint32_t)round_up(def->value_size, 8);
	layout->control = round_up(sizeof(*layout), MAP_ALIGN);
	layout->buckets = layout->control + sizeof(struct map_control);
	entry = def->type == DPCAP_VM_MAP_RING ? 1 : layout->value_stride;
	if (is_hash(def->type)) {
		layout->value_in_node =
			(uint32_t)(sizeof(struct map_node) + round_up(def->key_size, 8));
		entry = layout->value_in_node + layout->value_stride;
		layout->node_stride = (uint32_t)entry;
		layout->n_buckets = 1;
		while (layout->n_buckets < def->max_entries)
			layout->n_buckets *= 2;
	}
	layout->data = round_up(
		layout->buckets + layout->n_buckets * sizeof(struct map_bucket), MAP_ALIGN);
	layout->lcore_stride = round_up(def->max_entries * entry, MAP_ALIGN);
	if (layout->lcore_stride > DPCAP_VM_MAP_MAX_BYTES / layout->n_lcores)
		return -E2BIG;
	layout->size = layout->data + layout->lcore_stride * layout->n_lcores;
	return layout->size > DPCAP_VM_MAP_MAX_BYTES ? -E2BIG : 0;
}

/* Map the memory of fd, which is as large as the layout says. */
static int attach(const struct map_header *layout, int fd, bool writable, struct dpcap_vm_map **map)
{
	struct dpcap_vm_map *new = calloc(1, sizeof(*new));
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);

	if (!new)
		return -ENOMEM;
	new->memory = mmap(NULL, layout->size, protection, MAP_SHARED, fd, 0);
	if (new->memory == MAP_FAILED) {
		int error = -errno;

		free(new);
		return error;
	}
	new->def = layout->def;
	new->layout = *layout;
	new->value_stride = layout->value_stride;
	new->control = (struct map_control *)(new->memory + layout->control);
	new->buckets = (struct map_bucket *)(new->memory + layout->buckets);
	new->values = new->memory + layout->data;
	new->writable = writable;
	new->fd = fd;
	*map = new;
	return 0;
}

int dpcap_vm_map_create(const struct dpcap_vm_map_def *def, uint32_t n_lcores,
			struct dpcap_vm_map **map)
{
	struct map_header layout;
	/* A reader that could resize the file could kill its writer with SIGBUS. */
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	uint64_t seed = 0;
	int ret, fd;

	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return -errno;
	ret = compute_layout(def, n_lcores, seed, &layout);
	if (ret != 0)
		return ret;
	fd = memfd_create("dpcap-map", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	ret = -ENOMEM;
	if (ftruncate(fd, (off_t)layout.size) != 0)
		goto fail;
	ret = attach(&layout, fd, true, map);
	if (ret != 0)
		goto fail;
	memcpy((*map)->memory, &layout, sizeof(layout));
	/* Only the reader of a ring has something to write: what it has taken out. */
	if (def->type != DPCAP_VM_MAP_RING)
		seals |= F_SEAL_FUTURE_WRITE;
	if (fcntl(fd, F_ADD_SEALS, seals) != 0) {
		ret = -errno;
		dpcap_vm_map_free(*map);
		return ret;
	}
	return 0;
fail:
	close(fd);
	return ret;
}

int dpcap_vm_map_open(int fd, struct dpcap_vm_map **map)
{
	struct map_header header, expected;
	struct stat status;
	int ret, seals, copy;

	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || fstat(fd, &status) != 0)
		return -errno;
	/* Without these seals its size could change under the reader. */
	if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return -EPROTO;
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return -EPROTO;
	ret = compute_layout(&header.def, header.n_lcores, header.seed, &expected);
	if (ret != 0 || memcmp(&header, &expected, sizeof(header)) != 0 ||
	    (uint64_t)status.st_size != header.size)
		return -EPROTO;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	ret = attach(&header, copy, header.def.type == DPCAP_VM_MAP_RING, map);
	if (ret != 0)
		close(copy);
	return ret;
}

void dpcap_vm_map_free(struct dpcap_vm_map *map)
{
	if (!map)
		return;
	munmap(map->memory, map->layout.size);
	close(map->fd);
	free(map);
}

const struct dpcap_vm_map_def *dpcap_vm_map_def(const struct dpcap_vm_map *map)
{
	return &map->def;
}

uint32_t dpcap_vm_map_lcores(const struct dpcap_vm_map *map)
{
	return map->layout.n_lcores;
}

int dpcap_vm_map_fd(const struct dpcap_vm_map *map)
{
	return map->fd;
}

/* The value of an index; NULL for an index or an lcore outside of the array. */
static uint8_t *array_value(const struct dpcap_vm_map *map, const void *key, uint32_t lcore)
{
	uint32_t index;

	memcpy(&index, key, sizeof(index));
	if (index >= map->def.max_entries || lcore >= map->layout.n_lcores)
		return NULL;
	return map->values + lcore * map->layout.lcore_stride + (uint64_t)index * map->value_stride;
}

static uint32_t own_lcore(const struct dpcap_vm_map *map)
{
	return map->def.type == DPCAP_VM_MAP_PERCPU_ARRAY ? current_lcore : 0;
}

void *dpcap_vm_map_lookup(struct dpcap_vm_map *map, const void *key)
{
	if (is_array(map->def.type))
		return array_value(map, key, own_lcore(map));
	if (is_hash(map->def.type))
		return map_hash_lookup(map, key);
	return NULL;
}

int dpcap_vm_map_update(struct dpcap_vm_map *map, const void *key, const void *value,
			uint64_t flags)
{
	uint8_t *place;

	if (!map->writable)
		return -EPERM;
	if (flags > DPCAP_VM_MAP_EXIST)
		return -EINVAL;
	if (is_hash(map->def.type))
		return map_hash_update(map, key, value, flags);
	if (!is_array(map->def.type))
		return -EINVAL;
	place = array_value(map, key, own_lcore(map));
	if (!place)
		return -E2BIG;
	if (flags == DPCAP_VM_MAP_NOEXIST)
		return -EEXIST;
	memcpy(place, value, map->def.value_size);
	return 0;
}

int dpcap_vm_map_delete(struct dpcap_vm_map *map, const void *key)
{
	if (!map->writable)
		return -EPERM;
	return is_hash(map->def.type) ? map_hash_delete(map, key) : -EINVAL;
}

int dpcap_vm_map_read(const struct dpcap_vm_map *map, const void *key, uint32_t lcore, void *value)
{
	const uint8_t *place;

	if (is_hash(map->def.type))
		return map_hash_read(map, key, value);
	if (!is_array(map->def.type))
		return -EINVAL;
	place = array_value(map, key, lcore);
	if (!place)
		return -ENOENT;
	memcpy(value, place, map->def.value_size);
	return 0;
}
