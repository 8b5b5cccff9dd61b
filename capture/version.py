# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap --version``: what this dpcap is made of, so that nothing that is missing stays silent."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from dpcap.capture import plugin, protocol
from dpcap.capture.uprobe import program
from dpcap.filters import libpcap

if TYPE_CHECKING:
    from collections.abc import Sequence

# shim/vm has a JIT for this machine; elsewhere filters are interpreted.
_JIT_MACHINES = ("x86_64",)


def report() -> str:
    """Return a line for each part."""
    machine = platform.machine()
    headers = plugin.dpdk_headers()
    shim = plugin.built()
    injector = plugin.injector()
    rows: Sequence[tuple[str, str]] = (
        ("filters", libpcap.version()),
        ("JIT", machine if machine in _JIT_MACHINES else f"none for {machine}: filters are interpreted"),
        (
            "plugin",
            f"{shim} (built with the headers of DPDK {headers or 'of unknown version'})"
            if shim
            else "not built, as DPDK's headers were not there (Debian: libdpdk-dev)",
        ),
        (
            "uprobes",
            "for applications without the plugin, as root"
            if os.path.exists(program.path())
            else f"not built, as {program.NEEDS}",
        ),
        (
            "injector",
            str(injector)
            if injector
            else f"none for {machine}: applications have to be started with the plugin",
        ),
    )
    return "\n".join([f"dpcap {protocol.VERSION}", *(f"  {name:<8} {text}" for name, text in rows)])
