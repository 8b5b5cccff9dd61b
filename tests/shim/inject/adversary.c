/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded into an application: threads that hold malloc's only arena and the loader's
 * lock as often as they can, so that whoever borrows a thread at a bad moment hangs.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *
allocate(void *arg)
{
	(void)arg;
	for (unsigned int i = 1;; i = i * 1664525 + 1013904223) {
		char *memory = malloc(16 + i % 70000);

		if (memory != NULL)
			memory[0] = 1;
		free(memory);
	}
	return NULL;
}

static void *
load(void *arg)
{
	(void)arg;
	for (;;) {
		void *library = dlopen("libm.so.6", RTLD_NOW);

		if (library != NULL)
			dlclose(library);
		library = dlopen("/nonexistent.so", RTLD_NOW);
		if (library != NULL)
			dlclose(library);
	}
	return NULL;
}

__attribute__((constructor)) static void
start(void)
{
	pthread_t thread;

	mallopt(M_ARENA_MAX, 1);
	if (pthread_create(&thread, NULL, allocate, NULL) != 0 || pthread_create(&thread, NULL, load, NULL) != 0)
		abort();
}
