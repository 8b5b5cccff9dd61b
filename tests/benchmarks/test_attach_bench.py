# SPDX-License-Identifier: BSD-3-Clause
"""Captures come and go, and leave nothing; the benchmark's figures are not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "attach.py"
ROUNDS = int(os.environ.get("DPCAP_ROUNDS", "20"))


@pytest.mark.usefixtures("needs_testpmd")
def test_nothing_is_left(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    counts = ["--cycles", str(ROUNDS), "--kills", str(ROUNDS // 5)]
    ran = subprocess.run(
        [sys.executable, BENCHMARK, *counts, "--samples", "1", "--json", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    never, warm, end = json.loads(out.read_text())
    assert never["mpps"] > 0 < end["mpps"]
    assert end["mappings"] - warm["mappings"] < 16
    assert end["resident_kb"] - warm["resident_kb"] < 2048
