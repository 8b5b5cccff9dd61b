/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application that sends mbufs of any make on its first port and receives them again
 * (net_ring gives back what it was given, offload flags included): test_packets.py.
 * Commands on stdin, each answered by a line:
 *
 *	packet KIND FLAGS TCI OUTER RSS SEGMENTS HEX	add a packet to the next burst; ol_flags
 *		in hex; SEGMENTS: lengths, the last one for all that follow; KIND: direct,
 *		indirect (segments that refer to other mbufs) or external (buffers of our own)
 *	burst	send the packets at once, receive them at once
 *	poll	send and receive nothing
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define MAX_BURST 512
#define ROOM 10240

static struct rte_mempool *pool;
static struct rte_mbuf *burst[MAX_BURST];
static uint16_t n_burst;

static void
free_external(void *buffer, void *arg)
{
	(void)arg;
	free(buffer);
}

static struct rte_mbuf *
external_segment(uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint16_t size = (uint16_t)(len + sizeof(struct rte_mbuf_ext_shared_info) + 16);
	void *buffer = malloc(size);
	struct rte_mbuf_ext_shared_info *info;

	if (m == NULL || buffer == NULL)
		exit(1);
	info = rte_pktmbuf_ext_shinfo_init_helper(buffer, &size, free_external, NULL);
	rte_pktmbuf_attach_extbuf(m, buffer, 0, size, info);
	return m;
}

static struct rte_mbuf *
segment(const char *kind, const uint8_t *bytes, uint32_t len)
{
	struct rte_mbuf *m = strcmp(kind, "external") == 0 ? external_segment(len) : rte_pktmbuf_alloc(pool);

	if (m == NULL || rte_pktmbuf_tailroom(m) < len)
		exit(1);
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), bytes, len);
	if (strcmp(kind, "indirect") == 0) {
		struct rte_mbuf *direct = m;

		m = rte_pktmbuf_clone(direct, pool);
		rte_pktmbuf_free(direct);
	}
	return m;
}

static struct rte_mbuf *
packet(const char *kind, char *lengths, const uint8_t *bytes, uint32_t size)
{
	struct rte_mbuf *head = NULL, *tail = NULL;
	uint32_t at = 0, len = 0;

	while (head == NULL || at < size) {
		char *text = strtok(lengths, ",");
		struct rte_mbuf *m;

		lengths = NULL;
		if (text != NULL)
			len = (uint32_t)atoi(text);
		if (len > size - at || (text == NULL && len == 0))
			len = size - at;
		m = segment(kind, bytes + at, len);
		at += len;
		if (head == NULL) {
			head = tail = m;
			continue;
		}
		tail->next = m;
		tail = m;
		head->nb_segs++;
		head->pkt_len += len;
	}
	return head;
}

static uint32_t
from_hex(char *hex)
{
	uint32_t n = 0;
	unsigned int byte;

	for (; sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
		hex[n] = (char)byte;
	return n;
}

static void
send_and_receive(void)
{
	struct rte_mbuf *got[MAX_BURST];
	uint16_t sent = rte_eth_tx_burst(0, 0, burst, n_burst);
	uint16_t received = rte_eth_rx_burst(0, 0, got, MAX_BURST);

	rte_pktmbuf_free_bulk(got, received);
	printf("%u %u\n", sent, received);
	n_burst = 0;
}

int
main(int argc, char **argv)
{
	struct rte_eth_conf conf = { 0 };
	char *line = NULL;
	size_t size = 0;

	if (rte_eal_init(argc, argv) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("pool", 2047, 0, 0, RTE_PKTMBUF_HEADROOM + ROOM, 0);
	if (pool == NULL || rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(0, 0, MAX_BURST, 0, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(0, 0, MAX_BURST, 0, NULL) != 0 || rte_eth_dev_start(0) != 0)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	while (getline(&line, &size, stdin) > 0) {
		char kind[16], lengths[64];
		unsigned long long flags;
		unsigned int tci, outer, rss;
		int hex = 0;

		if (sscanf(line, "packet %15s %llx %u %u %u %63s %n", kind, &flags, &tci, &outer, &rss, lengths,
			   &hex) == 6 && n_burst < MAX_BURST) {
			struct rte_mbuf *m = packet(kind, lengths, (uint8_t *)line + hex, from_hex(line + hex));

			/* Beside what says of which kind the mbuf is. */
			m->ol_flags |= flags;
			m->vlan_tci = (uint16_t)tci;
			m->vlan_tci_outer = (uint16_t)outer;
			m->hash.rss = rss;
			burst[n_burst++] = m;
			printf("%u %u\n", m->nb_segs, m->pkt_len);
		} else if (strcmp(line, "burst\n") == 0) {
			send_and_receive();
		} else if (strcmp(line, "poll\n") == 0) {
			n_burst = 0;
			send_and_receive();
		} else {
			return 2;
		}
	}
	rte_eth_dev_stop(0);
	return 0;
}
