/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps: each type, several threads, and a reader in another process. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../check.h"
#include "dpcap_vm.h"
#include "maps.h"

static struct dpcap_vm_map *make(uint32_t type, uint32_t key_size, uint32_t value_size,
				 uint32_t max_entries, uint32_t n_lcores)
{
	struct dpcap_vm_map_def def = {
		.name = "test",
		.type = type,
		.key_size = key_size,
		.value_size = value_size,
		.max_entries = max_entries,
	};
	struct dpcap_vm_map *map = NULL;

	CHECK_EQ(dpcap_vm_map_create(&def, n_lcores, &map), 0);
	REQUIRE(map);
	return map;
}

static int create_error(struct dpcap_vm_map_def def, uint32_t n_lcores)
{
	struct dpcap_vm_map *map;

	return dpcap_vm_map_create(&def, n_lcores, &map);
}

static void test_shapes(void)
{
	struct dpcap_vm_map_def array = {.type = DPCAP_VM_MAP_ARRAY, .key_size = 4,
					 .value_size = 8, .max_entries = 1};
	struct dpcap_vm_map_def bad;

	bad = array, bad.key_size = 8;
	CHECK_EQ(create_error(bad, 1), -EINVAL);
	bad = array, bad.value_size = 0;
	CHECK_EQ(create_error(bad, 1), -EINVAL);
	bad = array, bad.max_entries = 0;
	CHECK_EQ(create_error(bad, 1), -EINVAL);
	bad = array, bad.type = 17;
	CHECK_EQ(create_error(bad, 1), -EINVAL);
	bad = array, memset(bad.name, 'x', sizeof(bad.name));
	CHECK_EQ(create_error(bad, 1), -EINVAL);
	CHECK_EQ(create_error(array, 0), -EINVAL);
	bad = array, bad.max_entries = 1 << 28;
	CHECK_EQ(create_error(bad, 1), -E2BIG);
	bad = array, bad.type = DPCAP_VM_MAP_PERCPU_ARRAY;
	CHECK_EQ(create_error(bad, 1 << 30), -E2BIG);
	bad = array, bad.value_size = UINT32_MAX, bad.max_entries = UINT32_MAX;
	CHECK_EQ(create_error(bad, 1), -E2BIG);
	bad = array, bad.type = DPCAP_VM_MAP_HASH, bad.key_size = 513;
	CHECK_EQ(create_error(bad, 1), -EINVAL);
	bad = (struct dpcap_vm_map_def){.type = DPCAP_VM_MAP_RING, .max_entries = 100};
	CHECK_EQ(create_error(bad, 1), -EINVAL);
}

static void test_array(void)
{
	struct dpcap_vm_map *map = make(DPCAP_VM_MAP_ARRAY, 4, 6, 3, 1);
	uint32_t key = 2;
	uint8_t value[6];

	CHECK_EQ(dpcap_vm_map_update(map, &key, "hello", 0), 0);
	CHECK(memcmp(dpcap_vm_map_lookup(map, &key), "hello", 6) == 0);
	CHECK(memcmp(map->values + 2 * map->value_stride, "hello", 6) == 0);
	CHECK_EQ(dpcap_vm_map_read(map, &key, 0, value), 0);
	CHECK(memcmp(value, "hello", 6) == 0);
	CHECK_EQ(dpcap_vm_map_update(map, &key, "hello", DPCAP_VM_MAP_NOEXIST), -EEXIST);
	CHECK_EQ(dpcap_vm_map_update(map, &key, "hello", 3), -EINVAL);
	CHECK_EQ(dpcap_vm_map_delete(map, &key), -EINVAL);
	key = 3;
	CHECK(!dpcap_vm_map_lookup(map, &key));
	CHECK_EQ(dpcap_vm_map_update(map, &key, "hello", 0), -E2BIG);
	CHECK_EQ(dpcap_vm_map_read(map, &key, 0, value), -ENOENT);
	CHECK_EQ(dpcap_vm_map_lcores(map), 1);
	dpcap_vm_map_free(map);
}

static void test_percpu_array(void)
{
	struct dpcap_vm_map *map = make(DPCAP_VM_MAP_PERCPU_ARRAY, 4, 8, 2, 3);
	uint32_t key = 1;

	for (uint32_t lcore = 0; lcore < 3; lcore++) {
		uint64_t value = 100 + lcore;

		dpcap_vm_set_lcore(lcore);
		CHECK_EQ(dpcap_vm_map_update(map, &key, &value, 0), 0);
	}
	for (uint32_t lcore = 0; lcore < 3; lcore++) {
		uint64_t value = 0;

		CHECK_EQ(dpcap_vm_map_read(map, &key, lcore, &value), 0);
		CHECK_EQ(value, 100 + lcore);
		dpcap_vm_set_lcore(lcore);
		CHECK_EQ(*(uint64_t *)dpcap_vm_map_lookup(map, &key), 100 + lcore);
	}
	dpcap_vm_set_lcore(3);
	CHECK(!dpcap_vm_map_lookup(map, &key));
	dpcap_vm_set_lcore(0);
	dpcap_vm_map_free(map);
}

