# SPDX-License-Identifier: BSD-3-Clause
"""Names for the bytes of a packet, as Wireshark calls its fields.

Only what filter expressions look at: Ethernet, VLAN, MPLS, ARP, IPv4, IPv6 with extension headers, TCP,
UDP, SCTP, ICMP, GTP-U, VXLAN. What a tunnel carries has the same names behind ``inner.``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Layout = tuple[tuple[str, int], ...]  # names and sizes in bytes, one after the other

_ETHERNET: Final[Layout] = (("eth.dst", 6), ("eth.src", 6), ("eth.type", 2))
_VLAN: Final[Layout] = (("vlan.id", 2), ("vlan.etype", 2))
_IPV4: Final[Layout] = (
    ("ip.hdr_len", 1), ("ip.dsfield", 1), ("ip.len", 2), ("ip.id", 2), ("ip.frag_offset", 2), ("ip.ttl", 1),
    ("ip.proto", 1), ("ip.checksum", 2), ("ip.src", 4), ("ip.dst", 4),
)  # fmt: skip
_IPV6: Final[Layout] = (
    ("ipv6.flow", 4), ("ipv6.plen", 2), ("ipv6.nxt", 1), ("ipv6.hlim", 1), ("ipv6.src", 16),
    ("ipv6.dst", 16),
)  # fmt: skip
_ARP: Final[Layout] = (
    ("arp.hw.type", 2), ("arp.proto.type", 2), ("arp.hw.size", 1), ("arp.proto.size", 1), ("arp.opcode", 2),
    ("arp.src.hw_mac", 6), ("arp.src.proto_ipv4", 4), ("arp.dst.hw_mac", 6), ("arp.dst.proto_ipv4", 4),
)  # fmt: skip
_TCP: Final[Layout] = (
    ("tcp.srcport", 2), ("tcp.dstport", 2), ("tcp.seq", 4), ("tcp.ack", 4), ("tcp.hdr_len", 1),
    ("tcp.flags", 1), ("tcp.window_size", 2), ("tcp.checksum", 2), ("tcp.urgent_pointer", 2),
)  # fmt: skip
_UDP: Final[Layout] = (("udp.srcport", 2), ("udp.dstport", 2), ("udp.length", 2), ("udp.checksum", 2))
_TRANSPORT: Final[dict[int, tuple[str, Layout]]] = {
    1: ("icmp", (("icmp.type", 1), ("icmp.code", 1), ("icmp.checksum", 2))),
    6: ("tcp", _TCP),
    17: ("udp", _UDP),
    58: ("icmpv6", (("icmpv6.type", 1), ("icmpv6.code", 1), ("icmpv6.checksum", 2))),
    132: ("sctp", (("sctp.srcport", 2), ("sctp.dstport", 2), ("sctp.verification_tag", 4))),
}
_GTP: Final[Layout] = (("gtp.flags", 1), ("gtp.message", 1), ("gtp.length", 2), ("gtp.teid", 4))
_GTP_OPTIONAL: Final[Layout] = (("gtp.seq_number", 2), ("gtp.npdu_number", 1), ("gtp.next", 1))
_VXLAN: Final[Layout] = (("vxlan.flags", 2), ("vxlan.gbp", 2), ("vxlan.vni", 4))
_GTP_PORT: Final = 2152
_VXLAN_PORT: Final = 4789
_GPDU: Final = 0xFF  # a GTP-U message that carries a packet
# IPv6 extension headers: hop-by-hop, routing, fragment, destination options.
_EXTENSIONS: Final = {0: "ipv6.hopopts", 43: "ipv6.routing", 44: "ipv6.fraghdr", 60: "ipv6.dstopts"}
_FRAGMENT: Final = 44
_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_MPLS: Final = (0x8847, 0x8848)
_FRAGMENT_OFFSET: Final = 0x1FFF


class Field(NamedTuple):
    """Bytes ``start`` to ``end`` (not included) of a packet."""

    name: str
    start: int
    end: int


def dissect(packet: bytes) -> list[Field]:
    """The fields of a packet; the last one is what follows the last known header."""
    fields = [f for f in _layers(packet) if f.start < len(packet)]
    end = fields[-1].end if fields else 0
    if end < len(packet):
        fields.append(Field("payload", end, len(packet)))
    return fields


def name_of(fields: list[Field], offset: int) -> str:
    """The name of the field that a byte belongs to."""
    return next((f.name for f in fields if f.start <= offset < f.end), "beyond the packet")


def _lay(layout: Layout, at: int) -> Iterator[Field]:
    for name, size in layout:
        yield Field(name, at, at + size)
        at += size


def _number(packet: bytes, at: int, size: int) -> int:
    return int.from_bytes(packet[at : at + size], "big")


def _layers(packet: bytes, at: int = 0) -> Iterator[Field]:
    yield from _lay(_ETHERNET, at)
    at, kind = at + 14, _number(packet, at + 12, 2)
    while kind in _TAGS:
        yield from _lay(_VLAN, at)
        kind, at = _number(packet, at + 2, 2), at + 4
    if kind in _MPLS:
        bottom = False
        while not bottom and at < len(packet):
            yield Field("mpls.label", at, at + 4)
            bottom, at = bool(_number(packet, at + 2, 1) & 1), at + 4
        kind = {4: 0x800, 6: 0x86DD}.get(_number(packet, at, 1) >> 4, 0)
    if kind in (0x806, 0x8035):
        yield from _lay(_ARP, at)
    elif kind == 0x800:
        yield from _ipv4(packet, at)
    elif kind == 0x86DD:
        yield from _ipv6(packet, at)


def _ipv4(packet: bytes, at: int) -> Iterator[Field]:
    yield from _lay(_IPV4, at)
    size = 4 * (_number(packet, at, 1) & 0xF)
    if size > 20:
        yield Field("ip.options", at + 20, at + size)
    if not _number(packet, at + 6, 2) & _FRAGMENT_OFFSET:
        yield from _transport(packet, at + size, _number(packet, at + 9, 1))


def _ipv6(packet: bytes, at: int) -> Iterator[Field]:
    yield from _lay(_IPV6, at)
    protocol, at = _number(packet, at + 6, 1), at + 40
    while protocol in _EXTENSIONS and at < len(packet):
        size = 8 if protocol == _FRAGMENT else 8 * (_number(packet, at + 1, 1) + 1)
        yield Field(f"{_EXTENSIONS[protocol]}.nxt", at, at + 1)
        yield Field(_EXTENSIONS[protocol], at + 1, at + size)
        if protocol == _FRAGMENT and _number(packet, at + 2, 2) >> 3:
            return
        protocol, at = _number(packet, at, 1), at + size
    yield from _transport(packet, at, protocol)


def _transport(packet: bytes, at: int, protocol: int) -> Iterator[Field]:
    name, layout = _TRANSPORT.get(protocol, ("", ()))
    yield from _lay(layout, at)
    if name == "tcp" and _number(packet, at + 12, 1) >> 4 > 5:
        yield Field("tcp.options", at + 20, at + 4 * (_number(packet, at + 12, 1) >> 4))
    if name == "udp":
        ports = (_number(packet, at, 2), _number(packet, at + 2, 2))
        if _GTP_PORT in ports:
            yield from _gtp(packet, at + 8)
        elif _VXLAN_PORT in ports:
            yield from _lay(_VXLAN, at + 8)
            yield from _inner(_layers(packet, at + 16))


def _gtp(packet: bytes, at: int) -> Iterator[Field]:
    """3GPP TS 29.281, 5.1 and 5.2."""
    yield from _lay(_GTP, at)
    flags, message = _number(packet, at, 1), _number(packet, at + 1, 1)
    at += 8
    if flags & 7:
        yield from _lay(_GTP_OPTIONAL, at)
        following, at = _number(packet, at + 3, 1) if flags & 4 else 0, at + 4
        while following and at < len(packet):
            size = 4 * (_number(packet, at, 1) or 1)
            yield Field("gtp.ext_hdr", at, at + size)
            following, at = _number(packet, at + size - 1, 1), at + size
    if message == _GPDU:
        version = _number(packet, at, 1) >> 4
        if version in (4, 6):
            yield from _inner((_ipv4 if version == 4 else _ipv6)(packet, at))


def _inner(fields: Iterable[Field]) -> Iterator[Field]:
    for name, start, end in fields:
        yield Field(f"inner.{name}", start, end)
