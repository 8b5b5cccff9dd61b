# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of the clock runs; its figures are not judged here: a machine may set its clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "clock.py"


def test_it_prints_and_writes_figures(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    ran = subprocess.run(
        [sys.executable, BENCHMARK, "--minutes", "0.02", "--json", out],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "proved" in ran.stdout
    *_, whole = json.loads(out.read_text())["clock"]
    assert whole["readings"] >= whole["measured"] > 0
