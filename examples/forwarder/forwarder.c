/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A DPDK application that links dpcap's shim: it forwards every packet from each port
 * to its neighbour (0 and 1, 2 and 3, ...; a last odd one to itself), one queue, one
 * lcore. Two lines make it visible to dpcap: the #include and dpcap_shim_init().
 *
 *	make
 *	./forwarder -l 0 --no-pci --vdev=net_null0 --vdev=net_null1 &
 *	dpcap -D
 *	dpcap -i port0 -c 10
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <dpcap_shim.h>

#define BURST 32
#define DESCRIPTORS 512
#define MBUFS_PER_PORT 4096
#define MBUF_CACHE 256

static volatile sig_atomic_t stop;

static void
on_signal(int number)
{
	(void)number;
	stop = 1;
}

/* Configure and start a port with one queue each way. Returns 0 or a negative errno. */
static int
start_port(uint16_t port, struct rte_mempool *pool)
{
	const struct rte_eth_conf conf = { 0 };
	const unsigned int socket = (unsigned int)rte_eth_dev_socket_id(port);
	int err;

	err = rte_eth_dev_configure(port, 1, 1, &conf);
	if (err == 0)
		err = rte_eth_rx_queue_setup(port, 0, DESCRIPTORS, socket, NULL, pool);
	if (err == 0)
		err = rte_eth_tx_queue_setup(port, 0, DESCRIPTORS, socket, NULL);
	if (err == 0)
		err = rte_eth_dev_start(port);
	if (err == 0)
		/* Not every device can; those that cannot see everything anyway. */
		rte_eth_promiscuous_enable(port);
	return err;
}

/* The port's neighbour, or itself when it has none. */
static uint16_t
peer_of(uint16_t port)
{
	uint16_t peer = port ^ 1;

	return rte_eth_dev_is_valid_port(peer) ? peer : port;
}

static void
forward(void)
{
	struct rte_mbuf *pkts[BURST];
	uint16_t port, received, sent;

	while (!stop) {
		RTE_ETH_FOREACH_DEV(port) {
			received = rte_eth_rx_burst(port, 0, pkts, BURST);
			if (received == 0)
				continue;
			sent = rte_eth_tx_burst(peer_of(port), 0, pkts, received);
			if (sent < received)
				rte_pktmbuf_free_bulk(&pkts[sent], received - sent);
		}
	}
}

static void
stop_ports(void)
{
	uint16_t port;

	RTE_ETH_FOREACH_DEV(port) {
		rte_eth_dev_stop(port);
		rte_eth_dev_close(port);
	}
}

int
main(int argc, char **argv)
{
	struct rte_mempool *pool;
	uint16_t port;
	int err;

	err = rte_eal_init(argc, argv);
	if (err < 0)
		rte_exit(EXIT_FAILURE, "cannot start EAL\n");
	if (rte_eth_dev_count_avail() == 0)
		rte_exit(EXIT_FAILURE, "no ports: give some, such as --vdev=net_null0\n");

	/* Ports may come later. A failure was told on stderr, and forwarding works without. */
	dpcap_shim_init();

	pool = rte_pktmbuf_pool_create("packets", MBUFS_PER_PORT * rte_eth_dev_count_avail(), MBUF_CACHE, 0,
				       RTE_MBUF_DEFAULT_BUF_SIZE, (int)rte_socket_id());
	if (pool == NULL)
		rte_exit(EXIT_FAILURE, "no memory for packets\n");
	RTE_ETH_FOREACH_DEV(port) {
		err = start_port(port, pool);
		if (err != 0)
			rte_exit(EXIT_FAILURE, "port %u: %s\n", port, strerror(-err));
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	printf("forwarding\n");
	fflush(stdout);
	forward();

	dpcap_shim_fini();
	stop_ports();
	rte_eal_cleanup();
	return 0;
}
