/* SPDX-License-Identifier: BSD-3-Clause */
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dpdk_api.h"
#include "symbol.h"

struct dpdk_api dpdk;

enum need { OPTIONAL, NEEDED };

/* volatile: the addresses are not what the compiler sees here. */
__attribute__((section(DPCAP_SYMBOL_SECTION), used)) static volatile const struct dpcap_symbol symbols[] = {
#define DPDK_API_ROW(need, symbol) { #symbol, need, offsetof(struct dpdk_api, symbol), 0, 0 },
	DPDK_API(DPDK_API_ROW)
#undef DPDK_API_ROW
};

/* It is a name, whoever filled the table in. */
static const char *
name_of(size_t i)
{
	return (const char *)(uintptr_t)symbols[i].name;
}

/* Whether the injector has told the addresses: then nobody else knows them. */
static bool
is_told(void)
{
	return symbols[0].address != 0;
}

#define MAX_OBJECTS 512

struct object_names {
	unsigned int n;
	char *name[MAX_OBJECTS];
};

static int
note_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct object_names *objects = arg;

	(void)size;
	/* The executable has no name; the global scope has shown it already. */
	if (info->dlpi_name != NULL && info->dlpi_name[0] != '\0' && objects->n < MAX_OBJECTS) {
		objects->name[objects->n] = strdup(info->dlpi_name);
		objects->n += objects->name[objects->n] != NULL;
	}
	return 0;
}

/*
 * An application may have loaded its DPDK privately (VPP's dpdk_plugin.so is opened
 * RTLD_LOCAL): then the global scope does not show it, but its own handle does.
 */
static void *
dpdk_handle(void)
{
	struct object_names objects = { 0 };
	void *provider = RTLD_DEFAULT;
	unsigned int i;

	if (dlsym(RTLD_DEFAULT, name_of(0)) != NULL)
		return RTLD_DEFAULT;
	/* Names first: dlopen() inside of dl_iterate_phdr() may deadlock with another one. */
	dl_iterate_phdr(note_object, &objects);
	for (i = 0; i < objects.n; i++) {
		void *handle = NULL;

		if (provider == RTLD_DEFAULT)
			handle = dlopen(objects.name[i], RTLD_LAZY | RTLD_NOLOAD);
		if (handle != NULL && dlsym(handle, name_of(0)) != NULL)
			provider = handle; /* kept open: DPDK is never unloaded */
		else if (handle != NULL)
			dlclose(handle);
		free(objects.name[i]);
	}
	return provider;
}

const char *
dpdk_api_load(unsigned int *found)
{
	void *handle = is_told() ? NULL : dpdk_handle();
	const char *missing = NULL;
	unsigned int year, month;
	size_t i;

	*found = 0;
	for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *address = is_told() ? (void *)(uintptr_t)symbols[i].address : dlsym(handle, name_of(i));

		memcpy((char *)&dpdk + symbols[i].slot, &address, sizeof(address));
		if (address != NULL)
			(*found)++;
		else if (symbols[i].needed && missing == NULL)
			missing = name_of(i);
	}
	/* "DPDK 22.11.11", some builds without the word. */
	if (dpdk.rte_version != NULL) {
		const char *text = dpdk.rte_version();

		text += strcspn(text, "0123456789");
		if (sscanf(text, "%2u.%2u", &year, &month) == 2)
			dpdk.release = year * 100 + month;
	}
	return missing;
}
