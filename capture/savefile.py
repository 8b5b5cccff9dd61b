# SPDX-License-Identifier: BSD-3-Clause
"""Capture files for reading: pcap or pcapng, compressed or not, from a path or standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from dpcap.capture import pcap_read, pcapng_read
from dpcap.capture.compression import Input
from dpcap.capture.errors import DpcapError
from dpcap.capture.pcapng_read import Packet, PcapngError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from dpcap.capture.pcapng_read import Block

STDIN = "-"


def opened(path: str) -> BufferedReader:
    """Open a file, or standard input. Raises DpcapError when that is impossible."""
    try:
        return open(0 if path == STDIN else path, "rb", closefd=path != STDIN)
    except OSError as error:
        raise DpcapError(f"cannot read {path}: {error.strerror}") from error


def read(file: BufferedReader, path: str) -> Iterator[Packet | Block]:
    """Yield packets as Packet and all else as Block, in the order of the file that was opened by path.

    Raises PcapngError where it stops making sense: what came before is right.
    """
    try:
        yield from _items(Input(file), "standard input" if path == STDIN else path)
    except OSError as error:
        raise DpcapError(f"cannot read {path}: {error.strerror}") from error


def items(path: str) -> Iterator[Packet | Block]:
    """Open and read a file; ``-`` is standard input. Raises as opened() and read() do."""
    with opened(path) as file:
        yield from read(file, path)


def _items(stream: Input, name: str) -> Iterator[Packet | Block]:
    try:
        yield from _detected(stream)
    except PcapngError as error:
        raise PcapngError(f"{name}: {stream.damage or error}") from None
    if stream.damage:
        raise PcapngError(f"{name}: {stream.damage}")


def _detected(stream: Input) -> Iterator[Packet | Block]:
    magic = stream.read(4)
    stream.unread(magic)
    source = cast("BinaryIO", stream)
    if not magic:
        raise PcapngError("the file is empty")
    if len(magic) == 4 and pcap_read.order_of(magic):
        yield from pcap_read.items(source)
    elif magic == b"\x0a\x0d\x0d\x0a":
        yield from pcapng_read.items(source)
    else:
        raise PcapngError("neither a pcap nor a pcapng file")


def packets(path: str) -> Iterator[Packet]:
    """Yield the packets of a file. Raises as items() does."""
    return (item for item in items(path) if isinstance(item, Packet))