/* Count the keys by iterating. */
static uint32_t count(const struct dpcap_vm_map *map)
{
	uint8_t key[DPCAP_VM_MAP_MAX_KEY];
	uint32_t cursor = 0, n = 0;

	while (dpcap_vm_map_next_key(map, &cursor, key) == 0)
		n++;
	return n;
}

static void test_hash(uint32_t type)
{
	struct dpcap_vm_map *map = make(type, 5, 8, 100, 1);
	char key[5] = {0};
	uint64_t value;

	for (uint32_t i = 0; i < 100; i++) {
		memcpy(key, &i, sizeof(i));
		value = i * 3;
		CHECK_EQ(dpcap_vm_map_update(map, key, &value, DPCAP_VM_MAP_EXIST), -ENOENT);
		CHECK_EQ(dpcap_vm_map_update(map, key, &value, DPCAP_VM_MAP_NOEXIST), 0);
		CHECK_EQ(dpcap_vm_map_update(map, key, &value, DPCAP_VM_MAP_NOEXIST), -EEXIST);
		CHECK_EQ(dpcap_vm_map_update(map, key, &value, DPCAP_VM_MAP_EXIST), 0);
	}
	CHECK_EQ(count(map), 100);
	for (uint32_t i = 0; i < 100; i++) {
		memcpy(key, &i, sizeof(i));
		REQUIRE(dpcap_vm_map_lookup(map, key));
		CHECK_EQ(*(uint64_t *)dpcap_vm_map_lookup(map, key), i * 3);
		CHECK_EQ(dpcap_vm_map_read(map, key, 0, &value), 0);
		CHECK_EQ(value, i * 3);
	}
	key[4] = 1;
	CHECK(!dpcap_vm_map_lookup(map, key));
	CHECK_EQ(dpcap_vm_map_read(map, key, 0, &value), -ENOENT);
	CHECK_EQ(dpcap_vm_map_delete(map, key), -ENOENT);
	/* Full: a hash refuses, an LRU hash forgets another key. */
	CHECK_EQ(dpcap_vm_map_update(map, key, &value, 0), type == DPCAP_VM_MAP_HASH ? -E2BIG : 0);
	CHECK_EQ(count(map), 100);
	key[4] = 0;
	for (uint32_t i = 0; i < 100; i++) {
		memcpy(key, &i, sizeof(i));
		dpcap_vm_map_delete(map, key);
		CHECK(!dpcap_vm_map_lookup(map, key));
	}
	CHECK_EQ(count(map), type == DPCAP_VM_MAP_HASH ? 0 : 1);
	dpcap_vm_map_free(map);
}

/* Keys that are looked up all the time survive any number of others. */
static void test_lru_keeps_what_is_used(void)
{
	struct dpcap_vm_map *map = make(DPCAP_VM_MAP_LRU_HASH, 4, 4, 64, 1);

	for (uint32_t i = 0; i < 10000; i++) {
		uint32_t hot = i % 8;

		if (i < 8 || !dpcap_vm_map_lookup(map, &hot))
			CHECK_EQ(dpcap_vm_map_update(map, &hot, &hot, 0), 0);
		if (i >= 8) {
			uint32_t cold = 1000 + i;

			CHECK_EQ(dpcap_vm_map_update(map, &cold, &cold, 0), 0);
			CHECK(dpcap_vm_map_lookup(map, &hot));
		}
	}
	CHECK_EQ(count(map), 64);
	for (uint32_t hot = 0; hot < 8; hot++)
		CHECK(dpcap_vm_map_lookup(map, &hot));
	dpcap_vm_map_free(map);
}

