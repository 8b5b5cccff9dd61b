# SPDX-License-Identifier: BSD-3-Clause
"""Capture files as other people's programs read them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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


def tcpdump_count(path: Path, expression: str) -> int:
    """Return how many packets of a file tcpdump finds."""
    return int(_run("tcpdump", "-r", path, "--count", expression).split()[0])


def tcpdump_filter(path: Path, expression: str, out: Path) -> list[Packet]:
    """Return the packets of a file that tcpdump finds, by way of the pcap `out`."""
    _run("tcpdump", "--nano", "-r", path, "-w", out, expression)
    return read_pcap(out)
