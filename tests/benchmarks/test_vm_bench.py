# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of the VM runs, and its engines agree; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "vm.py"


def test_it_prints_and_writes_figures(tmp_path: Path) -> None:
    expressions, out = tmp_path / "filters.txt", tmp_path / "out.json"
    expressions.write_text("ip|ip\nudp2152|udp port 2152\n")
    ran = subprocess.run(
        [sys.executable, BENCHMARK, "--runs", "1", "--expressions", expressions, "--json", out],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "geometric mean" in ran.stdout
    figures = json.loads(out.read_text())
    assert [row["name"] for row in figures["rows"]] == ["ip", "udp2152"]
    for row in figures["rows"]:
        assert not {"jit", "jit-burst", "interp"} & set(row["wrong"])
        assert {"jit", "jit-burst", "interp", "libpcap"} <= set(row["ns"]["W2"])
    assert {row["instructions"] for row in figures["latency"]} >= {4093, 65533}
