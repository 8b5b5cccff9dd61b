/* SPDX-License-Identifier: BSD-3-Clause */
/* The shim's side of a table of counters. Made and looked after by the control thread. */
#ifndef DPCAP_WATCH_H
#define DPCAP_WATCH_H

#include <stdint.h>

#include "counters.h"

/* A table, and what is known of it without trusting shared memory. */
struct watch;

/*
 * Make an empty table with one reference to it. Its memfd cannot be resized, nor, where
 * the kernel knows how, written to by whoever gets it. NULL with errno.
 */
struct watch *watch_new(void);

/* The memfd, from now on the caller's to close. */
int watch_take_fd(struct watch *watch);

struct watch *watch_get(struct watch *watch);

/* Give a reference back. No lcore may count in the table after the last. */
void watch_put(struct watch *watch);

/* The slot of a queue: the one it had, or a new one. NULL: the table is full. */
struct dpcap_counters *watch_slot(struct watch *watch, uint16_t port, uint16_t queue, uint32_t direction);

/* A counter has one writer: nothing has to be locked. */
static inline void
counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void
counter_set(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

#endif /* DPCAP_WATCH_H */
