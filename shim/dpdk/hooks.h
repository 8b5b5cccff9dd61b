/* SPDX-License-Identifier: BSD-3-Clause */
/* The callbacks that run on the application's lcores. */
#ifndef DPCAP_HOOKS_H
#define DPCAP_HOOKS_H

#include <stdint.h>

#include "clock.h"

struct rte_mbuf;

/* TSC to nanoseconds for all hooks; corrected by the control thread. */
extern struct dpcap_clock hooks_clock;

/* rte_rx_callback_fn and rte_tx_callback_fn; the last argument is a struct queue_ctx. */
uint16_t hooks_rx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n,
		  uint16_t max, void *ctx);
uint16_t hooks_tx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, void *ctx);

#endif /* DPCAP_HOOKS_H */
