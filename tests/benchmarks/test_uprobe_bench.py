# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of uprobes runs; its figures are not judged here."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.uprobes import needs_uprobes

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "uprobe.py"


@pytest.mark.usefixtures("needs_testpmd")
def test_it_prints_and_writes_figures(tmp_path: Path) -> None:
    needs_uprobes()
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    only = ["--only", "count", "--only", "no match uprobe", "--rounds", "1", "--seconds", "0.2"]
    ran = subprocess.run(
        [sys.executable, BENCHMARK, *only, "--json", out, "--csv", table],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = json.loads(out.read_text())
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows) > 0
    assert {row["tool"] for row in rows} == {"uprobe"}
    for row in rows:
        assert row["mpps"] > 0
        assert row["stored"] == 0
