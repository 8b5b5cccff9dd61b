/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small application that the tests link in every way: it forwards port 0 to itself, for
 * ever. For each line on stdin it prints the longest time between two polls since the
 * line before, in nanoseconds.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 32

static _Atomic uint64_t longest; /* TSC ticks */

static void *
answer(void *arg)
{
	char line[16];

	(void)arg;
	while (fgets(line, sizeof(line), stdin) != NULL) {
		printf("%.0f\n", (double)atomic_exchange(&longest, 0) * 1e9 / (double)rte_get_tsc_hz());
		fflush(stdout);
	}
	return NULL;
}

static void
poll_for_ever(void)
{
	struct rte_mbuf *pkts[BURST];
	uint64_t last = rte_rdtsc(), now;
	uint16_t n, sent;

	for (;;) {
		n = rte_eth_rx_burst(0, 0, pkts, BURST);
		sent = rte_eth_tx_burst(0, 0, pkts, n);
		rte_pktmbuf_free_bulk(pkts + sent, (unsigned int)(n - sent));
		now = rte_rdtsc();
		/* One exchange may be lost to answer(): that poll was short. */
		if (now - last > atomic_load_explicit(&longest, memory_order_relaxed))
			atomic_store_explicit(&longest, now - last, memory_order_relaxed);
		last = now;
	}
}

int
main(int argc, char **argv)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_mempool *pool;
	pthread_t thread;

	/* Before EAL pins this thread to the lcore's CPU. */
	if (pthread_create(&thread, NULL, answer, NULL) != 0 || rte_eal_init(argc, argv) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("pool", 1023, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (pool == NULL || rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(0, 0, 128, 0, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(0, 0, 128, 0, NULL) != 0 || rte_eth_dev_start(0) != 0)
		return 1;
	printf("forwarding\n");
	fflush(stdout);
	poll_for_ever();
}
