# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of loading runs; its figures are not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.injection import BUILT, INJECTOR

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "inject.py"


def test_every_kind_is_measured(tmp_path: Path) -> None:
    if not INJECTOR.exists() or not (BUILT / "inject_polling").exists():
        pytest.skip("the injector or DPDK's headers are missing: ./dev build")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    out = tmp_path / "out.json"
    argv: list[str | Path] = [sys.executable, BENCHMARK, "--rounds", "1", "--json", out]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(out.read_text())
    assert {kind: len(gaps) for kind, gaps in figures["gaps_ns"].items()} == {
        "nothing": 2,
        "checks only": 1,
        "shim loaded": 1,
    }
    assert len(figures["stood_still_ns"]) == 2
