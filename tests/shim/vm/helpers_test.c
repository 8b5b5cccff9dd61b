/* SPDX-License-Identifier: BSD-3-Clause */
/* The helpers that the VM brings. */
#include <string.h>
#include <time.h>

#include "../check.h"
#include "dpcap_vm.h"

static char printed[512];

static void keep(const char *line)
{
	snprintf(printed, sizeof(printed), "%s", line);
}

static uint64_t call(uint32_t id, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	const struct dpcap_vm_helper *helpers;
	uint32_t n;

	helpers = dpcap_vm_helpers(&n);
	for (uint32_t i = 0; i < n; i++)
		if (helpers[i].id == id)
			return helpers[i].function(r1, r2, r3, r4, r5);
	REQUIRE(!"no such helper");
	return 0;
}

#define PRINT(format, ...) call(6, (uintptr_t)(format), sizeof(format), __VA_ARGS__)

static void check_print(const char *expected, uint64_t length)
{
	CHECK_EQ(length, strlen(expected));
	if (strcmp(printed, expected) != 0) {
		fprintf(stderr, "printed \"%s\", not \"%s\"\n", printed, expected);
		CHECK(!"printed");
	}
}

static void test_print(void)
{
	dpcap_vm_set_print(keep);
	check_print("plain", PRINT("plain\n", 0, 0, 0));
	check_print("-1 4294967295 ffffffff", PRINT("%d %u %x", UINT64_MAX, UINT64_MAX, UINT64_MAX));
	check_print("-1 18446744073709551615 0xff", PRINT("%lld %llu %#lx", UINT64_MAX, UINT64_MAX, 255));
	check_print("[   7] [007] [7  ]", PRINT("[%4d] [%03d] [%-3d]", 7, 7, 7));
	check_print("100% A 0x10", PRINT("100%% %c %p", 'A', 16, 0));
	CHECK_EQ(PRINT("%s", (uintptr_t)"secret", 0, 0), UINT64_MAX);
	CHECK_EQ(PRINT("%n", 0, 0, 0), UINT64_MAX);
	CHECK_EQ(PRINT("%", 0, 0, 0), UINT64_MAX);
	CHECK_EQ(PRINT("%lll", 0, 0, 0), UINT64_MAX);
	CHECK_EQ(PRINT("%d%d%d%d", 0, 0, 0), UINT64_MAX);
	CHECK_EQ(PRINT("%999999d", 0, 0, 0), UINT64_MAX);
	/* Not terminated, and cut where the line is full. */
	CHECK_EQ(call(6, (uintptr_t)"abc", 2, 0, 0, 0), 2);
	CHECK(strcmp(printed, "ab") == 0);
	CHECK_EQ(PRINT("%999d%999d", 1, 2, 3), 255);
	dpcap_vm_set_print(NULL);
}

static void test_maps(void)
{
	struct dpcap_vm_map_def def = {.name = "h", .type = DPCAP_VM_MAP_HASH, .key_size = 4,
				       .value_size = 8, .max_entries = 2};
	struct dpcap_vm_map_def ring_def = {.name = "r", .type = DPCAP_VM_MAP_RING, .max_entries = 64};
	struct dpcap_vm_map *hash, *ring;
	uint64_t value = 77, got = 0;
	uint32_t key = 5;

	REQUIRE(dpcap_vm_map_create(&def, 1, &hash) == 0);
	REQUIRE(dpcap_vm_map_create(&ring_def, 1, &ring) == 0);
	CHECK_EQ(call(1, (uintptr_t)hash, (uintptr_t)&key, 0, 0, 0), 0);
	CHECK_EQ(call(2, (uintptr_t)hash, (uintptr_t)&key, (uintptr_t)&value, 0, 0), 0);
	CHECK_EQ(*(uint64_t *)(uintptr_t)call(1, (uintptr_t)hash, (uintptr_t)&key, 0, 0, 0), 77);
	CHECK_EQ(call(3, (uintptr_t)hash, (uintptr_t)&key, 0, 0, 0), 0);
	CHECK((int64_t)call(3, (uintptr_t)hash, (uintptr_t)&key, 0, 0, 0) < 0);
	CHECK_EQ(call(130, (uintptr_t)ring, (uintptr_t)&value, 8, 0, 0), 0);
	CHECK_EQ(dpcap_vm_ring_read(ring, &got, 8), 8);
	CHECK_EQ(got, 77);
	dpcap_vm_map_free(hash);
	dpcap_vm_map_free(ring);
}

static void test_environment(void)
{
	struct timespec now;
	uint64_t before, between, after;

	clock_gettime(CLOCK_MONOTONIC, &now);
	before = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	between = call(5, 0, 0, 0, 0, 0);
	clock_gettime(CLOCK_MONOTONIC, &now);
	after = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	CHECK(before <= between && between <= after);
	dpcap_vm_set_lcore(42);
	CHECK_EQ(call(8, 0, 0, 0, 0, 0), 42);
	dpcap_vm_set_lcore(0);
	CHECK(call(7, 0, 0, 0, 0, 0) <= UINT32_MAX);
	CHECK(call(7, 0, 0, 0, 0, 0) != call(7, 0, 0, 0, 0, 0));
}

int main(void)
{
	test_print();
	test_maps();
	test_environment();
	return CHECK_RESULT();
}
