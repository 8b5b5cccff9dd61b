/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK's functions, found in the process instead of linked.
 *
 * The shim links no librte_*: a plugin linked against them would bring a second
 * DPDK into a statically linked application. Everything it calls is listed in
 * DPDK_API and looked up once; types come from the headers, so a wrong call does
 * not compile. Only functions whose ABI is the same from 20.11 on are listed (the
 * two exceptions, rte_eth_dev_info_get and rte_eth_fp_ops, are handled in ports.c).
 */
#ifndef DPCAP_DPDK_API_H
#define DPCAP_DPDK_API_H

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_version.h>

/*
 * X(need, symbol). NEEDED: without it the shim stays idle. OPTIONAL: the pointer is
 * NULL when the application's DPDK lacks the symbol, and every caller checks.
 */
#define DPDK_API(X)                                \
	X(NEEDED, rte_version)                     \
	X(NEEDED, rte_eal_get_runtime_dir)         \
	X(NEEDED, rte_eal_process_type)            \
	X(NEEDED, rte_get_tsc_hz)                  \
	X(NEEDED, rte_eth_find_next)               \
	X(NEEDED, rte_eth_dev_is_valid_port)       \
	X(NEEDED, rte_eth_dev_get_name_by_port)    \
	X(NEEDED, rte_eth_add_first_rx_callback)   \
	X(NEEDED, rte_eth_add_tx_callback)         \
	X(NEEDED, rte_eth_remove_rx_callback)      \
	X(NEEDED, rte_eth_remove_tx_callback)      \
	X(OPTIONAL, rte_eth_dev_callback_register) \
	X(OPTIONAL, rte_eth_dev_info_get)          \
	X(OPTIONAL, rte_eth_dev_get_mtu)           \
	X(OPTIONAL, rte_eth_macaddr_get)           \
	X(OPTIONAL, rte_eth_link_get_nowait)       \
	X(OPTIONAL, rte_eth_fp_ops)                \
	X(OPTIONAL, rte_lcore_is_enabled)          \
	X(OPTIONAL, rte_lcore_cpuset)              \
	X(OPTIONAL, rte_get_main_lcore)            \
	X(OPTIONAL, __rte_pktmbuf_read)

#define DPDK_API_SLOT(need, symbol) __typeof__(&symbol) symbol;
struct dpdk_api {
	DPDK_API(DPDK_API_SLOT)
	unsigned int release; /* year * 100 + month: 2211 for 22.11 */
};
#undef DPDK_API_SLOT

extern struct dpdk_api dpdk;

/*
 * Look everything up. Returns NULL, or the name of the first symbol that is needed
 * and not there. *found is the number of symbols found: 0 in a process without DPDK,
 * or with a static DPDK that exports nothing.
 */
const char *dpdk_api_load(unsigned int *found);

#endif /* DPCAP_DPDK_API_H */
