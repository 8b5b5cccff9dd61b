# SPDX-License-Identifier: BSD-3-Clause
"""Packets by hand, layer around layer, without scapy.

>>> ethernet(vlan(ipv4(udp(gtpu(ipv4(udp(dport=53)), teid=7), dport=2152)), vid=100))

Each function gives the bytes of its layer and all within, with lengths and checksums. What a
layer carries tells it the type to write; bytes that are no layer are carried as they are.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAC_SRC: Final = "02:00:00:00:00:01"
_MAC_DST: Final = "02:00:00:00:00:02"
# Where the checksum of a transport header is that covers a pseudo header, RFC 9293, 768, 4443.
_CHECKSUM_AT: Final = {6: 16, 17: 6, 58: 2}
_UDP: Final = 17
_OPTIONS: Final = (0, 60)  # IPv6 extension headers that a checksum does not mind
_TRANSPARENT_ETHERNET: Final = 0x6558
_GPDU: Final = 255


class Layer(bytes):
    """The bytes of a layer, and how the layer around it calls it."""

    ethertype: int = 0x88B5  # IEEE Std 802 - Local Experimental
    protocol: int = 253  # RFC 3692: experiments


def _layer(data: bytes, ethertype: int = Layer.ethertype, protocol: int = Layer.protocol) -> Layer:
    layer = Layer(data)
    layer.ethertype, layer.protocol = ethertype, protocol
    return layer


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _ethertype(payload: bytes) -> int:
    return payload.ethertype if isinstance(payload, Layer) else Layer.ethertype


def _protocol(payload: bytes) -> int:
    return payload.protocol if isinstance(payload, Layer) else Layer.protocol


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ethernet(
    payload: bytes = b"", *, src: str = _MAC_SRC, dst: str = _MAC_DST, ethertype: int | None = None
) -> Layer:
    """An Ethernet frame, without FCS and padding."""
    kind = _ethertype(payload) if ethertype is None else ethertype
    return _layer(_mac(dst) + _mac(src) + _u16(kind) + payload, _TRANSPARENT_ETHERNET)


def vlan(
    payload: bytes = b"",
    *,
    vid: int,
    priority: int = 0,
    tpid: int = 0x8100,
    ethertype: int | None = None,
) -> Layer:
    """An IEEE 802.1Q tag. ``tpid`` is 0x88a8 for the outer one of 802.1ad (QinQ)."""
    kind = _ethertype(payload) if ethertype is None else ethertype
    return _layer(_u16(priority << 13 | vid) + _u16(kind) + payload, tpid)


def mpls(payload: bytes = b"", *, label: int, ttl: int = 64) -> Layer:
    """An MPLS label, RFC 3032; the last of a stack around what is no label."""
    is_last = _ethertype(payload) != 0x8847
    return _layer(_u32(label << 12 | is_last << 8 | ttl) + payload, 0x8847)


def arp(*, op: int = 1, sender: str = "10.0.0.1", target: str = "10.0.0.2", mac: str = _MAC_SRC) -> Layer:
    """An ARP request (1) or reply (2) for IPv4, RFC 826."""
    addresses = [ipaddress.IPv4Address(a).packed for a in (sender, target)]
    data = b"\0\1\x08\0\6\4" + _u16(op) + _mac(mac) + addresses[0] + bytes(6) + addresses[1]
    return _layer(data, 0x0806)


def ipv4(
    payload: bytes = b"",
    *,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    protocol: int | None = None,
    ttl: int = 64,
    dscp: int = 0,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
) -> Layer:
    """An IPv4 packet, or a fragment of one: ``offset`` in units of 8 bytes, ``more`` to follow.

    ``options`` is a multiple of 4 bytes, at most 40.
    """
    number = _protocol(payload) if protocol is None else protocol
    addresses = ipaddress.IPv4Address(src).packed + ipaddress.IPv4Address(dst).packed
    if not offset and not more:
        payload = _with_checksum(payload, number, addresses)
    size = 20 + len(options)
    head = bytes((0x40 | size // 4, dscp << 2)) + _u16(size + len(payload)) + b"\0\1"
    head += _u16(more << 13 | offset) + bytes((ttl, number))
    head += _u16(checksum(head + b"\0\0" + addresses + options)) + addresses + options
    return _layer(head + payload, 0x0800, 4)


def ipv6(
    payload: bytes = b"",
    *,
    src: str = "2001:db8::1",
    dst: str = "2001:db8::2",
    protocol: int | None = None,
    hop_limit: int = 64,
) -> Layer:
    """An IPv6 packet; extension headers are layers, see :func:`ipv6_options` and :func:`ipv6_fragment`."""
    number = _protocol(payload) if protocol is None else protocol
    addresses = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    at, transport = 0, number
    while transport in _OPTIONS and at + 1 < len(payload):
        at, transport = at + 8 * (payload[at + 1] + 1), payload[at]
    payload = payload[:at] + _with_checksum(payload[at:], transport, addresses)
    head = b"\x60\0\0\0" + _u16(len(payload)) + bytes((number, hop_limit))
    return _layer(head + addresses + payload, 0x86DD, 41)


def _with_checksum(payload: bytes, protocol: int, addresses: bytes) -> bytes:
    at = _CHECKSUM_AT.get(protocol, 0)
    if not at or len(payload) < at + 2:
        return payload
    pseudo = addresses + _u32(len(payload)) + _u32(protocol)
    found = checksum(pseudo + payload[:at] + b"\0\0" + payload[at + 2 :])
    return payload[:at] + _u16(found or 0xFFFF if protocol == _UDP else found) + payload[at + 2 :]


def ipv6_options(payload: bytes = b"", *, header: int = 0, words: int = 0) -> Layer:
    """Hop-by-hop (0) or destination (60) options of 8 * (words + 1) bytes, all padding; RFC 8200, 4.2."""
    size = 8 * (words + 1) - 2
    padding = bytes((1, size - 2)) + bytes(size - 2)
    return _layer(bytes((_protocol(payload), words)) + padding + payload, protocol=header)


def ipv6_fragment(payload: bytes = b"", *, offset: int = 0, more: bool = False) -> Layer:
    """An IPv6 fragment header; ``offset`` in units of 8 bytes."""
    head = bytes((_protocol(payload), 0)) + _u16(offset << 3 | more) + _u32(1)
    return _layer(head + payload, protocol=44)


def udp(payload: bytes = b"", *, sport: int = 40000, dport: int = 53) -> Layer:
    """A UDP datagram; its checksum is the network layer's to fill in."""
    return _layer(_u16(sport) + _u16(dport) + _u16(8 + len(payload)) + b"\0\0" + payload, protocol=_UDP)


