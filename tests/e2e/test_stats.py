# SPDX-License-Identifier: BSD-3-Clause
"""dpcap stats and dpcap top on a real application."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser

from support.captures import read_pcap, tcpdump_count
from support.command import Command, dpcap_argv, run_dpcap
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages

QUEUES = 2
EXPRESSION = "udp port 2152"


@pytest.fixture(scope="module")
def app(hugepages: HugePages, mix_pcap: Path) -> Iterator[Testpmd]:
    """Forwards the mixed traffic on two queues of one port when it is told to; a second port is quiet."""
    vdevs = [f"net_pcap0,{','.join([f'rx_pcap={mix_pcap}'] * QUEUES)},infinite_rx=1", "net_ring0"]
    options = [f"--rxq={QUEUES}", f"--txq={QUEUES}", "--port-topology=loop"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, app_args=options, megabytes=160, mbufs=32768) as app:
        yield app
        assert app.alive, app.text


@pytest.fixture
def running(app: Testpmd) -> Iterator[Testpmd]:
    app.start()
    yield app
    app.stop()


def of(app: Testpmd, *arguments: str | Path) -> list[str]:
    return dpcap_argv("stats", "--pid", str(app.pid), *arguments)


def families(text: str) -> dict[str, Any]:
    """Read metrics as a server does."""
    return {f.name: f for f in parser.text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]


def test_counts_are_those_of_the_application(app: Testpmd, mix_pcap: Path, tmp_path: Path) -> None:
    """To the packet and to the byte, and of whole rounds through the file as many match as tcpdump finds."""
    out = tmp_path / "out.csv"
    before = app.stats()
    with Command(of(app, "-i", "port0", "--interval", "0.1", "--csv", out, EXPRESSION)) as stats:
        stats.wait_for("watching port0")
        app.start()
        app.wait_forwarded(100_000)
        app.stop()
        after = app.stats()
        assert stats.end() == 0, stats.stderr
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    for direction, name in (("in", "RX"), ("out", "TX")):
        mine = [row for row in rows if row["direction"] == direction]
        assert {(row["port"], row["device"]) for row in mine} == {("port0", "net_pcap0")}
        assert {row["queue"] for row in mine} == {str(queue) for queue in range(QUEUES)}
        for kind in ("packets", "bytes"):
            assert sum(int(row[kind]) for row in mine) == after[f"{name}-{kind}"] - before[f"{name}-{kind}"]
        assert f"{sum(int(row['packets']) for row in mine)} packets {direction}" in stats.stderr
    a_round, matching = len(read_pcap(mix_pcap)), tcpdump_count(mix_pcap, EXPRESSION)
    for queue in range(QUEUES):
        mine = [row for row in rows if (row["direction"], row["queue"]) == ("in", str(queue))]
        rounds, rest = divmod(sum(int(row["packets"]) for row in mine), a_round)
        assert 0 <= sum(int(row["matched"]) for row in mine) - rounds * matching <= max(rest, matching)


def test_json(running: Testpmd) -> None:
    done = run_dpcap("stats", "--pid", str(running.pid), "--json", "--interval", "0.2", "-c", "3")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3
    queues = {(q["port"], q["queue"], q["direction"]): q for q in lines[-1]["queues"]}
    assert len(queues) == 2 * 2 * QUEUES
    assert queues["port0", 0, "in"]["busy"] == 1  # the file never ends
    assert queues["port0", 0, "in"]["mean_burst"] > 1
    assert queues["port1", 0, "in"]["busy"] == 0
    assert queues["port1", 0, "in"]["empty_polls"] > 0
    total = sum(line["queues"][0]["packets"] for line in lines)
    assert lines[-1]["queues"][0]["total"]["packets"] == total


def test_openmetrics_in_a_file(running: Testpmd, tmp_path: Path) -> None:
    """It is whole whenever somebody looks."""
    out = tmp_path / "dpcap.prom"
    values: list[float] = []
    with Command(of(running, "--openmetrics", "-w", out, "--interval", "0.05")) as stats:
        wait_until(out.exists, "metrics")
        while len(values) < 2 or values[-1] == values[0]:
            values.append(sum(s.value for s in families(out.read_text())["dpcap_packets"].samples))
        assert stats.end() == 0, stats.stderr
    assert values == sorted(values)
    assert [path.name for path in tmp_path.iterdir()] == ["dpcap.prom"]


def test_table_and_metrics_on_standard_output(running: Testpmd) -> None:
    done = run_dpcap("stats", "--pid", str(running.pid), "--count", "2", "--interval", "0.1", EXPRESSION)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("matched/s") == 2
    assert done.stdout.count("port0 ") == 2 * 2 * QUEUES
    done = run_dpcap("stats", "--pid", str(running.pid), "-c", "1", "--interval", "0.1", "--openmetrics")
    assert "dpcap_burst_packets" in families(done.stdout)


def test_drops_of_a_capture_are_seen(running: Testpmd) -> None:
    """A capture whose reader stands still overflows: stats tells."""
    argv = dpcap_argv("--pid", str(running.pid), "-i", "port0", "-w", "-")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as capture:
        try:
            with Command(of(running, "-i", "port0", "--json", "--interval", "0.2")) as stats:
                wait_until(
                    lambda: any(
                        queue["dropped"] > 0 and queue["captured"] >= queue["dropped"]
                        for line in stats.stdout.splitlines()[:-1]
                        for queue in json.loads(line)["queues"]
                    ),
                    "drops told",
                )
        finally:
            capture.kill()


def test_the_application_ends(hugepages: HugePages) -> None:
    with Testpmd(["net_null0"], eal_args=hugepages.eal_args) as other, Command(of(other, "--json")) as stats:
        stats.wait_for("watching")
        other.quit()
        assert stats.wait() == 0
        assert "has ended" in stats.stderr
        assert stats.stdout.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--interval", "0"],
        ["--count", "0"],
        ["--json", "--openmetrics"],
        ["-w", "x"],
        ["-i", "port9"],
        ["--csv", "/nowhere/x.csv"],
        ["--json", "-w", "/nowhere/x"],
        ["--openmetrics", "-w", "/nowhere/x", "-c", "1", "--interval", "0.01"],
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(app: Testpmd, arguments: list[str]) -> None:
    done = run_dpcap("stats", "--pid", str(app.pid), *arguments)
    assert done.returncode not in (0, 70)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("dpcap: watching")]
    assert len(errors) == 1, done.stderr


def test_a_filter_that_does_not_compile(app: Testpmd) -> None:
    done = run_dpcap("stats", "--pid", str(app.pid), "udp prot 2152")
    assert done.returncode == 8
    assert "syntax error" in done.stderr


def test_without_the_shim(hugepages: HugePages) -> None:
    with Testpmd(["net_null0"], eal_args=hugepages.eal_args, plugin=False) as bare:
        done = run_dpcap("stats", "--pid", str(bare.pid))
    assert done.returncode == 6
    assert "no shim" in done.stderr


def test_top(running: Testpmd, tmp_path: Path) -> None:
    """On a terminal it shows the queues with bars; elsewhere it says what to take instead."""
    pytest.importorskip("rich")
    picture = tmp_path / "top.svg"
    argv = dpcap_argv(
        *("top", "--pid", str(running.pid), "-c", "4", "--interval", "0.1", "--svg", picture, EXPRESSION)
    )
    master, slave = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "140", "LINES": "30"}
    screen = b""
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=env) as top:
        os.close(slave)
        try:
            while data := os.read(master, 65536):
                screen += data
        except OSError:  # the other end is closed
            pass
        os.close(master)
        assert top.wait() == 0, top.stderr
    text = screen.decode()
    for word in ("port0", "port1", "matched/s", EXPRESSION, "█"):
        assert word in text
    assert "port1" in picture.read_text()
    done = run_dpcap("top", "--pid", str(running.pid))
    assert done.returncode == 2
    assert "dpcap stats" in done.stderr
