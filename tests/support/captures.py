# SPDX-License-Identifier: BSD-3-Clause
"""Capture files as other people's programs read them."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHB, IDB, ISB, EPB = 0x0A0D0D0A, 1, 5, 6
EPB_DROPCOUNT = 4
ISB_IFRECV, ISB_IFDROP, ISB_FILTERACCEPT, ISB_OSDROP, ISB_USRDELIV = range(4, 9)
DIRECTIONS = {1: "in", 2: "out"}


@dataclass(frozen=True)
class Packet:
    """One packet of a capture file. Direction, port and queue are None in a pcap."""

    time: int  # nanoseconds since the epoch
    data: bytes
    wirelen: int
    direction: str | None = None  # "in" or "out"
    port: str | None = None


def read_pcap(path: Path) -> list[Packet]:
    """Read a pcap with scapy."""
    from scapy.utils import RawPcapReader  # noqa: PLC0415 - a second to import

    with RawPcapReader(str(path)) as reader:
        scale = 1 if reader.nano else 1000
        return [
            Packet(meta.sec * 10**9 + meta.usec * scale, data, meta.wirelen)
            for data, meta in reader  # usec holds nanoseconds in a nanosecond file
        ]


def read_pcapng(path: Path) -> list[Packet]:
    """Read a pcapng with scapy."""
    from scapy.utils import RawPcapNgReader  # noqa: PLC0415

    packets = []
    with RawPcapNgReader(str(path)) as reader:
        meta: Any  # a namedtuple of another name in each release of scapy
        for data, meta in reader:
            time = ((meta.tshigh << 32) | meta.tslow) * 10**9 // meta.tsresol
            port = meta.ifname.decode() if isinstance(meta.ifname, bytes) else meta.ifname
            packets.append(Packet(time, data, meta.wirelen, DIRECTIONS.get(meta.direction), port))
    return packets


def _run(*argv: str | Path) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def tshark_fields(
    path: Path, *fields: str, display_filter: str = "", options: Sequence[str] = ()
) -> list[list[str]]:
    """Return the values of some fields, a list for each packet."""
    wanted = [part for field in fields for part in ("-e", field)]
    out = _run(
        "tshark", *options, "-r", path, "-Y", display_filter, "-T", "fields", "-E", "separator=|", *wanted
    )
    return [line.split("|") for line in out.splitlines()]


def capinfos(path: Path) -> dict[str, str]:
    """Return what capinfos says about a file: its table of names and values."""
    rows = (line.partition(":") for line in _run("capinfos", "-M", path).splitlines())
    return {name.strip(): value.strip() for name, _, value in rows}


def blocks(path: Path) -> list[tuple[int, bytes]]:
    """Return type and body of each block of a pcapng; fail when the file does not end with a whole block."""
    data = path.read_bytes()
    found, at = [], 0
    while at < len(data):
        assert at + 12 <= len(data), f"{len(data) - at} stray bytes at the end"
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0, f"block at {at} has length {length}"
        assert at + length <= len(data), f"the last block (at {at}) is cut"
        assert struct.unpack_from("<I", data, at + length - 4)[0] == length, f"block at {at}: lengths differ"
        found.append((kind, data[at + 8 : at + length - 4]))
        at += length
    return found


def options(data: bytes) -> dict[int, bytes]:
    """Return the options of a block by their code."""
    found, at = {}, 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)
    return found


def drop_counts(path: Path) -> tuple[int, int]:
    """Return how many packets were lost: by the packets after each gap, and by the statistics at the end."""
    by_gaps, by_interface = 0, {}
    for kind, body in blocks(path):
        if kind == EPB:
            (caplen,) = struct.unpack_from("<I", body, 12)
            gap = options(body[20 + (caplen + 3 & ~3) :]).get(EPB_DROPCOUNT)
            by_gaps += int.from_bytes(gap or b"", "little")
        elif kind == ISB:
            (interface,) = struct.unpack_from("<I", body)
            lost = options(body[12:])
            by_interface[interface] = sum(
                int.from_bytes(lost.get(c, b""), "little") for c in (ISB_IFDROP, ISB_OSDROP)
            )
    return by_gaps, sum(by_interface.values())


def last_statistics(path: Path) -> tuple[int, int, int, int]:
    """Return the final counters of a capture of one interface: received, accepted, dropped, delivered."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        (length,) = struct.unpack("<I", file.read(4))
        file.seek(-length, 2)
        kind, _ = struct.unpack("<II", file.read(8))
        assert kind == ISB, f"{path} does not end with statistics"
        found = options(file.read(length - 12)[12:])
    codes = (ISB_IFRECV, ISB_FILTERACCEPT, ISB_IFDROP, ISB_USRDELIV)
    received, accepted, dropped, delivered = (int.from_bytes(found[code], "little") for code in codes)
    return received, accepted, dropped, delivered


def assert_whole(path: Path) -> None:
    """Fail unless a capture was closed in order: SHB first, whole blocks, statistics last."""
    kinds = [kind for kind, _ in blocks(path)]
    assert kinds[0] == SHB
    assert kinds[-1] == ISB
    assert IDB in kinds


def tcpdump_count(path: Path, expression: str) -> int:
    """Return how many packets of a file tcpdump finds."""
    return int(_run("tcpdump", "-r", path, "--count", expression).split()[0])


def tcpdump_filter(path: Path, expression: str, out: Path) -> list[Packet]:
    """Return the packets of a file that tcpdump finds, by way of the pcap `out`."""
    _run("tcpdump", "--nano", "-r", path, "-w", out, expression)
    return read_pcap(out)
