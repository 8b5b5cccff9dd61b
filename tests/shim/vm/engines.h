/* SPDX-License-Identifier: BSD-3-Clause */
/* Running one program in every engine that the machine has. */
#ifndef DPCAP_TESTS_ENGINES_H
#define DPCAP_TESTS_ENGINES_H

#include <errno.h>

#include "vmtest.h"

#if defined(__x86_64__)
#include "jit_x86_64.h"

/* Sets of machine features that lead to different code. */
static const unsigned cpu_variants[] = {~0u, 0};
#define USE_CPU_VARIANT(i) (dpcap_vm_cpu = detected_cpu() & cpu_variants[i])
#define N_CPU_VARIANTS N_ELEMENTS(cpu_variants)

/* What the machine has; asked for the first time before a variant is set. */
static unsigned detected_cpu(void)
{
	static unsigned cpu;
	static bool known;

	if (!known)
		cpu = dpcap_vm_cpu;
	known = true;
	return cpu;
}
#else
#define USE_CPU_VARIANT(i) ((void)(i))
#define N_CPU_VARIANTS 1
#endif

/* A packet of a burst, and where a burst entry finds what is in it. */
struct record {
	uint32_t wirelen;
	uint16_t offset;
	uint16_t len;
	uint64_t base;
};

#define RECORD_LAYOUT(fetch_ahead)                                                                 \
	{                                                                                          \
		.base = offsetof(struct record, base), .offset = offsetof(struct record, offset),  \
		.len = offsetof(struct record, len), .wirelen = offsetof(struct record, wirelen),  \
		.prefetch = (fetch_ahead),                                                         \
	}

/* A program loaded once for each variant of the JIT; the interpreter runs the first. */
struct engines {
	struct dpcap_vm_prog *progs[4];
	dpcap_vm_fn entries[4]; /* NULL without a JIT */
};

/* 0, or the error of dpcap_vm_load(). */
__attribute__((unused)) static int engines_load(struct engines *engines,
						 const struct dpcap_vm_load_attr *attr, char *log,
						 size_t log_size)
{
	size_t i;
	int ret;

	for (i = 0; i < N_CPU_VARIANTS; i++) {
		ret = dpcap_vm_load(attr, &engines->progs[i], log, log_size);
		if (ret != 0)
			return ret; /* the first one: nothing is loaded yet */
		USE_CPU_VARIANT(i);
		ret = dpcap_vm_jit(engines->progs[i]);
		if (ret != 0 && ret != -ENOTSUP) {
			fprintf(stderr, "dpcap_vm_jit: %s\n", strerror(-ret));
			exit(1);
		}
		engines->entries[i] = dpcap_vm_jit_entry(engines->progs[i]);
	}
	USE_CPU_VARIANT(0);
	return 0;
}

__attribute__((unused)) static void engines_free(struct engines *engines)
{
	size_t i;

	for (i = 0; i < N_CPU_VARIANTS; i++)
		dpcap_vm_free(engines->progs[i]);
}

#endif /* DPCAP_TESTS_ENGINES_H */
