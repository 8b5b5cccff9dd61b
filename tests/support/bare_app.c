/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A DPDK application that knows nothing of dpcap: port 0 receives, the last port sends,
 * one queue each, one lcore. Linked with static DPDK by tests/support/bare_app.py.
 *
 *	bare_app EAL-ARGUMENTS -- [vlan] [split]
 *
 * vlan: ask for a tag to be put in by the NIC. split: send in segments of 10 bytes and
 * the rest. Prints "ready" when it polls, and ends when its standard input does.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 32
#define DESCRIPTORS 512
#define TCI 0x2064
#define FIRST_SEGMENTS 3
#define SEGMENT_BYTES 10
#define POLLS_A_LOOK 1024

static struct rte_mempool *pool;

static void
start_port(uint16_t port)
{
	const struct rte_eth_conf conf = { 0 };
	const unsigned int socket = (unsigned int)rte_eth_dev_socket_id(port);

	if (rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(port, 0, DESCRIPTORS, socket, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(port, 0, DESCRIPTORS, socket, NULL) != 0 || rte_eth_dev_start(port) != 0)
		rte_exit(EXIT_FAILURE, "cannot start port %u\n", port);
}

/* The same bytes in four segments. The packet is kept where that is not possible. */
static struct rte_mbuf *
split(struct rte_mbuf *packet)
{
	struct rte_mbuf *head = NULL, **next = &head;
	uint32_t at = 0, total = packet->pkt_len;
	uint16_t n;

	for (n = 0; n <= FIRST_SEGMENTS; n++) {
		uint16_t bytes = n < FIRST_SEGMENTS ? SEGMENT_BYTES : (uint16_t)(total - at);
		struct rte_mbuf *segment = rte_pktmbuf_alloc(pool);

		if (segment == NULL) {
			rte_pktmbuf_free(head);
			return packet;
		}
		memcpy(rte_pktmbuf_append(segment, bytes), rte_pktmbuf_mtod_offset(packet, char *, at), bytes);
		at += bytes;
		*next = segment;
		next = &segment->next;
	}
	head->nb_segs = n;
	head->pkt_len = total;
	rte_pktmbuf_free(packet);
	return head;
}

static int
input_has_ended(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char c;

	return poll(&in, 1, 0) > 0 && fread(&c, 1, 1, stdin) == 0;
}

int
main(int argc, char **argv)
{
	struct rte_mbuf *packets[BURST];
	uint16_t n, sent, i, last;
	int used, vlan = 0, segments = 0, polls = 0;

	used = rte_eal_init(argc, argv);
	if (used < 0)
		rte_exit(EXIT_FAILURE, "cannot start EAL\n");
	for (; used < argc; used++) {
		vlan |= strcmp(argv[used], "vlan") == 0;
		segments |= strcmp(argv[used], "split") == 0;
	}
	pool = rte_pktmbuf_pool_create("packets", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (pool == NULL)
		rte_exit(EXIT_FAILURE, "no memory for packets\n");
	last = rte_eth_dev_count_avail() - 1;
	for (i = 0; i <= last; i++)
		start_port(i);
	printf("ready\n");
	fflush(stdout);
	while (++polls % POLLS_A_LOOK != 0 || !input_has_ended()) {
		n = rte_eth_rx_burst(0, 0, packets, BURST);
		for (i = 0; i < n; i++) {
			if (segments)
				packets[i] = split(packets[i]);
			if (vlan) {
				packets[i]->ol_flags |= RTE_MBUF_F_TX_VLAN;
				packets[i]->vlan_tci = TCI;
			}
		}
		sent = rte_eth_tx_burst(last, 0, packets, n);
		if (sent < n)
			rte_pktmbuf_free_bulk(&packets[sent], n - sent);
	}
	rte_eal_cleanup();
	return 0;
}
