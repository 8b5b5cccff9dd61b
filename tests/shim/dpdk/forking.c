/* SPDX-License-Identifier: BSD-3-Clause */
/* An application that forks in the middle of a capture: test_linked.py. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <dpcap_shim.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

int main(int argc, char **argv)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_mempool *pool;
	struct rte_mbuf *pkts[32];
	pid_t child;
	int command;

	if (rte_eal_init(argc, argv) < 0 || dpcap_shim_init() != 0)
		return 1;
	pool = rte_pktmbuf_pool_create("p", 2047, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (pool == NULL || rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(0, 0, 64, 0, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(0, 0, 64, 0, NULL) != 0 || rte_eth_dev_start(0) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	for (unsigned long i = 0;; i++) {
		uint16_t n = rte_eth_rx_burst(0, 0, pkts, 32);

		rte_pktmbuf_free_bulk(pkts, n);
		if (i != 0 || (command = getchar()) == EOF)
			continue;
		/* One byte of input: time to fork; another one than 'f': and to run a program. */
		child = fork();
		if (child == 0 && command != 'f')
			execlp("sh", "sh", "-c", "echo forked $$; exec sleep 1000", (char *)NULL);
		if (child == 0) {
			/* Polling here is not allowed, but must not reach the parent's rings. */
			for (int k = 0; k < 1000; k++)
				rte_pktmbuf_free_bulk(pkts, rte_eth_rx_burst(0, 0, pkts, 32));
			printf("forked %d\n", (int)getpid());
			fflush(stdout);
			pause();
		}
	}
}
