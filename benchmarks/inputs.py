# SPDX-License-Identifier: BSD-3-Clause
"""What the filter benchmarks are given: files of expressions and of packets."""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
from typing import TYPE_CHECKING, NamedTuple

from dpcap.filters import Filter, FilterError, cbpf, compile  # noqa: A004 - as re.compile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

#: The link type that filters are for.
DLT_EN10MB = 1


class InputError(Exception):
    """A file that cannot be used: one line that says why."""


class Named(NamedTuple):
    """A filter of a list, and its name there."""

    name: str
    tap: Filter


class _Header(ctypes.Structure):
    """struct pcap_pkthdr."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("caplen", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
    )


def read_packets(path: Path) -> list[bytes]:
    """The Ethernet frames of a capture file."""
    link, packets = read_capture(path)
    if link != DLT_EN10MB:
        raise InputError(f"{path}: its packets are no Ethernet frames, which filters are for")
    return packets


def read_capture(path: Path) -> tuple[int, list[bytes]]:
    """The link type and the packets of a capture file, in whatever format libpcap reads."""
    library = ctypes.CDLL(ctypes.util.find_library("pcap") or "libpcap.so.0.8")
    library.pcap_open_offline.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    message = ctypes.create_string_buffer(256)  # PCAP_ERRBUF_SIZE
    opened = library.pcap_open_offline(bytes(path), message)
    if not opened:
        reason = message.value.decode(errors="replace").removeprefix(f"{path}: ")
        raise InputError(f"{path}: {reason}")
    handle = ctypes.c_void_p(opened)
    header, data = ctypes.POINTER(_Header)(), ctypes.c_void_p()
    packets = []
    try:
        link = library.pcap_datalink(handle)
        while (found := library.pcap_next_ex(handle, ctypes.byref(header), ctypes.byref(data))) == 1:
            packets.append(ctypes.string_at(data.value or 0, header.contents.caplen))
        if found == -1:
            raise InputError(f"{path}: {library.pcap_geterr(handle).decode(errors='replace')}")
    finally:
        library.pcap_close(handle)
    if not packets:
        raise InputError(f"{path}: there is no packet in it")
    # What a burst's record can describe.
    return link, [packet[:0xFFFF] for packet in packets]


def read_filters(path: Path) -> list[Named]:
    """The filters of a file: lines ``name|expression``, empty ones, and those that begin with #."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is no text"
        raise InputError(f"{path}: {reason}") from None
    numbered = ((f"{path}:{number}", line) for number, line in enumerate(lines, 1))
    return compile_all((place, line) for place, line in numbered if line.strip() and not line.startswith("#"))


def compile_all(lines: Iterable[tuple[str, str]]) -> list[Named]:
    """The filters of (place, ``name|expression``): the place is for messages."""
    made: dict[str, Named] = {}
    for place, line in lines:
        name, bar, expression = line.partition("|")
        name = name.strip()
        if not bar or not name:
            raise InputError(f"{place}: not name|expression")
        if name in made:
            raise InputError(f"{place}: there is a filter {name!r} above")
        try:
            tap = compile(expression)
        except FilterError as error:
            raise InputError(f"{place}: {error.message}") from None
        if any(cbpf.is_ancillary(insn) for insn in tap.cbpf):
            raise InputError(
                f"{place}: libpcap's interpreter, the reference, knows no direction, port or queue"
            )
        made[name] = Named(name, tap)
    if not made:
        raise InputError("there is no filter to measure")
    return list(made.values())


def choose(filters: Sequence[Named], names: Sequence[str] | None) -> list[Named]:
    """Those with the given names; all when there are none."""
    if not names:
        return list(filters)
    unknown = set(names) - {f.name for f in filters}
    if unknown:
        raise InputError(f"there is no filter {min(unknown)!r}")
    return [f for f in filters if f.name in names]


def count(text: str) -> int:
    """A positive number, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number
