# SPDX-License-Identifier: BSD-3-Clause
"""Whether this machine can capture by uprobes, and what such a capture has to hold."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from dpcap.capture.errors import ToolError
from dpcap.capture.uprobe import features, libbpf, program
from support.kernel_bpf import needs_kernel_bpf


def needs_uprobes() -> None:
    """Skip the test, and say what is missing."""
    if platform.machine() != "x86_64":
        pytest.skip("uprobes are for x86-64")
    missing = features.missing_capabilities()
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    if not Path(program.path()).exists():
        pytest.skip(f"{program.NAME} was not built: ./dev build installs what it needs")
    try:
        libbpf.library()
    except ToolError as error:
        pytest.skip(str(error))
    needs_kernel_bpf()
    lacks = features.missing_features()
    if lacks:
        pytest.skip(f"the kernel lacks {', '.join(lacks)}")


def assert_runs_of(captured: list[bytes], source: list[bytes]) -> None:
    """Fail unless packets are those of a source that is replayed for ever, in order and without a gap."""
    starts = [i for i, packet in enumerate(source) if packet == captured[0]]
    assert any(
        all(captured[i] == source[(start + i) % len(source)] for i in range(len(captured)))
        for start in starts
    )
