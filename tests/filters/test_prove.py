# SPDX-License-Identifier: BSD-3-Clause
"""The comparison with libpcap in small, and that it finds what is wrong. In full: ./dev prove --full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dpcap.filters import compile  # noqa: A004 - as re.compile
from support.differential import Comparison, entry
from support.packets import assorted

ROOT = Path(__file__).parents[2]


def test_nothing_differs(tmp_path):
    ran = subprocess.run(
        [
            sys.executable,
            ROOT / "tests" / "filters" / "prove.py",
            "--random",
            "30",
            "--every",
            "20",
            "--captures",
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'benchmarks'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    engines = ran.stdout.splitlines()[-1]
    assert engines.startswith("every engine: ")
    assert ran.stdout.count(": 0 differences") == 4 + ("skipped: bpf(2)" not in engines)


def test_what_differs_is_shown():
    tap = compile("udp port 53")
    wrong = entry(tap)._replace(tap=compile("udp port 67"), programs=entry(compile("udp port 67")).programs)
    found = Comparison().run([entry(tap), wrong], assorted()[:1])
    assert "<Filter 'udp port 67'>, branch-free form, called: 0x0, not 0x40000" in found
    assert "bounds: merged length checks" in found
