# SPDX-License-Identifier: BSD-3-Clause
"""Whether this kernel and this user may use uprobes, and what exactly is missing."""

from __future__ import annotations

import errno
import os
import platform

from dpcap.capture._uprobe import lib

from dpcap.capture.errors import AccessError, DpcapError
from dpcap.capture.uprobe import libbpf

# linux/capability.h
_CAPABILITIES = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}
_MACHINE = "x86_64"


class KernelError(DpcapError):
    """The running kernel lacks something."""


def missing_capabilities() -> list[str]:
    """Return the capabilities that are needed and not effective."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def missing_features() -> list[str]:
    """Return what the running kernel lacks, with the release that brought it."""
    bpf = libbpf.library()
    lacks = []
    if not os.path.exists("/sys/bus/event_source/devices/uprobe/type"):
        lacks.append("uprobes by perf_event_open (Linux 4.17, CONFIG_UPROBE_EVENTS)")
    if bpf.libbpf_probe_bpf_map_type(libbpf.MAP_TYPE_RINGBUF, libbpf.ffi.NULL) != 1:
        lacks.append("the BPF ring buffer (Linux 5.8)")
    if bpf.libbpf_probe_bpf_helper(libbpf.PROG_TYPE_KPROBE, libbpf.FUNC_LOOP, libbpf.ffi.NULL) != 1:
        lacks.append("bpf_loop (Linux 5.17)")
    return lacks


def has_multi_links(program_fd: int) -> bool:
    """Tell whether one link takes many places at once (Linux 6.6), for a program loaded for it."""
    # A folder has no code: a kernel that gets so far as to look at it says so.
    status: int = lib.dpcap_uprobe_attach_multi(program_fd, b"/", [0], 1, os.getpid(), 0)
    return status == -errno.EBADF


def check(who: str, how_else: str) -> None:
    """Raise AccessError or KernelError, which name what is missing, when uprobes cannot be used.

    how_else says how else one may capture from the application.
    """
    if platform.machine() != _MACHINE:
        raise KernelError(f"{who}: captures by uprobes know the registers of {_MACHINE} only: {how_else}")
    missing = missing_capabilities()
    if missing:
        raise AccessError(
            f"{who}: capturing by uprobes needs {' and '.join(missing)}: run dpcap as root, or {how_else}"
        )


def explain(who: str, error: DpcapError) -> DpcapError:
    """Say what the kernel lacks, if that is why something failed; else return the error."""
    lacks = missing_features()
    if not lacks:
        return error
    return KernelError(
        f"{who}: this kernel ({platform.release()}) cannot capture by uprobes: it lacks {', '.join(lacks)}"
    )