def tcp(
    payload: bytes = b"", *, sport: int = 40000, dport: int = 80, flags: int = 0x18, options: bytes = b""
) -> Layer:
    """A TCP segment. ``flags`` as in the header: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32."""
    head = _u16(sport) + _u16(dport) + _u32(1) + _u32(1) + bytes(((20 + len(options)) // 4 << 4, flags))
    return _layer(head + b"\xff\xff" + bytes(4) + options + payload, protocol=6)


def sctp(payload: bytes = b"", *, sport: int = 40000, dport: int = 38412, tag: int = 1) -> Layer:
    """An SCTP common header, RFC 9260, with a checksum of zero."""
    return _layer(_u16(sport) + _u16(dport) + _u32(tag) + bytes(4) + payload, protocol=132)


def icmp(payload: bytes = b"", *, type: int = 8, code: int = 0) -> Layer:  # noqa: A002 (the field's name)
    """An ICMP message: the four bytes after the checksum are the beginning of ``payload``."""
    found = checksum(bytes((type, code, 0, 0)) + payload)
    return _layer(bytes((type, code)) + _u16(found) + payload, protocol=1)


def icmpv6(payload: bytes = b"", *, type: int = 128, code: int = 0) -> Layer:  # noqa: A002 (as above)
    """An ICMPv6 message, as :func:`icmp`."""
    return _layer(bytes((type, code, 0, 0)) + payload, protocol=58)


def gtpu(
    payload: bytes = b"",
    *,
    teid: int,
    message: int = _GPDU,
    sequence: int | None = None,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> Layer:
    """A GTP-U message, 3GPP TS 29.281, by default one that carries a packet (G-PDU).

    ``extensions`` are (type, content) pairs; a content has 4 * n - 2 bytes. The PDU Session
    Container of 5G is ``(0x85, bytes((0x10, qfi)))`` on its way to the UE's uplink.
    """
    flags = 0x30 | bool(extensions) << 2 | (sequence is not None) << 1
    optional = b""
    if flags & 7:
        optional = _u16(sequence or 0) + b"\0"
        for kind, content in extensions:
            optional += bytes((kind, (len(content) + 2) // 4)) + content
        optional += b"\0"
    return _layer(
        bytes((flags, message)) + _u16(len(optional) + len(payload)) + _u32(teid) + optional + payload
    )


def vxlan(payload: bytes = b"", *, vni: int) -> Layer:
    """A VXLAN header, RFC 7348, around an Ethernet frame."""
    return _layer(b"\x08\0\0\0" + _u32(vni << 8) + payload)


def gre(payload: bytes = b"", *, key: int | None = None) -> Layer:
    """A GRE header, RFC 2784 and 2890."""
    optional = b"" if key is None else _u32(key)
    return _layer(
        bytes((0x20 if optional else 0, 0)) + _u16(_ethertype(payload)) + optional + payload, protocol=47
    )
