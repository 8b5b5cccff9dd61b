/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hooks are installed at the first attach and stay: an empty one costs less than a
 * cycle a packet, while taking one out and putting it back later would leak each
 * time. (rte_eth_remove_*_callback unlinks but does not free, and nobody can tell
 * when an lcore has followed the last pointer to it: the list is DPDK's, not under
 * our in-use counter.)
 *
 * DPDK keeps callbacks of a closed port in its table, and they fire for the next
 * device with the same id. So a port whose generation changed is hooked anew: first
 * the old callback is taken out if it is still there, then it is installed again.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "dpdk_api.h"
#include "hooks.h"
#include "ports.h"

#define N_PORTS 1024 /* at least any build's RTE_MAX_ETHPORTS */

struct port {
	uint32_t generation; /* of the device; counts NEW and DESTROY events */
	bool gone;	     /* DESTROY came, NEW not yet */
	uint32_t hooked_generation[2];
	uint16_t n_hooked[2]; /* queues, for each direction */
};

static struct port ports[N_PORTS];

/*
 * Held while ethdev functions run for a port, and by the DESTROY event, which DPDK
 * sends before it takes the port apart: so that it does not under our hands.
 */
static pthread_mutex_t ports_lock = PTHREAD_MUTEX_INITIALIZER;

static void (*port_changed)(void *arg);
static void *port_changed_arg;

/* An event waits this long for the control thread, then goes on: no deadlock, whatever
 * locks a driver holds around it. */
#define EVENT_WAIT_NS 200000000L

static int
port_event(uint16_t port, enum rte_eth_event_type event, void *arg, void *ret)
{
	struct timespec until;
	bool locked;

	(void)arg;
	(void)ret;
	if (port >= N_PORTS)
		return 0;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += EVENT_WAIT_NS;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	locked = pthread_mutex_timedlock(&ports_lock, &until) == 0;
	ports[port].generation++;
	ports[port].gone = event == RTE_ETH_EVENT_DESTROY;
	if (locked)
		pthread_mutex_unlock(&ports_lock);
	port_changed(port_changed_arg);
	return 0;
}

void
ports_follow(void (*changed)(void *arg), void *arg)
{
	port_changed = changed;
	port_changed_arg = arg;
	if (dpdk.rte_eth_dev_callback_register == NULL)
		return;
	dpdk.rte_eth_dev_callback_register(RTE_ETH_ALL, RTE_ETH_EVENT_NEW, port_event, NULL);
	dpdk.rte_eth_dev_callback_register(RTE_ETH_ALL, RTE_ETH_EVENT_DESTROY, port_event, NULL);
}

/* With ports_lock held. */
static bool
exists(uint32_t port)
{
	return port < N_PORTS && !ports[port].gone && dpdk.rte_eth_dev_is_valid_port((uint16_t)port);
}

uint16_t
ports_next(uint32_t port)
{
	bool found = false;

	pthread_mutex_lock(&ports_lock);
	for (; port < N_PORTS && !found; port++)
		found = exists(port);
	pthread_mutex_unlock(&ports_lock);
	return found ? (uint16_t)(port - 1) : UINT16_MAX;
}

uint32_t
ports_generation(uint16_t port)
{
	uint32_t generation;

	pthread_mutex_lock(&ports_lock);
	generation = exists(port) ? ports[port].generation + 1 : 0;
	pthread_mutex_unlock(&ports_lock);
	return generation;
}

/*
 * rte_eth_dev_info has no stable layout, but it is only ever extended: the driver's
 * name is second in all, and nb_rx_queues, nb_tx_queues lie at 272 up to 22.07 and at
 * 288 from 22.11 on (headers of 20.11, 21.11, 22.11, 23.11, 24.11, 25.11, 26.07
 * compiled and compared). The buffer has room for what later releases add.
 */
#define INFO_SIZE 4096
#define INFO_DRIVER_NAME 8
#define INFO_QUEUES_2011 272
#define INFO_QUEUES_2211 288

static void
describe_info(uint16_t port, struct dpcap_msg_port *out)
{
	_Alignas(64) uint8_t info[INFO_SIZE] = { 0 };
	size_t queues = dpdk.release >= 2211 ? INFO_QUEUES_2211 : INFO_QUEUES_2011;
	const char *driver;

	if (dpdk.rte_eth_dev_info_get == NULL ||
	    dpdk.rte_eth_dev_info_get(port, (struct rte_eth_dev_info *)info) != 0)
		return;
	memcpy(&driver, info + INFO_DRIVER_NAME, sizeof(driver));
	if (driver != NULL)
		strncpy(out->driver, driver, sizeof(out->driver) - 1);
	memcpy(&out->n_rx_queues, info + queues, sizeof(out->n_rx_queues));
	memcpy(&out->n_tx_queues, info + queues + 2, sizeof(out->n_tx_queues));
}

/*
 * No function tells whether a port is started, but a stopped port has the receive
 * function of one that does not exist. rte_eth_fp_ops[] has 128 bytes a port; the
 * receive function is first up to 23.07 and at 16 from 23.11 on. Before 21.11 there
 * is no such table: then every port counts as started.
 */
#define FP_OPS_SIZE 128
#define FP_OPS_RX_2111 0
#define FP_OPS_RX_2311 16

