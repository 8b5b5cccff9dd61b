/* SPDX-License-Identifier: BSD-3-Clause */
/* A small application that the tests link in every way: it forwards port 0 to itself, for ever. */
#include <stdio.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 32

int
main(int argc, char **argv)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_mbuf *pkts[BURST];
	struct rte_mempool *pool;
	uint16_t n, sent;

	if (rte_eal_init(argc, argv) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("pool", 1023, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (pool == NULL || rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(0, 0, 128, 0, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(0, 0, 128, 0, NULL) != 0 || rte_eth_dev_start(0) != 0)
		return 1;
	printf("forwarding\n");
	fflush(stdout);
	for (;;) {
		n = rte_eth_rx_burst(0, 0, pkts, BURST);
		sent = rte_eth_tx_burst(0, 0, pkts, n);
		rte_pktmbuf_free_bulk(pkts + sent, (unsigned int)(n - sent));
	}
}
