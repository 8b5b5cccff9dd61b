/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects made by clang, given as arguments: they load; damaged ones are refused with a
 * reason or give programs that can be verified, and never anything else.
 */
#include <errno.h>

#include "vmtest.h"

#define MAX_IMAGE (1 << 17)
#define DAMAGED 400

static uint64_t seed = 7;

static uint32_t below(uint32_t n)
{
	seed = seed * 0x5851f42d4c957f2d + 1;
	return (uint32_t)(seed >> 33) % n;
}

/* Whether the verifier accepts its programs does not matter here. */
static void load_programs(const struct dpcap_vm_object *object)
{
	struct dpcap_vm_load_attr attr = {.type = DPCAP_VM_PACKET};
	const struct dpcap_vm_object_program *programs;
	uint32_t n;

	programs = dpcap_vm_object_programs(object, &n);
	attr.maps = dpcap_vm_object_maps(object, &attr.n_maps);
	attr.helpers = dpcap_vm_helpers(&attr.n_helpers);
	for (uint32_t i = 0; i < n; i++) {
		struct dpcap_vm_prog *prog = NULL;

		attr.insns = programs[i].insns;
		attr.n_insns = programs[i].n_insns;
		if (dpcap_vm_load(&attr, &prog, NULL, 0) == 0)
			dpcap_vm_free(prog);
	}
}

static int open_and_load(const uint8_t *image, size_t size, char *log, size_t log_size)
{
	struct dpcap_vm_object *object;
	int rc = dpcap_vm_object_open(image, size, 2, &object, log, log_size);

	if (rc)
		return rc;
	load_programs(object);
	dpcap_vm_object_free(object);
	return 0;
}

/* A few bytes changed, the end cut off at times. Its own allocation, for sanitizers. */
static bool open_damaged(const uint8_t *image, size_t size)
{
	static const uint8_t values[] = {0, 1, 0x7f, 0xff};
	size_t kept = below(10) ? size : below((uint32_t)size);
	uint8_t *copy = malloc(kept ? kept : 1);
	char log[512];
	int rc;

	memcpy(copy, image, kept);
	for (uint32_t n = 1 + below(4); n > 0 && kept; n--)
		copy[below((uint32_t)kept)] = below(3) ? values[below(4)] : (uint8_t)below(256);
	rc = open_and_load(copy, kept, log, sizeof(log));
	if (rc == -EINVAL && !log[0]) {
		fprintf(stderr, "refused without a reason\n");
		vmtest_failures++;
	}
	free(copy);
	return rc == 0;
}

int main(int argc, char **argv)
{
	static uint8_t image[MAX_IMAGE];
	uint32_t loaded = 0;
	char log[512];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		size_t size = file ? fread(image, 1, sizeof(image), file) : 0;

		if (file)
			fclose(file);
		if (open_and_load(image, size, log, sizeof(log))) {
			fprintf(stderr, "%s: %s\n", argv[i], log);
			vmtest_failures++;
		}
		for (int n = 0; n < DAMAGED; n++)
			loaded += open_damaged(image, size);
	}
	printf("%d objects, %u of those damaged were loaded\n", argc - 1, loaded);
	return vmtest_failures != 0 || loaded == 0;
}
