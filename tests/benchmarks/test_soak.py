# SPDX-License-Identifier: BSD-3-Clause
"""A short soak: every packet is accounted for. A long one: DPCAP_SOAK_MINUTES=30, or ./dev bench soak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "soak.py"
MINUTES = os.environ.get("DPCAP_SOAK_MINUTES", "0.1")


@pytest.mark.usefixtures("needs_testpmd")
def test_counts_reconcile_and_nothing_grows(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    ran = subprocess.run(
        [sys.executable, BENCHMARK, "--minutes", MINUTES, "--json", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(out.read_text())
    assert results["expression: accepted"]["got"] == results["expression: accepted"]["wanted"] > 0
