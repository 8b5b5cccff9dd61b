# SPDX-License-Identifier: BSD-3-Clause
"""The filter compiler: tcpdump expressions to eBPF."""