static void test_ring(void)
{
	struct dpcap_vm_map *map = make(DPCAP_VM_MAP_RING, 0, 0, 128, 1);
	uint8_t data[128], got[128];

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	CHECK_EQ(dpcap_vm_ring_read(map, got, sizeof(got)), -EAGAIN);
	CHECK_EQ(dpcap_vm_ring_output(map, data, 121), -E2BIG);
	/* Every size, at every place of the ring: also around its end. */
	for (uint32_t round = 0; round < 50; round++) {
		for (uint32_t size = 0; size <= 120; size++) {
			memset(got, 0xee, sizeof(got));
			CHECK_EQ(dpcap_vm_ring_output(map, data, size), 0);
			if (size > 0)
				CHECK_EQ(dpcap_vm_ring_read(map, got, size - 1), -EMSGSIZE);
			CHECK_EQ(dpcap_vm_ring_read(map, got, sizeof(got)), size);
			CHECK(memcmp(got, data, size) == 0);
			CHECK_EQ(dpcap_vm_ring_read(map, got, sizeof(got)), -EAGAIN);
		}
	}
	CHECK_EQ(dpcap_vm_ring_output(map, data, 56), 0);
	CHECK_EQ(dpcap_vm_ring_output(map, data, 56), 0);
	CHECK_EQ(dpcap_vm_ring_output(map, data, 0), -EAGAIN);
	CHECK_EQ(dpcap_vm_ring_dropped(map), 1);
	/* A reader that spoils what it can write harms nobody but itself. */
	map->control->consumed = 12345678901;
	CHECK_EQ(dpcap_vm_ring_output(map, data, 8), -EAGAIN);
	CHECK_EQ(dpcap_vm_ring_read(map, got, sizeof(got)), -EPROTO);
	map->control->consumed = map->control->reserved;
	*(uint32_t *)(map->values + (map->control->consumed & 127)) = 0x7fffffff;
	CHECK_EQ(dpcap_vm_ring_read(map, got, sizeof(got)), -EPROTO);
	*(uint32_t *)(map->values + (map->control->consumed & 127)) = 0xffffffff;
	CHECK_EQ(dpcap_vm_ring_read(map, got, sizeof(got)), -EPROTO);
	dpcap_vm_map_free(map);
}

/* ---- another process */

static void test_reader_process(void)
{
	struct dpcap_vm_map *hash = make(DPCAP_VM_MAP_HASH, 4, 16, 8, 1);
	struct dpcap_vm_map *ring = make(DPCAP_VM_MAP_RING, 0, 0, 4096, 1);
	uint32_t key = 7;
	int status;
	pid_t child;

	CHECK_EQ(dpcap_vm_map_update(hash, &key, "fifteen letters", 0), 0);
	child = fork();
	REQUIRE(child >= 0);
	if (child == 0) {
		struct dpcap_vm_map *reader;
		char value[16];

		REQUIRE(dpcap_vm_map_open(dpcap_vm_map_fd(hash), &reader) == 0);
		CHECK_EQ(dpcap_vm_map_read(reader, &key, 0, value), 0);
		CHECK(memcmp(value, "fifteen letters", 16) == 0);
		CHECK_EQ(count(reader), 1);
		CHECK(dpcap_vm_map_lookup(reader, &key));
		CHECK_EQ(dpcap_vm_map_update(reader, &key, value, 0), -EPERM);
		CHECK_EQ(dpcap_vm_map_delete(reader, &key), -EPERM);
		CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, dpcap_vm_map_fd(hash),
			   0) == MAP_FAILED);
		dpcap_vm_map_free(reader);
		REQUIRE(dpcap_vm_map_open(dpcap_vm_map_fd(ring), &reader) == 0);
		CHECK_EQ(dpcap_vm_ring_output(reader, "from the child", 15), 0);
		dpcap_vm_map_free(reader);
		exit(CHECK_RESULT());
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK_EQ(status, 0);
	char record[16];
	CHECK_EQ(dpcap_vm_ring_read(ring, record, sizeof(record)), 15);
	CHECK(memcmp(record, "from the child", 15) == 0);
	dpcap_vm_map_free(hash);
	dpcap_vm_map_free(ring);
}

