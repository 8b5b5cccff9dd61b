/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DPDK functions that the plugin calls, as a table in its file: the injector reads
 * there what the plugin needs, and where the process itself cannot tell (a static DPDK
 * that is not exported) it fills the addresses in, in the copy that it loads.
 */
#ifndef DPCAP_SYMBOL_H
#define DPCAP_SYMBOL_H

#include <stdint.h>

#define DPCAP_SYMBOL_SECTION "dpcap_symbols"

struct dpcap_symbol {
	char name[44];
	uint32_t needed;  /* 1: the plugin is of no use without it */
	uint32_t slot;	  /* offset in the plugin's struct dpdk_api */
	uint32_t reserved;
	uint64_t address; /* in the process, filled in by the injector; 0: dlsym() finds it */
};

#endif /* DPCAP_SYMBOL_H */
