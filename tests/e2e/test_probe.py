# SPDX-License-Identifier: BSD-3-Clause
"""dpcap probe: what is found in real applications, and what is hit."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.apps import App, Build, build
from support.command import run_dpcap
from support.uprobes import needs_uprobes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages

CALLED = Build("wrapping_app.cc", ("-fno-devirtualize", "-fno-devirtualize-speculatively", "-fno-inline"))
GUESSED = Build("wrapping_app.cc", ("-O3", "-fdevirtualize-speculatively"))
RECEIVE = "_ZN7PMDPort11RecvPacketsEhPPN4bess6PacketEi"


@pytest.fixture(scope="module", autouse=True)
def _can() -> None:
    needs_uprobes()


@pytest.fixture(scope="module")
def called(hugepages: HugePages, mix_pcap: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    program = build(CALLED, tmp_path_factory.mktemp("app"))
    with App(program, [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"], hugepages.eal_args) as app:
        yield app


def probe(app: App, *arguments: str) -> list[dict[str, Any]]:
    done = run_dpcap("probe", "--pid", str(app.pid), "--json", "--seconds", "0.5", *arguments)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def verdicts(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {(row["rung"], row["direction"]): row["verdict"] for row in rows}


def test_every_rung_is_tried(called: App) -> None:
    rows = probe(called)
    both = [(rung, way) for rung in ("symtab", "signature", "wrapper") for way in ("in", "out")]
    assert verdicts(rows) == dict.fromkeys(both, "packets")
    for row in rows:
        assert row["sound_bursts"] == row["bursts"] > 0
        assert row["polls"] >= row["bursts"]
        assert row["threads"] != ""


def test_a_wrapper_that_the_compiler_went_around(
    hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    """Its symbol is there and can be probed, but nobody calls it."""
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with App(build(GUESSED, tmp_path), vdevs, hugepages.eal_args) as app:
        found = verdicts(probe(app))
    assert found["wrapper", "in"] == found["wrapper", "out"] == "never called"
    assert found["symtab", "in"] == found["symtab", "out"] == "packets"


def test_table_csv_and_logs(called: App, tmp_path: Path) -> None:
    out, logs = tmp_path / "out.csv", tmp_path / "logs"
    done = run_dpcap("probe", "--pid", str(called.pid), "--csv", out, "--log", logs)
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(table) == 1 + len(rows) + 1
    assert table[0].startswith("number  rung")
    assert all(line.endswith("packets") for line in table[1:-1])
    assert "in: port0 rx of rte_eth_fp_ops" in table[-1]
    assert [row["number"] for row in rows] == [str(i + 1) for i in range(len(rows))]
    assert len(list(logs.iterdir())) == len(rows)
    assert "verdict: packets" in (logs / "candidate-1.log").read_text()


def test_a_place_that_the_user_names(called: App) -> None:
    # Where its queue, packets and their number are not, there are no packets.
    by_symbol, wrong = f"rx={RECEIVE}:1,2,3", f"rx={RECEIVE}"
    rows = probe(called, "--function", by_symbol, "--function", wrong)
    asked = {row["what"]: row for row in rows if row["rung"] == "symbol"}
    assert asked[by_symbol]["verdict"] == "packets"
    assert asked[wrong]["verdict"] != "packets"
    by_offset = f"rx={asked[by_symbol]['offset']}:1,2,3"
    (row,) = (row for row in probe(called, "--function", by_offset) if row["rung"] == "offset")
    assert row["verdict"] == "packets"


@pytest.mark.parametrize("function", ["rx=nothing_of_this_name", "rx=0xffffffffff", "x", "rx=a:1,2"])
def test_a_place_that_is_not_there(called: App, function: str) -> None:
    done = run_dpcap("probe", "--pid", str(called.pid), "--function", function)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
