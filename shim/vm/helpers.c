/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The helpers that the VM brings: bpf-helpers(7). Their signatures are all that the
 * verifier knows of them, and what they rely on: a map is a map, a key is as long as
 * the map's keys.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dpcap_vm.h"

#define LINE_SIZE 256

static struct dpcap_vm_map *map_of(uint64_t reg)
{
	return (struct dpcap_vm_map *)(uintptr_t)reg;
}

static const void *memory_of(uint64_t reg)
{
	return (const void *)(uintptr_t)reg;
}

static uint64_t map_lookup_elem(uint64_t map, uint64_t key, uint64_t r3, uint64_t r4, uint64_t r5)
{
	(void)r3, (void)r4, (void)r5;
	return (uintptr_t)dpcap_vm_map_lookup(map_of(map), memory_of(key));
}

static uint64_t map_update_elem(uint64_t map, uint64_t key, uint64_t value, uint64_t flags,
				uint64_t r5)
{
	(void)r5;
	return (uint64_t)(int64_t)dpcap_vm_map_update(map_of(map), memory_of(key),
						      memory_of(value), flags);
}

static uint64_t map_delete_elem(uint64_t map, uint64_t key, uint64_t r3, uint64_t r4, uint64_t r5)
{
	(void)r3, (void)r4, (void)r5;
	return (uint64_t)(int64_t)dpcap_vm_map_delete(map_of(map), memory_of(key));
}

static uint64_t ktime_get_ns(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	struct timespec now;

	(void)r1, (void)r2, (void)r3, (void)r4, (void)r5;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* xorshift64* (Vigna 2016), a state for each thread. */
static uint64_t get_prandom_u32(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	static _Thread_local uint64_t state;

	if (state == 0)
		state = ktime_get_ns(r1, r2, r3, r4, r5) ^ (uintptr_t)&state;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1d) >> 32;
}

static uint64_t get_smp_processor_id(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
				     uint64_t r5)
{
	(void)r1, (void)r2, (void)r3, (void)r4, (void)r5;
	return dpcap_vm_lcore();
}

static uint64_t ringbuf_output(uint64_t map, uint64_t data, uint64_t size, uint64_t flags,
			       uint64_t r5)
{
	(void)flags, (void)r5; /* readers poll memory: there is nobody to wake */
	return (uint64_t)(int64_t)dpcap_vm_ring_output(map_of(map), memory_of(data), size);
}

/* ---- printing */

static void print_to_stderr(const char *line)
{
	fprintf(stderr, "%s\n", line);
}

static void (*print_line)(const char *line) = print_to_stderr;

void dpcap_vm_set_print(void (*print)(const char *line))
{
	print_line = print ? print : print_to_stderr;
}

/*
 * One conversion of a format, % included: flags, width, length, and d i u x X o c p.
 * Writes the argument to out and returns the conversion's length; 0: not one of these.
 */
static uint32_t convert(const char *format, uint32_t size, uint64_t argument, char *out,
			size_t out_size)
{
	char spec[16] = "%";
	uint32_t n = 1, length = 0, long_count = 0;
	char last;

	while (n < size && strchr("-+ #0123456789", format[n]) && format[n] != '\0' && n < 5) {
		spec[n] = format[n];
		n++;
	}
	length = n;
	while (length < size && format[length] == 'l' && long_count < 2) {
		length++;
		long_count++;
	}
	if (length == size)
		return 0;
	last = format[length];
	switch (last) {
	case 'd':
	case 'i':
		memcpy(spec + n, "lld", 4);
		snprintf(out, out_size, spec,
			 long_count ? (long long)argument : (long long)(int32_t)argument);
		return length + 1;
	case 'u':
	case 'x':
	case 'X':
	case 'o':
		memcpy(spec + n, "ll", 2);
		spec[n + 2] = last;
		snprintf(out, out_size, spec,
			 long_count ? (unsigned long long)argument
				    : (unsigned long long)(uint32_t)argument);
		return length + 1;
	case 'p':
		snprintf(out, out_size, "0x%llx", (unsigned long long)argument);
		return length + 1;
	case 'c':
		snprintf(out, out_size, "%c", (int)(argument & 0x7f));
		return length + 1;
	default:
		return 0;
	}
}

/* Returns the characters printed, or -1 for a format that it does not know. */
static uint64_t trace_printk(uint64_t format_reg, uint64_t size_reg, uint64_t r3, uint64_t r4,
			     uint64_t r5)
{
	const uint64_t arguments[] = {r3, r4, r5};
	const char *format = memory_of(format_reg);
	uint32_t size = (uint32_t)strnlen(format, size_reg);
	uint32_t n_arguments = 0;
	char line[LINE_SIZE];
	size_t used = 0;

	for (uint32_t i = 0; i < size && used < sizeof(line) - 1;) {
		uint32_t length;

		if (format[i] != '%' || (i + 1 < size && format[i + 1] == '%')) {
			i += format[i] == '%';
			line[used++] = format[i++];
			continue;
		}
		if (n_arguments == 3)
			return (uint64_t)-1;
		length = convert(format + i, size - i, arguments[n_arguments++], line + used,
				 sizeof(line) - used);
		if (length == 0)
			return (uint64_t)-1;
		i += length;
		used = used + strlen(line + used);
	}
	/* One line a call, whether or not the format ends it. */
	if (used > 0 && line[used - 1] == '\n')
		used--;
	line[used] = '\0';
	print_line(line);
	return used;
}

#define SCALAR DPCAP_VM_ARG_SCALAR
#define MAP DPCAP_VM_ARG_MAP
#define KEY DPCAP_VM_ARG_MAP_KEY
#define VALUE DPCAP_VM_ARG_MAP_VALUE
#define MEM DPCAP_VM_ARG_MEM
#define SIZE DPCAP_VM_ARG_SIZE

static const struct dpcap_vm_helper helpers[] = {
	{.id = 1, .name = "map_lookup_elem", .function = map_lookup_elem,
	 .ret = DPCAP_VM_RET_MAP_VALUE_OR_NULL, .args = {MAP, KEY}},
	{.id = 2, .name = "map_update_elem", .function = map_update_elem,
	 .args = {MAP, KEY, VALUE, SCALAR}},
	{.id = 3, .name = "map_delete_elem", .function = map_delete_elem, .args = {MAP, KEY}},
	{.id = 5, .name = "ktime_get_ns", .function = ktime_get_ns},
	{.id = 6, .name = "trace_printk", .function = trace_printk, .args = {MEM, SIZE}},
	{.id = 7, .name = "get_prandom_u32", .function = get_prandom_u32},
	{.id = 8, .name = "get_smp_processor_id", .function = get_smp_processor_id},
	{.id = 130, .name = "ringbuf_output", .function = ringbuf_output,
	 .args = {MAP, MEM, SIZE, SCALAR}},
};

const struct dpcap_vm_helper *dpcap_vm_helpers(uint32_t *n)
{
	*n = sizeof(helpers) / sizeof(helpers[0]);
	return helpers;
}
