# SPDX-License-Identifier: BSD-3-Clause
"""What a process holds of the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Footprint:
    """Descriptors, mappings, threads and resident memory of its own (no rings) of a process at one moment."""

    descriptors: int
    mappings: int
    threads: int
    resident_kb: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Look at a running process."""
        proc = Path("/proc", str(pid))
        status = (proc / "status").read_text()
        return cls(
            descriptors=len(list((proc / "fd").iterdir())),
            mappings=len((proc / "maps").read_text().splitlines()),
            threads=len(list((proc / "task").iterdir())),
            resident_kb=int(re.findall(r"RssAnon:\s+(\d+)", status)[0]),
        )


def is_captured(pid: int) -> bool:
    """Tell whether the shim in a process still holds a ring."""
    return "memfd:dpcap-ring" in Path(f"/proc/{pid}/maps").read_text()
