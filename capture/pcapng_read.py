# SPDX-License-Identifier: BSD-3-Clause
"""Read pcapng files block by block (draft-ietf-opsawg-pcapng), in either byte order.

Packets come as Packet, with the whole block beside the parsed fields, so that it can be written out again as
it was. Blocks that are not packets can be had by blocks() and items().
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from dpcap.capture.errors import DpcapError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6

INBOUND, OUTBOUND = 1, 2  # bits 0-1 of epb_flags

_MAGIC = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_MIN_BLOCK = 12
_MAX_BLOCK = 16 << 20  # bytes; libpcap draws the line here as well

_OPT_ENDOFOPT = 0
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_TSOFFSET = 2, 3, 9, 14
_EPB_FLAGS, _EPB_HASH, _EPB_DROPCOUNT, _EPB_QUEUE = 2, 3, 4, 6
_DEFAULT_TSRESOL = 6
_SECOND = 10**9


class PcapngError(DpcapError):
    """The input is not pcapng, or is damaged."""


class Block(NamedTuple):
    """One block as it stands in the file."""

    kind: int
    raw: bytes  # type, length, body, options, length
    order: str  # of its integers, for struct: "<" or ">"

    def body(self) -> bytes:
        """Return what lies between the two lengths."""
        return self.raw[8:-4]


class Interface(NamedTuple):
    """An interface description block."""

    name: str
    description: str
    linktype: int
    snaplen: int  # bytes, 0: no limit
    units: int  # of its timestamps, a second
    offset: int  # seconds to add to them

    def ns(self, timestamp: int) -> int:
        """Convert a timestamp to nanoseconds since 1970."""
        return timestamp * _SECOND // self.units + self.offset * _SECOND


class Packet(NamedTuple):
    """One packet."""

    interface_id: int
    interface: Interface
    ns: int  # since 1970, 0: the block carries no time
    data: bytes
    origlen: int  # bytes on the wire
    flags: int  # epb_flags
    queue: int | None
    dropcount: int  # packets lost before this one
    hash: bytes  # epb_hash: algorithm, then value; empty: none
    block: Block

    @property
    def caplen(self) -> int:
        """Bytes that were kept."""
        return len(self.data)

    @property
    def direction(self) -> int:
        """INBOUND, OUTBOUND, or 0 when the file does not say."""
        return self.flags & 3


def blocks(stream: BinaryIO) -> Iterator[Block]:
    """Yield every block of a stream. Raises PcapngError where the stream stops making sense."""
    order = ""
    at = 0
    while header := read_exactly(stream, 8, f"the block at byte {at}", may_end=True):
        if header[:4] == b"\x0a\x0d\x0d\x0a":  # reads the same in both orders
            header += read_exactly(stream, 4, f"the block at byte {at}")
            order = _MAGIC.get(header[8:12], "")
            if not order:
                raise PcapngError(f"byte {at}: a section header without pcapng's byte-order magic")
        elif not order:
            raise PcapngError("not a pcapng file: it does not begin with a section header")
        kind, size = struct.unpack_from(order + "II", header)
        if size < max(_MIN_BLOCK, len(header) + 4) or size > _MAX_BLOCK or size % 4:
            raise PcapngError(f"byte {at}: a block cannot be {size} bytes long")
        raw = header + read_exactly(stream, size - len(header), f"the block at byte {at}")
        if raw[-4:] != raw[4:8]:
            raise PcapngError(f"byte {at}: the two lengths of a block differ")
        yield Block(kind, raw, order)
        at += size


def read_exactly(stream: BinaryIO, size: int, what: str, *, may_end: bool = False) -> bytes:
    """Read size bytes: streams may give less at a time. Nothing at all is right only where it may end.

    Raises PcapngError, which says in what the stream ends.
    """
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            if may_end and not data:
                return b""
            raise PcapngError(f"the file ends in the middle of {what}")
        data += more
    return data


def options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield code and value of the options in data. A list that is cut short ends there."""
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        if code == _OPT_ENDOFOPT or at + 4 + length > len(data):
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def parse_interface(block: Block) -> Interface:
    """Parse an interface description block."""
    body = block.body()
    if len(body) < 8:
        raise PcapngError("an interface description block is too short")
    linktype, _, snaplen = struct.unpack_from(block.order + "HHI", body)
    name = description = ""
    resolution, offset = _DEFAULT_TSRESOL, 0
    for code, value in options(body[8:], block.order):
        if code == _IF_NAME:
            name = value.decode(errors="replace")
        elif code == _IF_DESCRIPTION:
            description = value.decode(errors="replace")
        elif code == _IF_TSRESOL and len(value) == 1:
            resolution = value[0]
        elif code == _IF_TSOFFSET and len(value) == 8:
            (offset,) = struct.unpack(block.order + "q", value)
    # The high bit chooses between negative powers of two and of ten.
    units = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    return Interface(name, description, linktype, snaplen, units, offset)


