/* SPDX-License-Identifier: BSD-3-Clause */
/* A library to load: it says so, after it has used what a plugin uses. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symbol.h"

/* It needs no DPDK. */
__attribute__((section(DPCAP_SYMBOL_SECTION), used)) static volatile const struct dpcap_symbol symbols[] = {
	{ "no_such_function", 0, 0, 0, 0 },
};

static void *
run(void *arg)
{
	return arg;
}

__attribute__((constructor)) static void
loaded(void)
{
	pthread_t thread;
	char *memory = malloc(100000);

	memset(memory, 1, 100000);
	if (pthread_create(&thread, NULL, run, NULL) == 0 && pthread_join(thread, NULL) == 0)
		printf("loaded\n");
	free(memory);
	fflush(stdout);
}
