# SPDX-License-Identifier: BSD-3-Clause
"""The demo, as a newcomer runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from support.testpmd import runtime_root

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def traces(pid: int) -> list[Path]:
    """Return what a demo with this process id left on the machine."""
    return [*runtime_root().glob(f"dpcap-{pid}-*"), *Path("/tmp").glob(f"dpcap-huge-{pid}-*")]


def test_demo_shows_packets_and_cleans_up() -> None:
    with subprocess.Popen(
        [sys.executable, DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        out, errors = demo.communicate(timeout=120)
    assert demo.returncode == 0, errors
    assert "\x1b" not in out
    assert out.count("2152") >= 10
    assert "Inbound" in out
    assert "Number of packets:   1000" in out
    assert traces(demo.pid) == []


def test_interrupted_demo_cleans_up() -> None:
    with subprocess.Popen(
        [sys.executable, DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if "forwards on port 0" in line:
                break
        assert traces(demo.pid)
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGINT
    assert "Traceback" not in errors
    assert traces(demo.pid) == []
