# SPDX-License-Identifier: BSD-3-Clause
"""Capturing: find DPDK applications, attach to them, and write or print what they show."""
