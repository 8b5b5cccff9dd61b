# SPDX-License-Identifier: BSD-3-Clause
"""What passes through an application once is captured as tcpdump filters the same packets from a file.

By the shim, and by uprobes on an application without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support.captures import read_pcap, read_pcapng, tcpdump_filter
from support.command import dpcap
from support.testpmd import Testpmd, wait_until
from support.uprobes import needs_uprobes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages

EXPRESSIONS = [
    "",
    "ip",
    "ip6",
    "arp",
    "udp port 2152",
    "udp port 5060",
    "tcp",
    "icmp or icmp6",
    "vlan 100 and tcp port 443",
    "vlan 200 and vlan 100",
    "not vlan and ip and tcp port 80",
    "host 10.200.0.1 and udp dst port 2152",
    "net 192.168.0.0/16 and not tcp",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp portrange 20-1000 and ip[2:2] > 576",
    "greater 1000",
    "len <= 64 or ether broadcast",
    "udp[8] & 0xf8 = 0x30 and udp[9] = 0xff and udp[12:4] = 0x11223344",
    "ip6 host 2001:db8::1 or ip6 net 2001:db8:0:1::/64 and udp port 53",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "(tcp[13] & 2 != 0 and not src net 192.168.0.0/16) or (udp port 53 and greater 80) or icmp",
]


class Once:
    """An application through which the mixed traffic passes once for each call of replay()."""

    def __init__(self, app: Testpmd, packets: int) -> None:
        self.app = app
        self.packets = packets
        self._rewind = False

    def replay(self) -> None:
        """Start forwarding and return when the last packet has passed."""
        goal = self.app.stats()["RX-packets"] + self.packets
        self.app.start()
        wait_until(lambda: self.app.stats()["RX-packets"] >= goal, "the pcap replayed")
        self.app.stop()
        assert self.app.stats()["RX-packets"] == goal

    def rewind(self) -> None:
        """Let the port read its pcap from the start again."""
        if self._rewind:
            self.app.command("port stop 0")
            self.app.command("port start 0")
        self._rewind = True


@pytest.fixture(scope="module", params=["shim", "uprobe"])
def replayer(request: pytest.FixtureRequest, hugepages: HugePages, mix_pcap: Path) -> Iterator[Once]:
    if request.param == "uprobe":
        needs_uprobes()
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap}"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, plugin=request.param == "shim") as app:
        yield Once(app, len(read_pcap(mix_pcap)))


@pytest.fixture
def once(replayer: Once) -> Once:
    replayer.rewind()
    return replayer


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_equals_tcpdump_on_the_source(once: Once, mix_pcap: Path, tmp_path: Path, expression: str) -> None:
    out = tmp_path / "out.pcapng"
    with dpcap("--pid", str(once.app.pid), "-i", "port0", "-Q", "in", "-w", out, expression) as capture:
        once.replay()
        assert capture.end() == 0, capture.stderr
    expected = tcpdump_filter(mix_pcap, expression, tmp_path / "expected.pcap")
    captured = read_pcapng(out)
    assert len(captured) == len(expected)
    assert [packet.data for packet in captured] == [packet.data for packet in expected]
    assert {packet.direction for packet in captured} <= {"in"}
    times = [packet.time for packet in captured]
    assert times == sorted(times)


@pytest.mark.parametrize("engine", ["jit", "interp"])
def test_both_directions_are_marked(once: Once, mix_pcap: Path, tmp_path: Path, engine: str) -> None:
    out = tmp_path / "out.pcapng"
    options = ("--pid", str(once.app.pid), "-i", "port0", "--engine", engine)
    with dpcap(*options, "-w", out, "udp port 2152") as capture:
        once.replay()
        assert capture.end() == 0, capture.stderr
    expected = [p.data for p in tcpdump_filter(mix_pcap, "udp port 2152", tmp_path / "expected.pcap")]
    captured = read_pcapng(out)
    assert [p.data for p in captured if p.direction == "in"] == expected
    assert [p.data for p in captured if p.direction == "out"] == expected
    assert len(captured) == 2 * len(expected)


@pytest.mark.parametrize(
    ("expression", "direction"), [("inbound and arp", "in"), ("outbound and arp", "out")]
)
def test_direction_in_the_filter(
    once: Once, mix_pcap: Path, tmp_path: Path, expression: str, direction: str
) -> None:
    out = tmp_path / "out.pcapng"
    with dpcap("--pid", str(once.app.pid), "-i", "port0", "-w", out, expression) as capture:
        once.replay()
        assert capture.end() == 0, capture.stderr
    expected = tcpdump_filter(mix_pcap, "arp", tmp_path / "expected.pcap")
    captured = read_pcapng(out)
    assert [p.data for p in captured] == [p.data for p in expected]
    assert {p.direction for p in captured} == {direction}


def test_snaplen_cuts_and_keeps_the_length(once: Once, mix_pcap: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with dpcap(
        "--pid", str(once.app.pid), "-i", "port0", "-Q", "in", "-s", "61", "-w", out, "udp"
    ) as capture:
        once.replay()
        assert capture.end() == 0, capture.stderr
    expected = tcpdump_filter(mix_pcap, "udp", tmp_path / "expected.pcap")
    captured = read_pcapng(out)
    assert [p.data for p in captured] == [p.data[:61] for p in expected]
    assert [p.wirelen for p in captured] == [p.wirelen for p in expected]


def test_counts_are_those_of_tcpdump(once: Once, mix_pcap: Path, tmp_path: Path) -> None:
    """Captured, received by the filter and dropped, as printed at the end and as the file's statistics."""
    out = tmp_path / "out.pcapng"
    with dpcap("--pid", str(once.app.pid), "-i", "port0", "-Q", "in", "-w", out, "icmp") as capture:
        once.replay()
        assert capture.end() == 0, capture.stderr
    expected = len(tcpdump_filter(mix_pcap, "icmp", tmp_path / "expected.pcap"))
    printed = {
        words: int(n) for n, words in re.findall(r"^(\d+) packets (.+)$", capture.stderr, re.MULTILINE)
    }
    assert printed["captured"] == expected
    assert printed["received by filter"] in (expected, once.packets)
    assert [count for words, count in printed.items() if words.startswith("dropped")] == [0]
