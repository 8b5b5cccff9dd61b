// SPDX-License-Identifier: BSD-3-Clause
//
// An application that wraps DPDK in a class, as BESS does: PMDPort::RecvPackets() is
// virtual, so a compiler may call it, inline it, or guess the class and do both.
//
//	wrapping_app EAL-ARGUMENTS
//
// Prints "ready" when it polls, and ends when its standard input does.
#include <poll.h>
#include <cstdio>
#include <cstdlib>

#include <rte_eal.h>
#include <rte_ethdev.h>

namespace bess {
class Packet {
	rte_mbuf mbuf_;
};
} // namespace bess

using queue_t = uint8_t;

class Port {
public:
	virtual ~Port() = default;
	virtual int RecvPackets(queue_t qid, bess::Packet **pkts, int cnt) = 0;
	virtual int SendPackets(queue_t qid, bess::Packet **pkts, int cnt) = 0;
};

class PMDPort final : public Port {
public:
	explicit PMDPort(uint16_t id) : id_(id) {}
	int RecvPackets(queue_t qid, bess::Packet **pkts, int cnt) override;
	int SendPackets(queue_t qid, bess::Packet **pkts, int cnt) override;

private:
	uint16_t id_;
};

int PMDPort::RecvPackets(queue_t qid, bess::Packet **pkts, int cnt)
{
	return rte_eth_rx_burst(id_, qid, reinterpret_cast<rte_mbuf **>(pkts), cnt);
}

int PMDPort::SendPackets(queue_t qid, bess::Packet **pkts, int cnt)
{
	return rte_eth_tx_burst(id_, qid, reinterpret_cast<rte_mbuf **>(pkts), cnt);
}

// Its caller knows the base class only.
static int forward(Port *in, Port *out)
{
	bess::Packet *packets[32];
	int n = in->RecvPackets(0, packets, 32);
	int sent = out->SendPackets(0, packets, n);

	for (int i = sent; i < n; i++)
		rte_pktmbuf_free(reinterpret_cast<rte_mbuf *>(packets[i]));
	return n;
}

static bool input_has_ended()
{
	pollfd in = {0, POLLIN, 0};
	char c;

	return poll(&in, 1, 0) > 0 && fread(&c, 1, 1, stdin) == 0;
}

int main(int argc, char **argv)
{
	const rte_eth_conf conf = {};
	rte_mempool *pool;

	if (rte_eal_init(argc, argv) < 0)
		rte_exit(EXIT_FAILURE, "cannot start EAL\n");
	pool = rte_pktmbuf_pool_create("packets", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (pool == nullptr || rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(0, 0, 512, 0, nullptr, pool) != 0 ||
	    rte_eth_tx_queue_setup(0, 0, 512, 0, nullptr) != 0 || rte_eth_dev_start(0) != 0)
		rte_exit(EXIT_FAILURE, "cannot start the port\n");
	Port *port = new PMDPort(0);
	printf("ready\n");
	fflush(stdout);
	for (unsigned polls = 1; polls % 1024 != 0 || !input_has_ended(); polls++)
		forward(port, port);
	delete port;
	rte_eal_cleanup();
	return 0;
}