def parse_packet(block: Block, interfaces: list[Interface]) -> Packet:
    """Parse an enhanced packet block of a section whose interfaces are given."""
    body = block.body()
    if len(body) < 20:
        raise PcapngError("an enhanced packet block is too short")
    interface_id, high, low, caplen, origlen = struct.unpack_from(block.order + "IIIII", body)
    if interface_id >= len(interfaces):
        raise PcapngError(f"a packet of interface {interface_id}, which was not described")
    if caplen > len(body) - 20:
        raise PcapngError(f"a packet of {caplen} bytes in a block of {len(block.raw)}")
    interface = interfaces[interface_id]
    flags, queue, dropcount, hash_ = 0, None, 0, b""
    for code, value in options(body[20 + (caplen + 3 & ~3) :], block.order):
        if code == _EPB_FLAGS and len(value) == 4:
            (flags,) = struct.unpack(block.order + "I", value)
        elif code == _EPB_QUEUE and len(value) == 4:
            (queue,) = struct.unpack(block.order + "I", value)
        elif code == _EPB_DROPCOUNT and len(value) == 8:
            (dropcount,) = struct.unpack(block.order + "Q", value)
        elif code == _EPB_HASH:
            hash_ = value
    ns = interface.ns(high << 32 | low)
    data = body[20 : 20 + caplen]
    return Packet(interface_id, interface, ns, data, origlen, flags, queue, dropcount, hash_, block)


def _parse_simple(block: Block, interfaces: list[Interface]) -> Packet:
    """Parse a simple packet block: it belongs to the first interface and has no time."""
    body = block.body()
    if len(body) < 4 or not interfaces:
        raise PcapngError("a simple packet block is too short, or no interface was described")
    (origlen,) = struct.unpack_from(block.order + "I", body)
    kept = min(origlen, interfaces[0].snaplen or origlen)
    if kept > len(body) - 4:
        raise PcapngError(f"a packet of {kept} bytes in a block of {len(block.raw)}")
    return Packet(0, interfaces[0], 0, body[4 : 4 + kept], origlen, 0, None, 0, b"", block)


def _parse_obsolete(block: Block, interfaces: list[Interface]) -> Packet:
    """Parse a packet block, which the enhanced one has replaced; its options are not read."""
    body = block.body()
    if len(body) < 20:
        raise PcapngError("a packet block is too short")
    interface_id, _, high, low, caplen, origlen = struct.unpack_from(block.order + "HHIIII", body)
    if interface_id >= len(interfaces):
        raise PcapngError(f"a packet of interface {interface_id}, which was not described")
    if caplen > len(body) - 20:
        raise PcapngError(f"a packet of {caplen} bytes in a block of {len(block.raw)}")
    interface = interfaces[interface_id]
    ns = interface.ns(high << 32 | low)
    return Packet(interface_id, interface, ns, body[20 : 20 + caplen], origlen, 0, None, 0, b"", block)


def packets(stream: BinaryIO) -> Iterator[Packet]:
    """Yield every packet of a stream. Raises PcapngError where the stream stops making sense."""
    for item in items(stream):
        if isinstance(item, Packet):
            yield item


def items(stream: BinaryIO) -> Iterator[Packet | Block]:
    """Yield packets as Packet and every other block as Block, in the order of the stream."""
    interfaces: list[Interface] = []
    for block in blocks(stream):
        if block.kind == ENHANCED_PACKET:
            yield parse_packet(block, interfaces)
            continue
        if block.kind == SIMPLE_PACKET:
            yield _parse_simple(block, interfaces)
            continue
        if block.kind == OBSOLETE_PACKET:
            yield _parse_obsolete(block, interfaces)
            continue
        if block.kind == SECTION_HEADER:
            interfaces = []  # numbered anew in each section
        elif block.kind == INTERFACE_DESCRIPTION:
            interfaces.append(parse_interface(block))
        yield block
