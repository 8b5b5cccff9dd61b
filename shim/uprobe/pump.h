/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pump: a thread that takes packets out of the kernel's ring buffer and puts them as
 * finished blocks into capture rings (shim/ring), where the same drain as ever finds
 * them. A capture ring that is full makes it wait: what is lost is lost in the kernel,
 * which counts it.
 *
 * This header is read by the C compiler and by cffi: declarations and plain
 * #defines only.
 */
#ifndef DPCAP_UPROBE_PUMP_H
#define DPCAP_UPROBE_PUMP_H

#include <stdint.h>

struct dpcap_pump;

/* Descriptors of the loaded object's maps, which may be closed afterwards. */
struct dpcap_pump_maps {
	int packets;
	int refusals;
	int counters;
	int threads;
};

/* A queue in one direction. */
struct dpcap_pump_ring {
	uint16_t port;
	uint16_t queue;
	uint32_t direction; /* 1 inbound, 2 outbound */
	uint32_t interface_id;
	uint32_t snaplen;
	uint64_t mac; /* of the port, first octet lowest; 0: not known */
};

/*
 * Map everything and start the thread. filter is NULL, or a function that a packet has
 * to pass: the jit entry of a program (dpcap_vm.h). Returns 0 or -errno.
 */
int dpcap_pump_start(struct dpcap_pump **pump, const struct dpcap_pump_maps *maps, void *filter);

/*
 * Make the next ring: 0, 1, 2, ... in the order of these calls, which is the number that
 * the kernel side knows it by. Returns its memfd, the caller's to close, or -errno:
 * -ENOSPC when there are UPROBE_MAX_RINGS.
 */
int dpcap_pump_add(struct dpcap_pump *pump, const struct dpcap_pump_ring *ring);

/*
 * Nothing more will come: the thread takes what is left, closes the rings, and frees
 * everything by itself. The pump is gone for the caller.
 */
void dpcap_pump_stop(struct dpcap_pump *pump);

#endif /* DPCAP_UPROBE_PUMP_H */
