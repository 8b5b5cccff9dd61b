/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the library comes to life: as an EAL plugin by its constructor, as a linked
 * library by dpcap_shim_init().
 */
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "dpcap_shim.h"
#include "dpdk_api.h"
#include "queue.h"

#define EXPORT __attribute__((visibility("default")))

#define LIBRARY_NAME "libdpcap_shim.so"

static void
after_fork_in_child(void)
{
	queue_abandon_after_fork();
	control_abandon_after_fork();
}

/* Look DPDK up. Returns 0 or -ENOTSUP; quiet: say nothing when there is no DPDK at all. */
static int
find_dpdk(bool quiet)
{
	unsigned int found;
	const char *missing = dpdk_api_load(&found);

	if (missing == NULL)
		return 0;
	if (found == 0 && !quiet)
		fprintf(stderr, "dpcap: no captures from this process: it exports no DPDK functions "
				"(a static DPDK needs an executable linked with -rdynamic)\n");
	else if (found != 0)
		fprintf(stderr, "dpcap: no captures from this process: its DPDK has no %s "
				"(20.11 is the oldest that will do)\n", missing);
	return -ENOTSUP;
}

static int
start(void)
{
	static bool registered;
	int err;

	if (!registered)
		registered = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
	err = control_start();
	if (err != 0)
		fprintf(stderr, "dpcap: no captures from this process: %s\n", strerror(-err));
	return err;
}

/* Whether one loaded object was linked with this library. */
static int
object_needs_us(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Dyn) *dynamic = NULL, *d;
	const char *strings = NULL;

	(void)size;
	(void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dynamic = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (d = dynamic; d != NULL && d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_STRTAB)
			strings = (const char *)d->d_un.d_ptr;
	/* glibc has relocated the pointer, except in the vDSO's read-only page. */
	if (strings == NULL || (uintptr_t)strings < info->dlpi_addr)
		return 0;
	for (d = dynamic; d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_NEEDED &&
		    strncmp(strings + d->d_un.d_val, LIBRARY_NAME, strlen(LIBRARY_NAME)) == 0)
			return 1;
	return 0;
}

static bool
was_preloaded(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload != NULL && strstr(preload, LIBRARY_NAME) != NULL;
}

/* Who links the library says when it starts. Who loads it (-d, LD_PRELOAD) wants it now. */
__attribute__((constructor)) static void
loaded(void)
{
	if (dl_iterate_phdr(object_needs_us, NULL) != 0)
		return;
	/* LD_PRELOAD is inherited by processes that know nothing of DPDK. */
	if (find_dpdk(was_preloaded()) == 0)
		start();
}

__attribute__((destructor)) static void
unloaded(void)
{
	control_unlink();
}

EXPORT int
dpcap_shim_init(void)
{
	int err = find_dpdk(false);

	if (err != 0)
		return err;
	if (dpdk.rte_get_tsc_hz() == 0) {
		fprintf(stderr, "dpcap: dpcap_shim_init() was called before rte_eal_init()\n");
		return -EAGAIN;
	}
	err = start();
	return err != 0 ? err : control_wait_ready();
}

EXPORT void
dpcap_shim_fini(void)
{
	control_stop();
}

EXPORT const char *
dpcap_shim_version(void)
{
	return DPCAP_VERSION;
}
