/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What other releases of DPDK look like in memory, without them: two ports with two
 * receive queues and one transmit queue each, of 32 places. The layouts are those of
 * rte_ethdev_core.h, 21.11 and 23.11, and of rte_ethdev_core.h and
 * rte_ethdev_driver.h, 20.11.
 *
 * Prints rx, tx and the queues of each port in hexadecimal, and ends with its input.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PORTS 32

static uint16_t __attribute__((noinline)) no_rx(void *q, void **p, uint16_t n) { (void)q; (void)p; (void)n; return 0; }
static uint16_t __attribute__((noinline)) no_tx(void *q, void **p, uint16_t n) { (void)q; (void)p; return n ? 0 : 1; }
static uint16_t __attribute__((noinline)) my_rx(void *q, void **p, uint16_t n) { (void)q; *p = NULL; return n; }
static uint16_t __attribute__((noinline)) my_tx(void *q, void **p, uint16_t n) { (void)q; (void)p; return n; }

static char queues[2][3]; /* their addresses are all that matters */

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
	void *volatile rx = (void *)my_rx, *volatile tx = (void *)my_tx;

#if LAYOUT != 2011
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
	getchar();
	return 0;
}
