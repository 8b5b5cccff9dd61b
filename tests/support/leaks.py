# SPDX-License-Identifier: BSD-3-Clause
"""Does a test run leave something on the machine? Looks only for what belongs to this run."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from support.testpmd import runtime_root

# A process that was killed may take a moment to go where the CPUs are busy.
_DYING = 10.0  # seconds

# Every process that this run starts inherits the mark.
MARK = f"DPCAP_TEST_RUN={uuid.uuid4()}"


def mark() -> None:
    """Mark this process and its future children."""
    name, _, value = MARK.partition("=")
    os.environ[name] = value


def _processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if MARK.encode() in (entry / "environ").read_bytes():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"process {entry.name}: {command}")
            except OSError:  # ended meanwhile, or not ours
                continue
    return found


def _processes_that_stay() -> list[str]:
    deadline = time.monotonic() + _DYING
    while (found := _processes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def left_behind() -> list[str]:
    """Return a line for each process, mount, runtime directory, namespace and file that is still there."""
    name = f"dpcap-{os.getpid()}-"
    mounts = Path("/proc/mounts").read_text().splitlines()
    folders = (runtime_root(), Path("/run/netns"), Path("/dev/shm"))
    return (
        _processes_that_stay()
        + [f"mount {line}" for line in mounts if f"dpcap-huge-{os.getpid()}-" in line]
        + [f"file {path}" for folder in folders if folder.exists() for path in folder.glob(f"{name}*")]
    )
