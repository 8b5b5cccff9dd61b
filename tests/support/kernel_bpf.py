# SPDX-License-Identifier: BSD-3-Clause
"""Whether the kernel takes BPF programs: bpf(2), uprobes, filters of packet sockets and of system calls.

A kernel can be stuck: Linux 6.18 was seen to wait for ever in bpf_prog_pack_alloc() after some millions of
programs that came and went. Who asks it then can neither go on nor be killed.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

PATIENCE = 20.0  # seconds; the answer takes a millisecond

# A filter of one instruction, `ret #0`, for a socket that nobody uses.
_ATTACH = """
import ctypes, socket, struct
program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
argument = struct.pack("HL", 1, ctypes.addressof(program))
SO_ATTACH_FILTER = 26
socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, argument)
"""


@functools.cache
def answers() -> bool:
    """Ask once. Whoever is stuck is left to its own: it holds nothing of this run, nor its mark."""
    child = subprocess.Popen(
        [sys.executable, "-c", _ATTACH],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "DPCAP_TEST_RUN"},
        start_new_session=True,
    )
    try:
        return child.wait(PATIENCE) == 0
    except subprocess.TimeoutExpired:
        return False


def needs_kernel_bpf() -> None:
    """Skip the test where it would wait for ever."""
    if not answers():
        pytest.skip("bpf(2): the kernel takes no BPF programs, or does not answer")
