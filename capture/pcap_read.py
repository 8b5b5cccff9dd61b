# SPDX-License-Identifier: BSD-3-Clause
"""Read pcap files record by record (draft-ietf-opsawg-pcap), in either byte order, in micro- or nanoseconds.

What comes out is what pcapng_read gives: the file header as Block, packets as Packet with the record as its
block, so that it can be written out again as it was.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Final

from dpcap.capture.pcapng_read import Block, Interface, Packet, PcapngError, read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_HEADER: Final = -1  # as the kind of a Block; pcapng has no such
RECORD: Final = -2

MICROSECONDS, NANOSECONDS, _KUZNETZOV = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_HEADER_SIZE, _RECORD_SIZE = 24, 16
_KUZNETZOV_RECORD_SIZE = 24  # of a patched libpcap, in old Linux distributions
_LINKTYPE_MASK = 0xFFFF  # above it: length of the FCS
_MAX_SNAPLEN = 262144  # bytes, MAXIMUM_SNAPLEN of libpcap
# D-Bus messages and USB transfers may be as long as this; libpcap draws the line there.
_MAX_RECORD = 128 << 20
_LINKTYPES_OF_LONG_PACKETS = {189, 220, 231, 249, 279}


def order_of(magic: bytes) -> str:
    """Return the byte order, for struct, of a file that begins with these 4 bytes; empty: it is no pcap."""
    for order in "<>":
        if struct.unpack(order + "I", magic)[0] in (MICROSECONDS, NANOSECONDS, _KUZNETZOV):
            return order
    return ""


def longest(linktype: int) -> int:
    """Return the bytes that a packet of a link type can have, as libpcap sees it."""
    return _MAX_RECORD if linktype in _LINKTYPES_OF_LONG_PACKETS else _MAX_SNAPLEN


def parse_header(header: bytes) -> Interface:
    """Return link type, snapshot length and units of time of a file that begins with header."""
    order = order_of(header[:4])
    magic, _, _, _, _, snaplen, network = struct.unpack_from(order + "IHHiIII", header)
    snaplen = snaplen if 0 < snaplen < 1 << 31 else _MAX_SNAPLEN
    units = 10**9 if magic == NANOSECONDS else 10**6
    return Interface("", "", network & _LINKTYPE_MASK, snaplen, units, 0)


def items(stream: BinaryIO) -> Iterator[Packet | Block]:
    """Yield the file header as Block and each packet. Raises PcapngError where it stops making sense.

    A packet that is longer than the snapshot length that the file declares is cut, as libpcap does.
    """
    header = read_exactly(stream, _HEADER_SIZE, "the file header")
    order = order_of(header[:4])
    magic, major, minor = struct.unpack_from(order + "IHH", header)
    if major < 2:
        raise PcapngError(f"pcap version {major}.{minor} is too old (version 2 is read)")
    # Those versions wrote the two lengths of a packet the other way round.
    is_swapped = (major, minor) < (2, 3) or major == 543
    interface = parse_header(header)
    most = longest(interface.linktype)
    size = _KUZNETZOV_RECORD_SIZE if magic == _KUZNETZOV else _RECORD_SIZE
    fields = struct.Struct(order + "IIII")
    scale = 10**9 // interface.units
    yield Block(FILE_HEADER, header, order)
    at = len(header)
    while head := read_exactly(stream, size, f"the header of the packet at byte {at}", may_end=True):
        seconds, fraction, caplen, origlen = fields.unpack_from(head)
        if is_swapped or ((major, minor) == (2, 3) and caplen > origlen):
            caplen, origlen = origlen, caplen
        if caplen > most:
            raise PcapngError(f"byte {at}: a packet of {caplen} bytes (at most {most} are possible)")
        data = read_exactly(stream, caplen, f"the packet at byte {at}")
        at += size + caplen
        raw = head + data
        if caplen > interface.snaplen:
            data = data[: interface.snaplen]
            raw = fields.pack(seconds, fraction, interface.snaplen, origlen) + head[_RECORD_SIZE:] + data
        ns = seconds * 10**9 + fraction * scale
        yield Packet(0, interface, ns, data, origlen, 0, None, 0, b"", Block(RECORD, raw, order))