static void test_files_that_are_no_maps(void)
{
	struct dpcap_vm_map *map = make(DPCAP_VM_MAP_HASH, 4, 16, 8, 1), *opened;
	struct map_header header = map->layout;
	int fd = memfd_create("test", MFD_ALLOW_SEALING);

	REQUIRE(fd >= 0);
	CHECK_EQ(dpcap_vm_map_open(-1, &opened), -EBADF);
	CHECK_EQ(dpcap_vm_map_open(STDIN_FILENO, &opened), -EINVAL);
	CHECK_EQ(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
	CHECK_EQ(ftruncate(fd, (off_t)header.size), 0);
	CHECK_EQ(dpcap_vm_map_open(fd, &opened), -EPROTO); /* not sealed */
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	CHECK_EQ(dpcap_vm_map_open(fd, &opened), 0);
	dpcap_vm_map_free(opened);
	/* Every byte of the header but the seed and the names counts. */
	for (size_t i = 0; i < sizeof(header); i++) {
		struct map_header bad = header;

		((uint8_t *)&bad)[i] ^= 0x40;
		if (bad.seed != header.seed || memcmp(bad.def.name, header.def.name, 32) != 0 ||
		    bad.def.read_only != header.def.read_only || bad.def.key_size != header.def.key_size)
			continue;
		CHECK_EQ(pwrite(fd, &bad, sizeof(bad), 0), sizeof(bad));
		CHECK_EQ(dpcap_vm_map_open(fd, &opened), -EPROTO);
	}
	close(fd);
	dpcap_vm_map_free(map);
}

/* ---- threads */

#define THREADS 4
#define ROUNDS 20000

struct worker {
	struct dpcap_vm_map *map;
	uint64_t id;
	pthread_t thread;
};

/* Values whose halves are equal, under keys that all threads fight for. */
static void *fight(void *argument)
{
	struct worker *worker = argument;
	uint64_t random = worker->id * 7919 + 1;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint64_t value[8];
		uint32_t key;
		int ret;

		random = random * 6364136223846793005u + 1442695040888963407u;
		key = (uint32_t)(random >> 40) % 48;
		for (int j = 0; j < 8; j++)
			value[j] = random;
		switch ((random >> 33) % 4) {
		case 0:
			ret = dpcap_vm_map_delete(worker->map, &key);
			CHECK(ret == 0 || ret == -ENOENT || ret == -EBUSY);
			break;
		case 1:
			ret = dpcap_vm_map_read(worker->map, &key, 0, value);
			CHECK(ret == 0 || ret == -ENOENT || ret == -EBUSY);
			for (int j = 1; ret == 0 && j < 8; j++)
				CHECK(value[j] == value[0]);
			break;
		default:
			ret = dpcap_vm_map_update(worker->map, &key, value, 0);
			CHECK(ret == 0 || ret == -E2BIG || ret == -EBUSY);
		}
	}
	return NULL;
}

static void run_threads(struct dpcap_vm_map *map, void *(*function)(void *), struct worker *workers)
{
	for (uint64_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.map = map, .id = i};
		REQUIRE(pthread_create(&workers[i].thread, NULL, function, &workers[i]) == 0);
	}
}

static void test_hash_threads(uint32_t type, uint32_t max_entries)
{
	struct dpcap_vm_map *map = make(type, 4, 64, max_entries, 1);
	struct worker workers[THREADS];
	uint32_t left = 0;

	run_threads(map, fight, workers);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	/* No node got lost: what is there can be deleted, and then all of them be used. */
	for (uint32_t key = 0; key < 48; key++)
		left += dpcap_vm_map_delete(map, &key) == 0;
	CHECK(left <= max_entries);
	CHECK_EQ(count(map), 0);
	for (uint32_t key = 0; key < max_entries; key++) {
		uint64_t value[8] = {key};

		CHECK_EQ(dpcap_vm_map_update(map, &key, value, DPCAP_VM_MAP_NOEXIST), 0);
	}
	CHECK_EQ(count(map), max_entries);
	dpcap_vm_map_free(map);
}

static void *write_records(void *argument)
{
	struct worker *worker = argument;
	uint64_t record[5];

	for (uint64_t i = 0; i < ROUNDS;) {
		for (int j = 0; j < 5; j++)
			record[j] = worker->id << 32 | i;
		/* Full: the reader is slower. Sizes differ, so that records wrap everywhere. */
		if (dpcap_vm_ring_output(worker->map, record, 16 + i % 25) == 0)
			i++;
		else
			sched_yield();
	}
	return NULL;
}

static void test_ring_threads(void)
{
	struct dpcap_vm_map *map = make(DPCAP_VM_MAP_RING, 0, 0, 1024, 1);
	struct worker workers[THREADS];
	uint64_t next[THREADS] = {0}, record[5], total = 0;

	run_threads(map, write_records, workers);
	while (total < (uint64_t)THREADS * ROUNDS) {
		int64_t size = dpcap_vm_ring_read(map, record, sizeof(record));
		uint64_t id = record[0] >> 32;

		if (size == -EAGAIN) {
			sched_yield();
			continue;
		}
		REQUIRE(size >= 16 && id < THREADS);
		CHECK_EQ(record[0] & UINT32_MAX, next[id]);
		CHECK_EQ(record[1], record[0]);
		CHECK_EQ(size, 16 + next[id] % 25);
		next[id]++;
		total++;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	dpcap_vm_map_free(map);
}

int main(void)
{
	test_shapes();
	test_array();
	test_percpu_array();
	test_hash(DPCAP_VM_MAP_HASH);
	test_hash(DPCAP_VM_MAP_LRU_HASH);
	test_lru_keeps_what_is_used();
	test_ring();
	test_reader_process();
	test_files_that_are_no_maps();
	test_hash_threads(DPCAP_VM_MAP_HASH, 48);
	test_hash_threads(DPCAP_VM_MAP_HASH, 8);
	test_hash_threads(DPCAP_VM_MAP_LRU_HASH, 8);
	test_ring_threads();
	return CHECK_RESULT();
}
