# SPDX-License-Identifier: BSD-3-Clause
"""Captures by uprobes from applications of all builds: static, stripped, of C++ with a wrapper of its own."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from dpcap.capture.uprobe import ladder
from dpcap.capture.uprobe.process import Process
from support.apps import App, Build, build
from support.captures import read_pcap, read_pcapng, tcpdump_count, tcpdump_filter, tshark_fields
from support.command import run_dpcap
from support.uprobes import assert_runs_of, needs_uprobes

if TYPE_CHECKING:
    from pathlib import Path

    from support.hugepages import HugePages

GTPU = "udp port 2152"
VIRTUAL = ("-fno-devirtualize", "-fno-devirtualize-speculatively", "-fno-inline")
BUILDS = {
    "static": (Build("bare_app.c"), "symtab"),
    "stripped": (Build("bare_app.c", strip=True), "signature"),
    "stripped, dynamic symbols": (Build("bare_app.c", ("-Wl,--export-dynamic",), strip=True), "dynsym"),
    "stripped, not PIE": (Build("bare_app.c", ("-no-pie",), strip=True), "signature"),
    "wrapper, called": (Build("wrapping_app.cc", VIRTUAL), "symtab"),
    "wrapper, called, stripped": (Build("wrapping_app.cc", VIRTUAL, strip=True), "signature"),
    "wrapper, guessed": (Build("wrapping_app.cc", ("-O3", "-fdevirtualize-speculatively")), "symtab"),
}


@pytest.fixture(scope="module", autouse=True)
def _can() -> None:
    needs_uprobes()


@pytest.mark.parametrize("name", BUILDS)
def test_a_thousand_packets(name: str, hugepages: HugePages, mix_pcap: Path, tmp_path: Path) -> None:
    how, rung = BUILDS[name]
    out = tmp_path / "out.pcapng"
    source = [p.data for p in tcpdump_filter(mix_pcap, GTPU, tmp_path / "source.pcap")]
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with App(build(how, tmp_path), vdevs, hugepages.eal_args) as app:
        with Process(app.pid, name) as process:
            assert ladder.climb(process).rung == rung
        done = run_dpcap("--pid", str(app.pid), "-i", "port0", "-c", "1000", "-w", out, GTPU)
        assert done.returncode == 0, done.stderr
        listed = run_dpcap("-D", "--pid", str(app.pid)).stdout
        assert app.alive
    assert listed.startswith("1.port0 [net_pcap0")
    assert listed.endswith(" uprobe\n")
    assert tcpdump_count(out, GTPU) == 1000 == tcpdump_count(out, "")
    packets = read_pcapng(out)
    for direction in ("in", "out"):
        assert_runs_of([p.data for p in packets if p.direction == direction], source)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Build("bare_app.c", strip=True), tmp_path_factory.mktemp("app"))


def sent(app: App, out: Path, *arguments: str) -> list[bytes]:
    """Return a thousand packets that leave an application."""
    done = run_dpcap("--pid", str(app.pid), "-Q", "out", "-c", "1000", "-w", out, *arguments)
    assert done.returncode == 0, done.stderr
    return [p.data for p in read_pcapng(out)]


def test_segments_are_put_together(
    program: Path, hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    source = [p.data for p in tcpdump_filter(mix_pcap, GTPU, tmp_path / "source.pcap")]
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with App(program, vdevs, hugepages.eal_args, ["split"]) as app:
        assert_runs_of(sent(app, tmp_path / "out.pcapng", GTPU), source)


@pytest.mark.parametrize("words", [["vlan"], ["vlan", "split"]], ids=" ".join)
def test_tags_are_put_in(
    program: Path, hugepages: HugePages, mix_pcap: Path, tmp_path: Path, words: list[str]
) -> None:
    """Where the NIC would, and the filter sees them."""
    tag = struct.pack(">HH", 0x8100, 0x2064)
    source = [p.data for p in tcpdump_filter(mix_pcap, "ip", tmp_path / "source.pcap")]
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with App(program, vdevs, hugepages.eal_args, words) as app:
        captured = sent(app, tmp_path / "out.pcapng", "vlan 100 and ip")
    assert_runs_of(captured, [p[:12] + tag + p[12:] for p in source])


def test_what_the_driver_refuses_is_marked(
    program: Path, hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    """Nobody takes packets out of the second port's ring: it is full in an instant."""
    out = tmp_path / "out.pcapng"
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1", "net_ring0"]
    with App(program, vdevs, hugepages.eal_args) as app:
        done = run_dpcap("--pid", str(app.pid), "-i", "any", "-c", "1000", "-w", out)
        assert done.returncode == 0, done.stderr
    rows = tshark_fields(out, "frame.interface_name", "frame.packet_flags_direction", "frame.comment")
    assert {tuple(row) for row in rows} == {
        ("port0", "0x00000001", ""),
        ("port1", "0x00000002", "not taken by the driver"),
    }
    by_port: dict[str | None, list[bytes]] = {}
    for packet in read_pcapng(out):
        by_port.setdefault(packet.port, []).append(packet.data)
    source = [p.data for p in read_pcap(mix_pcap)]
    for packets in by_port.values():
        assert_runs_of(packets, source)
