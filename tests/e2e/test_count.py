# SPDX-License-Identifier: BSD-3-Clause
"""Counting and sampling, with and without the shim in the application."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

from support.captures import assert_whole, read_pcapng, tcpdump_count
from support.command import Command, dpcap_argv, run_dpcap
from support.testpmd import Testpmd
from support.uprobes import needs_uprobes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages


@pytest.fixture(scope="module", autouse=True)
def _can() -> None:
    needs_uprobes()


@pytest.fixture(scope="module", params=["shim", "bare"])
def app(request: pytest.FixtureRequest, hugepages: HugePages, mix_pcap: Path) -> Iterator[Testpmd]:
    """Forwards the mixed traffic when it is told to."""
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1", "net_null1"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, plugin=request.param == "shim", megabytes=96) as app:
        app.command("set portlist 0")
        yield app
        assert app.alive, app.text


def of(app: Testpmd, *arguments: str | Path) -> list[str]:
    return dpcap_argv("count", "--pid", str(app.pid), *arguments)


def test_counts_are_those_of_the_application(app: Testpmd, tmp_path: Path) -> None:
    """To the packet: all that is forwarded is forwarded while dpcap counts."""
    out = tmp_path / "out.csv"
    before = app.stats()
    with Command(of(app, "-i", "port0", "--interval", "0.1", "--csv", out)) as count:
        count.wait_for("counting on port0")
        app.start()
        app.wait_forwarded(100_000)
        app.stop()
        after = app.stats()
        assert count.end() == 0, count.stderr
        assert count.stdout.decode().count("port0") >= 2
    moved = {name: after[f"{name}-packets"] - before[f"{name}-packets"] for name in ("RX", "TX")}
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    for direction, name in (("in", "RX"), ("out", "TX")):
        mine = [row for row in rows if row["direction"] == direction]
        assert sum(int(row["packets"]) for row in mine) == moved[name]
        assert int(mine[-1]["total"]) == moved[name]
        assert {(row["port"], row["device"], row["queue"]) for row in mine} == {("port0", "net_pcap0", "0")}
        assert {row["thread"] for row in mine} <= {"rte-worker-1", "lcore-worker-1"}
    assert f"port0: {moved['RX']} packets in, {moved['TX']} packets out" in count.stderr


def test_interval_and_timeout(app: Testpmd, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    app.start()
    with Command(of(app, "--interval", "0.2", "--timeout", "1", "--csv", out)) as count:
        assert count.wait() == 0, count.stderr
    app.stop()
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert 1 < len({row["time"] for row in rows}) <= 6
    assert {row["port"] for row in rows} == {"port0"}  # the other one does nothing
    assert sum(float(row["seconds"]) for row in rows if row["direction"] == "in") >= 0.9


def test_csv_on_standard_output_is_nothing_else(app: Testpmd) -> None:
    app.start()
    done = run_dpcap("count", "--pid", str(app.pid), "--timeout", "0.3", "--csv", "-")
    app.stop()
    assert done.returncode == 0, done.stderr
    assert all(row["port"] == "port0" for row in csv.DictReader(io.StringIO(done.stdout)))


@pytest.mark.parametrize(
    "arguments", [["--interval", "0"], ["--timeout", "x"], ["--csv", "/nowhere/x.csv"], ["-i", "port9"]]
)
def test_what_makes_no_sense_is_said_in_one_line(app: Testpmd, arguments: list[str]) -> None:
    done = run_dpcap("count", "--pid", str(app.pid), *arguments)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("expression", ["", "udp port 2152"])
def test_one_packet_in_a_hundred(app: Testpmd, tmp_path: Path, expression: str) -> None:
    out = tmp_path / "out.pcapng"
    before = app.stats()["RX-packets"]
    argv = dpcap_argv("--pid", str(app.pid), "--sample", "100", "-Q", "in", "-w", out, expression)
    with Command(argv) as capture:
        capture.wait_for("listening on")
        app.start()
        app.wait_forwarded(1_000_000)
        app.stop()
        total = app.stats()["RX-packets"] - before
        assert capture.end() == 0, capture.stderr
    assert_whole(out)
    captured = len(read_pcapng(out))
    if not expression:
        # One of each hundred, and perhaps one of those that have only begun.
        assert captured in (total // 100, total // 100 + 1)
    else:
        assert tcpdump_count(out, expression) == captured
        assert 0 < captured < total // 100


def test_samples_are_not_always_the_same(app: Testpmd, tmp_path: Path) -> None:
    """The traffic repeats itself after 4096 packets, and one in 4096 is taken."""
    out = tmp_path / "out.pcapng"
    app.start()
    argv = dpcap_argv("--pid", str(app.pid), "--sample", "4096", "-Q", "in", "-c", "100", "-w", out)
    with Command(argv) as capture:
        assert capture.wait() == 0, capture.stderr
    app.stop()
    assert len({p.data for p in read_pcapng(out)}) > 30


def test_the_shim_does_not_sample() -> None:
    done = run_dpcap("--sample", "10", "--source", "shim", "-c", "1")
    assert done.returncode == 2
    assert "uprobes" in done.stderr
