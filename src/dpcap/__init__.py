# SPDX-License-Identifier: BSD-3-Clause
"""tcpdump for live DPDK applications."""