static bool
is_started(uint16_t port)
{
	size_t rx = dpdk.release >= 2311 ? FP_OPS_RX_2311 : FP_OPS_RX_2111;
	const char *table = (const char *)dpdk.rte_eth_fp_ops;
	uint16_t unused, limit;

	if (table == NULL)
		return true;
	limit = dpdk.rte_eth_find_next(UINT16_MAX); /* RTE_MAX_ETHPORTS of that build */
	for (unused = 0; unused < limit; unused++)
		if (!dpdk.rte_eth_dev_is_valid_port(unused))
			return memcmp(table + (size_t)port * FP_OPS_SIZE + rx,
				      table + (size_t)unused * FP_OPS_SIZE + rx, sizeof(void *)) != 0;
	return true;
}

#define MBIT 1000000ULL

static void
describe_link(uint16_t port, struct dpcap_msg_port *out)
{
	struct rte_eth_link link = { 0 }; /* link_speed is first, and 32 bits, in all releases */

	if (dpdk.rte_eth_link_get_nowait != NULL && dpdk.rte_eth_link_get_nowait(port, &link) == 0 &&
	    link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
		out->speed = link.link_speed * MBIT;
}

static uint64_t
get_mac(uint16_t port)
{
	struct rte_ether_addr address;
	uint64_t mac = 0;

	if (dpdk.rte_eth_macaddr_get != NULL && dpdk.rte_eth_macaddr_get(port, &address) == 0)
		memcpy(&mac, &address, sizeof(address));
	return mac;
}

int
ports_describe(uint16_t port, struct dpcap_msg_port *out)
{
	char name[RTE_ETH_NAME_MAX_LEN] = "";
	uint64_t mac;
	int err = -ENODEV;

	_Static_assert(sizeof(name) <= sizeof(out->name), "a device name fits");
	pthread_mutex_lock(&ports_lock);
	if (!exists(port) || dpdk.rte_eth_dev_get_name_by_port(port, name) != 0)
		goto out;
	out->port = port;
	out->started = is_started(port);
	memcpy(out->name, name, sizeof(name));
	describe_info(port, out);
	describe_link(port, out);
	if (dpdk.rte_eth_dev_get_mtu != NULL)
		dpdk.rte_eth_dev_get_mtu(port, &out->mtu);
	mac = get_mac(port);
	memcpy(out->mac, &mac, sizeof(out->mac));
	err = 0;
out:
	pthread_mutex_unlock(&ports_lock);
	return err;
}

uint64_t
ports_mac(uint16_t port)
{
	uint64_t mac = 0;

	pthread_mutex_lock(&ports_lock);
	if (exists(port))
		mac = get_mac(port);
	pthread_mutex_unlock(&ports_lock);
	return mac;
}

/* Both return NULL for a queue that does not exist, silently: this is how queues are counted. */
static const struct rte_eth_rxtx_callback *
install(struct queue_ctx *ctx)
{
	/* First to see what came in, last to see what goes out: what is on the wire. */
	if (ctx->direction == DPCAP_DIRECTION_IN)
		return dpdk.rte_eth_add_first_rx_callback(ctx->port, ctx->queue, hooks_rx, ctx);
	return dpdk.rte_eth_add_tx_callback(ctx->port, ctx->queue, hooks_tx, ctx);
}

/* An error only says that the callback is not there: the port went, or a device took its id. */
static void
uninstall(struct queue_ctx *ctx)
{
	if (ctx->callback == NULL)
		return;
	if (ctx->direction == DPCAP_DIRECTION_IN)
		dpdk.rte_eth_remove_rx_callback(ctx->port, ctx->queue, ctx->callback);
	else
		dpdk.rte_eth_remove_tx_callback(ctx->port, ctx->queue, ctx->callback);
	ctx->callback = NULL;
}

uint16_t
ports_hook(uint16_t port, uint32_t direction)
{
	const unsigned int d = direction == DPCAP_DIRECTION_OUT;
	struct queue_ctx *ctx;
	struct port *p;
	uint16_t n = 0;

	pthread_mutex_lock(&ports_lock);
	if (!exists(port))
		goto out;
	p = &ports[port];
	if (p->hooked_generation[d] != p->generation) {
		p->hooked_generation[d] = p->generation;
		p->n_hooked[d] = 0;
	}
	for (n = p->n_hooked[d]; n < UINT16_MAX; n++) {
		ctx = queue_ctx_get(port, n, direction);
		if (ctx == NULL)
			break;
		uninstall(ctx);
		ctx->callback = install(ctx);
		if (ctx->callback == NULL)
			break;
	}
	p->n_hooked[d] = n;
out:
	pthread_mutex_unlock(&ports_lock);
	return n;
}

void
ports_unhook_all(void)
{
	struct queue_ctx *ctx;

	pthread_mutex_lock(&ports_lock);
	for (ctx = queue_first(); ctx != NULL; ctx = ctx->next)
		if (exists(ctx->port))
			uninstall(ctx);
	for (uint32_t port = 0; port < N_PORTS; port++)
		ports[port].n_hooked[0] = ports[port].n_hooked[1] = 0;
	pthread_mutex_unlock(&ports_lock);
}
