/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What other releases of DPDK look like in memory, without them: two ports with two
 * receive queues and one transmit queue each, of 32 places. The layouts are those of
 * rte_ethdev_core.h, 21.11 and 23.11, and of rte_ethdev_core.h and
 * rte_ethdev_driver.h, 20.11.
 *
 * Prints rx, tx and the queues of each port in hexadecimal. For each line of its input a
 * burst passes each of its queues: COUNT packets, the first of which has three segments
 * and asks for a VLAN tag, and of which port 1 does not send the last. It ends with its
 * input.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "mbuf.h"

#define PORTS 32

static uint16_t __attribute__((noinline)) no_rx(void *q, void **p, uint16_t n) { (void)q; (void)p; (void)n; return 0; }
static uint16_t __attribute__((noinline)) no_tx(void *q, void **p, uint16_t n) { (void)q; (void)p; return n ? 0 : 1; }

#define COUNT 8
#define BYTES 100 /* of a packet; 10 in each of the first two segments, where there are three */

static char queues[2][3]; /* their addresses are all that matters */
static struct mbuf mbufs[COUNT + 2];
static uint8_t bytes[COUNT][BYTES];

static void
chain(struct mbuf *from, struct mbuf *to)
{
#ifdef NO_IOVA
	from->next = 0x1234;
	from->next_no_iova = (uintptr_t)to;
#else
	from->next = (uintptr_t)to;
	from->next_no_iova = 0x1234;
#endif
}

static uint16_t __attribute__((noinline))
my_rx(void *q, void **p, uint16_t n)
{
	struct mbuf *second = &mbufs[COUNT], *third = &mbufs[COUNT + 1];

	(void)q;
	for (uint16_t i = 0; i < COUNT && i < n; i++) {
		memset(bytes[i], i, BYTES);
		mbufs[i] = (struct mbuf){ .buf_addr = (uintptr_t)bytes[i], .buf_len = BYTES, .nb_segs = 1,
					  .pkt_len = BYTES, .data_len = BYTES };
		p[i] = &mbufs[i];
	}
	*second = *third = mbufs[0];
	mbufs[0].nb_segs = 3;
	mbufs[0].data_len = second->data_len = 10;
	second->data_off = 10;
	third->data_off = 20;
	third->data_len = BYTES - 20;
	chain(&mbufs[0], second);
	chain(second, third);
	chain(third, NULL);
	return COUNT;
}

static uint16_t __attribute__((noinline))
my_tx(void *q, void **p, uint16_t n)
{
	(void)p;
	return q == &queues[1][2] ? n - 1 : n;
}

#if LAYOUT == 2011
struct data {
	char name[64];
	void **rx_queues;
	void **tx_queues;
	uint16_t nb_rx_queues;
	uint16_t nb_tx_queues;
};

struct device {
	void *rx, *tx, *prepare, *count, *done, *status, *tx_status;
	struct data *data;
	char rest[16448 - 64];
};

struct device rte_eth_devices[PORTS];
static struct data datas[2];
static void *arrays[2][2][2];

static void
set(int port, void *rx, void *tx)
{
	struct data *d = &datas[port];

	snprintf(d->name, sizeof(d->name), "net_null%d", port);
	for (int i = 0; i < 2; i++)
		arrays[port][0][i] = &queues[port][i];
	arrays[port][1][0] = &queues[port][2];
	d->rx_queues = arrays[port][0];
	d->tx_queues = arrays[port][1];
	d->nb_rx_queues = 2;
	d->nb_tx_queues = 1;
	rte_eth_devices[port].rx = rx;
	rte_eth_devices[port].tx = tx;
	rte_eth_devices[port].data = d;
}
#elif LAYOUT == 0 /* nothing that could be found */
static void
set(int port, void *rx, void *tx)
{
	(void)port;
	(void)rx;
	(void)tx;
}
#else
#if LAYOUT == 2311
#define RX 2
#define RX_QUEUES 0
#define TX 10
#define TX_QUEUES 8
#else
#define RX 0
#define RX_QUEUES 3
#define TX 8
#define TX_QUEUES 11
#endif

void *rte_eth_fp_ops[PORTS][16] __attribute__((aligned(64)));
static void *arrays[2][2][1024];

static void
set(int port, void *rx, void *tx)
{
	for (int i = 0; i < 2; i++)
		arrays[port][0][i] = &queues[port][i];
	arrays[port][1][0] = &queues[port][2];
	rte_eth_fp_ops[port][RX] = rx;
	rte_eth_fp_ops[port][TX] = tx;
	rte_eth_fp_ops[port][RX_QUEUES] = arrays[port][0];
	rte_eth_fp_ops[port][TX_QUEUES] = arrays[port][1];
}
#endif

int
main(void)
{
	uint16_t (*volatile rx_burst)(void *, void **, uint16_t) = my_rx;
	uint16_t (*volatile tx_burst)(void *, void **, uint16_t) = my_tx;
	void *rx = (void *)rx_burst, *tx = (void *)tx_burst;
	void *packets[COUNT];

#if LAYOUT != 2011 && LAYOUT != 0
	for (int port = 0; port < PORTS; port++) {
		rte_eth_fp_ops[port][RX] = (void *)no_rx;
		rte_eth_fp_ops[port][TX] = (void *)no_tx;
	}
#else
	(void)no_rx;
	(void)no_tx;
#endif
	for (int port = 0; port < 2; port++) {
		set(port, rx, tx);
		printf("%lx %lx %lx %lx %lx\n", (long)rx, (long)tx, (long)&queues[port][0], (long)&queues[port][1],
		       (long)&queues[port][2]);
	}
	fflush(stdout);
	while (getchar() == '\n')
		for (int port = 0; port < 2; port++)
			for (int queue = 0; queue < 2; queue++) {
				uint16_t n = rx_burst(&queues[port][queue], packets, COUNT);

				mbufs[0].ol_flags |= MBUF_TX_VLAN;
				mbufs[0].vlan_tci = 0x2064;
				tx_burst(&queues[port][2], packets, n);
			}
	return 0;
}
