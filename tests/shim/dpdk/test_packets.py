# SPDX-License-Identifier: BSD-3-Clause
"""Packets of every make, as NICs and applications make them, through a real DPDK (crafter.c) into a file."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest
import traffic

from support.captures import EPB, blocks, options, tcpdump_count, tshark_fields
from support.command import dpcap
from support.shim_client import IN, OUT, Client
from support.testpmd import NATIVE, PLUGIN, runtime_root, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# ol_flags of rte_mbuf_core.h
RX_VLAN, RX_RSS_HASH, RX_VLAN_STRIPPED, RX_IP_GOOD, RX_L4_GOOD = 1 << 0, 1 << 1, 1 << 6, 1 << 7, 1 << 8
RX_QINQ_STRIPPED, RX_QINQ = 1 << 15, 1 << 20
TX_QINQ, TX_TCP_SEG, TX_UDP_SEG = 1 << 49, 1 << 50, 1 << 42
TX_TCP_CKSUM, TX_UDP_CKSUM, TX_IP_CKSUM, TX_VLAN = 1 << 52, 3 << 52, 1 << 54, 1 << 57
TX_OUTER_IP_CKSUM, TX_OUTER_UDP_CKSUM = 1 << 58, 1 << 41

# epb_flags
CSUM_NOT_READY, CSUM_VALID, TSO = 1 << 9, 1 << 10, 1 << 11
EPB_FLAGS, EPB_HASH = 2, 3

A, B = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
KINDS = ("direct", "indirect", "external")


def frame(size: int) -> bytes:
    """Return a UDP frame of so many bytes, different at each place."""
    payload = bytes((i * 7 + i // 256) & 255 for i in range(min(size, 65549) - 42))
    packet = traffic.frame(traffic.udp(A, B, 4711, 9, payload))
    return packet + bytes(i * 3 & 255 for i in range(size - len(packet)))


def tagged(data: bytes, *tags: tuple[int, int]) -> bytes:
    """Put tags, each as (TPID, TCI), behind the addresses."""
    return data[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags) + data[12:]


class Packet(NamedTuple):
    """A packet of a file."""

    data: bytes
    wirelen: int
    flags: int
    hash: bytes | None

    @property
    def direction(self) -> int:
        return self.flags & 3


def read(path: Path) -> list[Packet]:
    """Return the packets of a file in its order."""
    found = []
    for kind, body in blocks(path):
        if kind == EPB:
            caplen, wirelen = struct.unpack_from("<II", body, 12)
            assert caplen <= wirelen
            o = options(body[20 + (caplen + 3 & ~3) :])
            found.append(
                Packet(
                    body[20 : 20 + caplen], wirelen, int.from_bytes(o[EPB_FLAGS], "little"), o.get(EPB_HASH)
                )
            )
    return found


class Crafter:
    """The application, and what it is told."""

    def __init__(self, program: Path) -> None:
        self.prefix = f"dpcap-{os.getpid()}-crafter"
        eal = ("-l", "0", "--no-pci", "--no-huge", "-m", "128", f"--file-prefix={self.prefix}", "-d", PLUGIN)
        self._process = subprocess.Popen(
            [program, *eal, "--vdev=net_ring0"],
            env=os.environ | {"LD_LIBRARY_PATH": str(NATIVE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self._process.pid
        self._answer("ready")
        wait_until(self.sockets, "the control socket")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        shutil.rmtree(runtime_root() / self.prefix, ignore_errors=True)
        assert self._process.returncode == 0

    def sockets(self) -> list[Path]:
        return list((runtime_root() / self.prefix).glob("dpcap.*.sock"))

    def _answer(self, start: str = "") -> str:
        assert self._process.stdout
        while not (line := self._process.stdout.readline()).startswith(start):
            assert line, f"the application ended with {self._process.wait()}"
        return line

    def tell(self, command: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def packet(
        self, data: bytes, flags: int = 0, *, kind: str = "direct", segments: str = "10240", tci: int = 0,
        outer: int = 0, rss: int = 0,
    ) -> None:  # fmt: skip
        """Add a packet to the next burst."""
        answer = self.tell(f"packet {kind} {flags:x} {tci} {outer} {rss} {segments} {data.hex()}")
        assert int(answer.split()[1]) == len(data)

    def burst(self, packets: int) -> None:
        """Send the burst and receive it again."""
        assert self.tell("burst").split() == [str(packets)] * 2


@pytest.fixture(scope="module")
def crafter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crafter]:
    program = tmp_path_factory.mktemp("crafter") / "crafter"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libdpdk"], capture_output=True, text=True, check=True
    ).stdout.split()
    source = Path(__file__).parent / "crafter.c"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", source, *flags, "-o", program], check=True)
    with Crafter(program) as app:
        yield app


class Capture:
    """A dpcap that runs beside the application."""

    def __init__(self, app: Crafter, path: Path, *arguments: str) -> None:
        self.path = path
        self.command = dpcap("--pid", str(app.pid), "-i", "port0", "-w", path, *arguments)

    def packets(self) -> list[Packet]:
        """End it and return what it captured."""
        assert self.command.end() == 0, self.command.stderr
        assert " 0 packets dropped" in self.command.stderr.replace("\n", " ")
        return read(self.path)


def both_ways(packets: list[Packet]) -> tuple[list[Packet], list[Packet]]:
    """Return what went out and what came in."""
    return [p for p in packets if p.direction == OUT], [p for p in packets if p.direction == IN]


@pytest.mark.parametrize("engine", ["jit", "interp"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_mbuf_any_segments(crafter, tmp_path, kind, engine):
    """Segments of any length, empty ones among them; jumbo frames; what GSO would hand over."""
    capture = Capture(crafter, tmp_path / "out.pcapng", "--engine", engine)
    sent = []
    for size, segments in [
        (60, "10240"),
        (60, "1"),
        (61, "13,1,0,5,0,0,42"),
        (1514, "14,20,8,1500"),
        (9018, "2048"),
        (9018, "10240"),
        (65549, "2048"),
    ]:
        sent.append(frame(size))
        crafter.packet(sent[-1], kind=kind, segments=segments)
    crafter.burst(len(sent))
    for found in both_ways(capture.packets()):
        assert [p.data for p in found] == sent
        assert [p.wirelen for p in found] == [len(data) for data in sent]


@pytest.mark.parametrize(("expression", "matches"), [("udp port 9", True), ("udp[1000] = 0", False)])
def test_the_filter_looks_across_segments(crafter, tmp_path, expression, matches):
    capture = Capture(crafter, tmp_path / "out.pcapng", expression)
    data = frame(1514)
    for segments in ("3", "34,2,2,100", "1000,1,1,7", "10240"):
        crafter.packet(data, segments=segments)
    crafter.burst(4)
    expected = [data] * 4 if matches or data[34 + 1000] == 0 else []
    for found in both_ways(capture.packets()):
        assert [p.data for p in found] == expected


# What the mbuf says; the tags that belong into the frame, outermost first; on which way.
TAGS = {
    "stripped": (RX_VLAN | RX_VLAN_STRIPPED, IN, [(0x8100, 100)]),
    "QinQ stripped": (
        RX_VLAN | RX_VLAN_STRIPPED | RX_QINQ | RX_QINQ_STRIPPED,
        IN,
        [(0x88A8, 200), (0x8100, 100)],
    ),
    "to insert": (TX_VLAN, OUT, [(0x8100, 100)]),
    "QinQ to insert": (TX_QINQ | TX_VLAN, OUT, [(0x88A8, 200), (0x8100, 100)]),
}


@pytest.mark.parametrize("segments", ["10240", "5,3,1,9"])
@pytest.mark.parametrize("name", TAGS)
def test_tags_beside_the_packet_are_put_back(crafter, tmp_path, name, segments):
    """The filter sees them, the length on the wire includes them, and readers find them."""
    flags, side, tags = TAGS[name]
    expression = " and ".join(f"vlan {tci}" for _, tci in tags) + " and udp port 9"
    data = frame(100)
    everything = Capture(crafter, tmp_path / "all.pcapng")
    filtered = Capture(crafter, tmp_path / "filtered.pcapng", expression)
    short = Capture(crafter, tmp_path / "short.pcapng", "-s", "15")
    crafter.packet(data, flags, segments=segments, tci=100, outer=200)
    crafter.packet(data, segments=segments, tci=100, outer=200)  # without the flags they mean nothing
    crafter.burst(2)
    whole = tagged(data, *tags)
    found = everything.packets()
    assert [p.data for p in found if p.direction == side] == [whole, data]
    assert [p.data for p in found if p.direction != side] == [data, data]
    assert [p.wirelen for p in found if p.direction == side] == [len(whole), len(data)]
    assert [(p.data, p.wirelen) for p in filtered.packets()] == [(whole, len(whole))]
    assert tcpdump_count(tmp_path / "all.pcapng", expression) == 1
    cut = [p for p in short.packets() if p.direction == side]
    assert [(p.data, p.wirelen) for p in cut] == [(whole[:15], len(whole)), (data[:15], len(data))]


CHECKSUMS = {
    "none": (0, 0, 0),
    "UDP": (TX_UDP_CKSUM, CSUM_NOT_READY, 0),
    "IPv4 header": (TX_IP_CKSUM, CSUM_NOT_READY, 0),
    "of a tunnel": (TX_OUTER_IP_CKSUM, CSUM_NOT_READY, 0),
    "of a tunnel's UDP": (TX_OUTER_UDP_CKSUM, CSUM_NOT_READY, 0),
    "TSO": (TX_TCP_SEG | TX_TCP_CKSUM | TX_IP_CKSUM, CSUM_NOT_READY | TSO, 0),
    "TSO alone implies TCP's": (TX_TCP_SEG, CSUM_NOT_READY | TSO, 0),
    "UDP segmentation": (TX_UDP_SEG, CSUM_NOT_READY, 0),
    "received good": (RX_IP_GOOD | RX_L4_GOOD, 0, CSUM_VALID),
    "received half": (RX_IP_GOOD, 0, 0),
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums_that_the_nic_makes(crafter, tmp_path, name):
    """The bytes are those that the driver gets, as tcpdump shows them on Linux; flags say what is missing."""
    flags, out, received = CHECKSUMS[name]
    data = bytearray(frame(100))
    data[40:42] = b"\x12\x34"  # the pseudo header's sum, as rte_eth_tx_prepare() leaves it
    capture = Capture(crafter, tmp_path / "out.pcapng")
    crafter.packet(bytes(data), flags)
    crafter.burst(1)
    sent, got = both_ways(capture.packets())
    mask = CSUM_NOT_READY | CSUM_VALID | TSO
    assert [(p.data, p.flags & mask) for p in sent] == [(bytes(data), out)]
    assert [(p.data, p.flags & mask) for p in got] == [(bytes(data), received)]


def test_rss_hash(crafter, tmp_path):
    capture = Capture(crafter, tmp_path / "out.pcapng")
    crafter.packet(frame(60), RX_RSS_HASH, rss=0x01020304)
    crafter.packet(frame(60), rss=0x01020304)
    crafter.burst(2)
    sent, got = both_ways(capture.packets())
    assert [p.hash for p in sent] == [None, None]
    assert [p.hash for p in got] == [b"\x05\x01\x02\x03\x04", None]


@pytest.mark.parametrize("snaplen", [1, 2, 59, 60, 61, 9000, 65535, 262144])
def test_snaplen(crafter, tmp_path, snaplen):
    capture = Capture(crafter, tmp_path / "out.pcapng", "-s", str(snaplen))
    sent = [frame(size) for size in (60, 9018, 65549)]
    for data in sent:
        crafter.packet(data, segments="2048")
    crafter.burst(len(sent))
    for found in both_ways(capture.packets()):
        assert [(p.data, p.wirelen) for p in found] == [(data[:snaplen], len(data)) for data in sent]


def test_bursts_of_none_and_of_many(crafter, tmp_path):
    capture = Capture(crafter, tmp_path / "out.pcapng", "-s", "60")
    crafter.tell("poll")
    for number in range(500):
        crafter.packet(struct.pack(">I", number) + frame(60)[4:])
    crafter.burst(500)
    crafter.tell("poll")
    for found in both_ways(capture.packets()):
        assert [struct.unpack_from(">I", p.data)[0] for p in found] == list(range(500))
    times = [float(row[0]) for row in tshark_fields(capture.path, "frame.time_epoch")]
    assert times == sorted(times)


def test_larger_than_anything(crafter):
    """A packet that no ring holds, or no snaplen: dropped and counted, or cut; the next one is whole."""
    small, huge, data = frame(60), frame(200_000), frame(300_000)
    with Client(crafter.sockets()[0]) as tight, Client(crafter.sockets()[0]) as wide:
        ring = tight.attach([0], directions=IN, ring_size=65536)[0]
        wide_ring = wide.attach([0], directions=IN)[0]
        for packet in (huge, small, data, small):
            crafter.packet(packet, segments="10240")
        crafter.burst(4)
        assert [(p.data, p.dropcount) for p in ring.read()] == [(small, 1), (small, 1)]
        assert (ring.accepted, ring.dropped) == (4, 2)
        found = wide_ring.read()
        assert [p.data for p in found] == [huge, small, data[:262144], small]
        assert [p.wirelen for p in found] == [len(huge), 60, len(data), 60]
        assert (wide_ring.accepted, wide_ring.dropped) == (4, 0)
