# SPDX-License-Identifier: BSD-3-Clause
"""The line that tells how a capture goes on."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from dpcap.capture.progress import human
from support.captures import last_statistics
from support.command import PATIENCE, dpcap, dpcap_argv
from support.testpmd import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.testpmd import Testpmd

LINE = rb"\r\x1b\[K(\d+) packets captured, (\d+)/s, (\d+) dropped, ([\d.]+) [kMG]?B"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_499, "99.5 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (12_345_678_901, "12.3 GB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert human(size) == text


def test_on_a_terminal(loop: Testpmd, tmp_path: Path) -> None:
    """It is written over itself, and gone when the last lines come."""
    out = tmp_path / "out.pcapng"
    ours, theirs = pty.openpty()
    argv = dpcap_argv("--pid", str(loop.pid), "-i", "port0", "-w", out, "udp port 2152")
    with subprocess.Popen(argv, stderr=theirs, stdin=subprocess.DEVNULL, start_new_session=True) as capture:
        os.close(theirs)
        printed = b""
        while len(re.findall(LINE, printed)) < 3:
            printed += os.read(ours, 65536)
        capture.send_signal(signal.SIGINT)
        try:
            while data := os.read(ours, 65536):
                printed += data
        except OSError:  # the other end is closed
            pass
        assert capture.wait(PATIENCE) == 0, printed
    os.close(ours)
    counts = [int(found[0]) for found in re.findall(LINE, printed)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] > 0
    *_, captured, received, dropped = printed.rpartition(b"\r\x1b[K")[2].split(b"\r\n")[:-1]
    _, accepted, lost, stored = last_statistics(out)
    assert captured.split(b" ")[:1] + received.split(b" ")[:1] + dropped.split(b" ")[:1] == [
        str(n).encode() for n in (stored, accepted, lost)
    ]
    assert counts[-1] <= stored


def test_not_into_a_file_or_a_pipe(loop: Testpmd, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with dpcap("--pid", str(loop.pid), "-i", "port0", "-w", out, "udp port 2152") as capture:
        wait_until(lambda: out.stat().st_size > 1_000_000, "packets")
        assert capture.end() == 0
    assert "/s," not in capture.stderr
    assert "\x1b" not in capture.stderr
