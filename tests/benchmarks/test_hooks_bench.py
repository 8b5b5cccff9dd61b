# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of the hooks runs; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    not (ROOT / "build/cmake/tests/shim/dpdk/dpdk_hooks_cost").exists(), reason="built without DPDK's headers"
)
def test_it_times_every_form_in_both_orders(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    subprocess.run(
        [sys.executable, ROOT / "benchmarks/hooks.py", "--blocks", "30", "--json", out, "udp port 2152"],
        check=True,
        capture_output=True,
    )
    rows = json.loads(out.read_text())
    assert {(row["form"], row["order"]) for row in rows if row["expression"] == "udp port 2152"} == {
        (form, order)
        for form in ("branch-free", "early-out", "branchy", "chosen")
        for order in ("loop", "random")
    }
    # Nothing but the filter decides what it costs: each block ran, and each form was measured.
    assert all(row["baseline"] > 0 and all(cost > 0 for cost, _ in row["forms"]) for row in rows)
