/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libdpcap_shim: lets dpcap look into this DPDK application.
 *
 *	rte_eal_init(argc, argv);
 *	dpcap_shim_init();
 *
 * That is all. No port needs to exist yet; nothing runs on the lcores until somebody
 * captures. The same library works unlinked, as an EAL plugin (-d libdpcap_shim.so);
 * loaded both ways it is there once. It uses the DPDK that is in the process, of any
 * release from 20.11 on; an executable that links DPDK statically has to export it
 * (-rdynamic, which pkg-config --static libdpdk asks for).
 */
#ifndef DPCAP_SHIM_H
#define DPCAP_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Open the control socket, "dpcap.<pid>.sock" in the EAL runtime directory, and serve
 * it on a thread of the library's own. To be called after rte_eal_init(). When it is
 * open already nothing happens. After fork() the child calls it for itself, if it wants.
 *
 * Returns 0, or a negative errno with one line about it on stderr. -ENOTSUP: there is
 * no usable DPDK in this process. -EAGAIN: EAL is not initialised. The application runs
 * on unharmed in any case.
 */
int dpcap_shim_init(void);

/*
 * End all captures, take the hooks out and close the socket. Optional: a process may
 * exit without. Not to be called from an lcore that is inside rx_burst or tx_burst.
 * dpcap_shim_init() opens it again.
 */
void dpcap_shim_fini(void);

/* Version of the library: "0.1.0". */
const char *dpcap_shim_version(void);

#ifdef __cplusplus
}
#endif

#endif /* DPCAP_SHIM_H */
