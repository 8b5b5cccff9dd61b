/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "watch.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif

struct slot {
	uint16_t port;
	uint16_t queue;
	uint32_t direction;
};

struct watch {
	struct dpcap_counter_table *table;
	unsigned int references; /* counted by the control thread alone */
	int fd;			 /* -1: taken */
	uint32_t n_slots;
	struct slot slots[DPCAP_COUNTERS_SLOTS];
};

struct watch *
watch_new(void)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	int err = ENOMEM;

	if (watch == NULL)
		goto fail;
	watch->fd = memfd_create("dpcap-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Memory that is really there: an lcore must not find out that there is none (SIGBUS). */
	if (watch->fd < 0 || ftruncate(watch->fd, sizeof(*watch->table)) != 0 ||
	    fallocate(watch->fd, 0, 0, sizeof(*watch->table)) != 0) {
		err = errno;
		goto fail;
	}
	watch->table = mmap(NULL, sizeof(*watch->table), PROT_READ | PROT_WRITE, MAP_SHARED, watch->fd, 0);
	if (watch->table == MAP_FAILED) {
		err = errno;
		goto fail;
	}
	watch->table->magic = DPCAP_COUNTERS_MAGIC;
	watch->table->version = DPCAP_COUNTERS_VERSION;
	fcntl(watch->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	if (fcntl(watch->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		err = errno;
		munmap(watch->table, sizeof(*watch->table));
		goto fail;
	}
	watch->references = 1;
	return watch;
fail:
	if (watch != NULL && watch->fd >= 0)
		close(watch->fd);
	free(watch);
	errno = err;
	return NULL;
}

int
watch_take_fd(struct watch *watch)
{
	int fd = watch->fd;

	watch->fd = -1;
	return fd;
}

struct watch *
watch_get(struct watch *watch)
{
	watch->references++;
	return watch;
}

void
watch_put(struct watch *watch)
{
	if (watch == NULL || --watch->references > 0)
		return;
	munmap(watch->table, sizeof(*watch->table));
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
}

struct dpcap_counters *
watch_slot(struct watch *watch, uint16_t port, uint16_t queue, uint32_t direction)
{
	struct dpcap_counters *counters;
	uint32_t i;

	for (i = 0; i < watch->n_slots; i++)
		if (watch->slots[i].port == port && watch->slots[i].queue == queue &&
		    watch->slots[i].direction == direction)
			return &watch->table->slots[i];
	if (i == DPCAP_COUNTERS_SLOTS)
		return NULL;
	watch->slots[i] = (struct slot){ .port = port, .queue = queue, .direction = direction };
	counters = &watch->table->slots[i];
	counters->port = port;
	counters->queue = queue;
	counters->direction = direction;
	watch->n_slots++;
	__atomic_store_n(&watch->table->n_slots, watch->n_slots, __ATOMIC_RELEASE);
	return counters;
}
