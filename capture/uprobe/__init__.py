# SPDX-License-Identifier: BSD-3-Clause
"""Captures from an application that knows nothing of dpcap, by kernel uprobes on its driver's functions.

    process ──► ladder: where are the functions?  ──► kernel: the BPF program, with the filter in it
                                                      │ BPF ring buffer
    session ◄── rings of pcapng blocks ◄── pump (C) ◄─┘

The kernel side and the pump are in shim/uprobe.
"""
