/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The application's ethdev ports: listing them, following them as they come and go,
 * and installing the hooks on their queues. For the control thread only.
 */
#ifndef DPCAP_PORTS_H
#define DPCAP_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto.h"
#include "queue.h"

/*
 * Learn of ports that are made and destroyed: changed(arg) is called on whatever
 * thread does that. Without events (DPDK refuses to register) ports are polled only.
 */
void ports_follow(void (*changed)(void *arg), void *arg);

/* The next existing port from port on, or UINT16_MAX. */
uint16_t ports_next(uint32_t port);

/*
 * Which device has this id: a number that changes when the port is closed and its id
 * taken by another. 0: no such port.
 */
uint32_t ports_generation(uint16_t port);

/* Everything that DPCAP_MSG_PORT tells, but the header. Returns 0 or -ENODEV. */
int ports_describe(uint16_t port, struct dpcap_msg_port *out);

/* The port's MAC address, first octet lowest; 0: not known. */
uint64_t ports_mac(uint16_t port);

/*
 * Make sure that every queue of the port has its hook in this direction. Returns the
 * number of hooked queues: 0 too when there is no such port or it is not configured.
 */
uint16_t ports_hook(uint16_t port, uint32_t direction);

/* Take out every hook that was installed. Their memory stays: see ports.c. */
void ports_unhook_all(void);

#endif /* DPCAP_PORTS_H */
