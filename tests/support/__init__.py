# SPDX-License-Identifier: BSD-3-Clause
"""What several test folders share: real DPDK processes, networks, captures and the shared data."""
