# SPDX-License-Identifier: BSD-3-Clause
"""Packets for hypothesis: of all kinds that filters tell apart, or with some parts pinned."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from hypothesis import strategies as st

from dpcap.filters.packets import Packet
from dpcap.filters.testing import build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Draw = Callable[[st.SearchStrategy[Any]], Any]

Transport = Literal["tcp", "udp", "sctp", "icmp", "icmpv6", "gre", "other"]
Tunnel = Literal["gtpu", "vxlan", "none"]

_PORTED: Final = ("udp", "tcp", "sctp")
_OFTEN: Final = (*_PORTED, "udp", "udp", "tcp", "icmp", "icmpv6", "gre", "other")
_GTPU_PORT: Final = 2152
_VXLAN_PORT: Final = 4789
_PORTS: Final = (0, 22, 53, 80, 443, 1023, 1024, _GTPU_PORT, _VXLAN_PORT, 65535)
_ADDRESSES: Final = {
    4: ("10.0.0.1", "10.0.0.2", "192.168.1.1", "172.16.3.4", "224.0.0.1", "255.255.255.255", "0.0.0.0"),  # noqa: S104
    6: ("2001:db8::1", "2001:db8::2", "fe80::1", "ff02::1", "::1"),
}
_MACS: Final = ("02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01")
_payloads = st.binary(max_size=40)


def packets(
    *,
    vlan: int | Sequence[int] | None = None,
    mpls: int | Sequence[int] | None = None,
    src: str | None = None,
    dst: str | None = None,
    l4: Transport | None = None,
    sport: int | None = None,
    dport: int | None = None,
    tunnel: Tunnel | None = None,
    teid: int | None = None,
    vni: int | None = None,
    inner: st.SearchStrategy[bytes] | None = None,
    payload: st.SearchStrategy[bytes] | None = None,
    truncated: bool | None = None,
) -> st.SearchStrategy[Packet]:
    """Ethernet frames; what is pinned is in each of them, all else is drawn.

    ``vlan`` and ``mpls`` are tags and labels from the outer to the inner, ``()`` for none. ``src``
    and ``dst`` are addresses or networks (``"10.0.0.0/8"``), IPv4 or IPv6. ``teid`` pins a GTP-U
    tunnel, ``vni`` a VXLAN one; ``inner`` draws what is in the tunnel: :func:`ip_packets` or, for
    VXLAN, frames. Frames are ``truncated`` by default when nothing is pinned: a packet that is
    cut may lack what was asked for.

    >>> @given(packets(vlan=100, dport=2152, teid=7, inner=ip_packets(dst="10.45.0.0/16")))
    """
    pins = (vlan, mpls, src, dst, l4, sport, dport, tunnel, teid, vni, inner, payload)
    is_free = all(pin is None for pin in pins)
    ip = ip_packets(
        src=src, dst=dst, l4=l4, sport=sport, dport=dport, tunnel=tunnel, teid=teid, vni=vni, inner=inner,
        payload=payload,
    )  # fmt: skip
    if all(pin is None for pin in pins[2:]):
        ip = st.sampled_from((ip, ip, ip, ip, _others())).flatmap(lambda strategy: strategy)
    return _frames((_stack(vlan), _stack(mpls)), ip, is_free if truncated is None else truncated)


def ip_packets(
    *,
    src: str | None = None,
    dst: str | None = None,
    l4: Transport | None = None,
    sport: int | None = None,
    dport: int | None = None,
    tunnel: Tunnel | None = None,
    teid: int | None = None,
    vni: int | None = None,
    inner: st.SearchStrategy[bytes] | None = None,
    payload: st.SearchStrategy[bytes] | None = None,
) -> st.SearchStrategy[bytes]:
    """IPv4 and IPv6 packets without a link layer, as GTP-U carries them; arguments as of :func:`packets`.

    Some have IPv4 options or IPv6 extension headers, some are fragments: later ones, without a
    transport header, only if nothing of it is pinned.
    """
    kind = tunnel or ("gtpu" if teid is not None else "vxlan" if vni is not None else None)
    if inner is not None and kind in (None, "none") and l4 != "gre":
        raise ValueError("inner is what a tunnel carries: pin tunnel, teid, vni or l4='gre' too")
    if kind in ("gtpu", "vxlan"):
        l4 = l4 or "udp"
    has_port = sport is not None or dport is not None
    if has_port and l4 not in (None, *_PORTED):
        raise ValueError(f"{l4} has no ports")
    families = {ipaddress.ip_network(a, strict=False).version for a in (src, dst) if a is not None}
    families |= {4} if l4 == "icmp" else {6} if l4 == "icmpv6" else set()
    if len(families) > 1:
        raise ValueError("addresses and protocol of a packet are all of IPv4 or all of IPv6")
    transports = (l4,) if l4 else _PORTED if has_port else _OFTEN
    is_free = l4 is None and not has_port and payload is None
    pins = _Pins(src, dst, sport, dport, kind, teid, vni, inner, payload)
    return _ip(tuple(families) or (4, 6), transports, pins, is_free)


class _Pins(NamedTuple):
    src: str | None
    dst: str | None
    sport: int | None
    dport: int | None
    tunnel: str | None
    teid: int | None
    vni: int | None
    inner: st.SearchStrategy[bytes] | None
    payload: st.SearchStrategy[bytes] | None


def _stack(numbers: int | Sequence[int] | None) -> tuple[int, ...] | None:
    return (numbers,) if isinstance(numbers, int) else None if numbers is None else tuple(numbers)


def _addresses(pin: str | None, family: int) -> st.SearchStrategy[str]:
    if pin is not None:
        return st.ip_addresses(network=ipaddress.ip_network(pin, strict=False)).map(str)
    drawn = st.ip_addresses(v=6 if family == 6 else 4).map(str)
    return st.sampled_from(_ADDRESSES[family]) | drawn


def _some(each: st.SearchStrategy[int], counts: Sequence[int]) -> st.SearchStrategy[list[int]]:
    """Lists of one of these lengths, which are equally likely."""
    return st.sampled_from(counts).flatmap(lambda count: st.lists(each, min_size=count, max_size=count))


def _others() -> st.SearchStrategy[bytes]:
    """What is not IP."""
    arp = st.builds(build.arp, op=st.integers(1, 2), sender=_addresses(None, 4), target=_addresses(None, 4))
    return arp | _payloads


@st.composite
def _frames(
    draw: Draw,
    stacks: tuple[tuple[int, ...] | None, tuple[int, ...] | None],
    payload: st.SearchStrategy[bytes],
    truncated: bool,
) -> Packet:
    data = draw(payload)
    vlans, labels = stacks
    if labels is None:
        labels = draw(_some(st.integers(0, 0xFFFFF), (0, 0, 0, 0, 1, 2))) if vlans is None else ()
    for label in reversed(labels):
        data = build.mpls(data, label=label)
    if vlans is None:
        vlans = draw(_some(st.sampled_from((0, 1, 100, 200, 4095)), (0, 0, 0, 1, 1, 2, 3)))
    for depth, vid in reversed(list(enumerate(vlans))):
        is_outer = len(vlans) > 1 and depth == 0
        tpid = draw(st.sampled_from((0x8100, 0x88A8))) if is_outer else 0x8100
        data = build.vlan(data, vid=vid, priority=draw(st.integers(0, 7)), tpid=tpid)
    frame = build.ethernet(data, src=draw(st.sampled_from(_MACS)), dst=draw(st.sampled_from(_MACS)))
    is_cut = truncated and draw(st.sampled_from((False, False, False, True)))
    keep = draw(st.integers(0, len(frame))) if is_cut else len(frame)
    return Packet(frame[:keep], wirelen=len(frame))


@st.composite
def _ip(
    draw: Draw, families: tuple[int, ...], transports: tuple[str, ...], pins: _Pins, is_free: bool
) -> bytes:
    family = draw(st.sampled_from(families))
    not_of_it = "icmpv6" if family == 4 else "icmp"
    name = draw(st.sampled_from([t for t in transports if t != not_of_it]))
    data = _transport(draw, name, pins)
    source, target = draw(_addresses(pins.src, family)), draw(_addresses(pins.dst, family))
    later = ((10, True), (185, False)) if is_free else ()
    offset, more = draw(st.sampled_from(((0, False), (0, False), (0, True), *later)))
    if family == 4:
        return build.ipv4(
            data,
            src=source,
            dst=target,
            options=draw(st.just(b"") | st.sampled_from((b"\1" * 4, b"\x07\x27\4" + bytes(37)))),
            offset=offset,
            more=more,
            ttl=draw(st.integers(0, 255)),
            dscp=draw(st.integers(0, 63)),
        )
    if not is_free:
        # libpcap looks for a transport protocol right behind the header.
        return build.ipv6(data, src=source, dst=target, hop_limit=draw(st.integers(0, 255)))
    if offset or more:
        data = build.ipv6_fragment(data, offset=offset, more=more)
    for header in draw(_some(st.sampled_from((60, 0)), (0, 0, 0, 1, 2))):
        data = build.ipv6_options(data, header=header, words=draw(st.integers(0, 2)))
    return build.ipv6(data, src=source, dst=target, hop_limit=draw(st.integers(0, 255)))


def _transport(draw: Draw, name: str, pins: _Pins) -> build.Layer:
    some_port = st.sampled_from(_PORTS) | st.integers(0, 65535)
    sport, dport = (draw(some_port) if port is None else port for port in (pins.sport, pins.dport))
    data = draw(_payloads if pins.payload is None else pins.payload)
    if name == "udp":
        kind = pins.tunnel or draw(st.sampled_from(_tunnels(pins)))
        if kind == "none":
            return build.udp(data, sport=sport, dport=dport)
        if pins.dport is None:
            dport = _GTPU_PORT if kind == "gtpu" else _VXLAN_PORT
        return build.udp(
            _gtpu(draw, pins) if kind == "gtpu" else _vxlan(draw, pins), sport=sport, dport=dport
        )
    if name == "tcp":
        options = draw(st.sampled_from((b"", b"\2\4\5\xb4", b"\1\1\x08\x0a" + bytes(8))))
        return build.tcp(data, sport=sport, dport=dport, flags=draw(st.integers(0, 63)), options=options)
    if name == "sctp":
        return build.sctp(data, sport=sport, dport=dport, tag=draw(st.integers(0, 0xFFFFFFFF)))
    if name in ("icmp", "icmpv6"):
        make = build.icmp if name == "icmp" else build.icmpv6
        kinds = (0, 3, 8, 11) if name == "icmp" else (1, 128, 129, 135, 136)
        return make(bytes(4) + data, type=draw(st.sampled_from(kinds)), code=draw(st.integers(0, 3)))
    if name == "gre":
        carried = draw(ip_packets(l4="udp", tunnel="none") if pins.inner is None else pins.inner)
        return build.gre(carried, key=draw(st.none() | st.integers(0, 0xFFFFFFFF)))
    layer = build.Layer(data)
    layer.protocol = draw(st.sampled_from((2, 50, 51, 89, 253)))
    return layer


def _tunnels(pins: _Pins) -> tuple[str, ...]:
    """What a datagram can carry, if that is not pinned."""
    if pins.payload is not None:
        return ("none",)
    by_port = {None: ("gtpu", "gtpu", "vxlan"), _GTPU_PORT: ("gtpu",), _VXLAN_PORT: ("vxlan",)}
    return ("none", *by_port.get(pins.dport, ()))  # what is first is simplest to hypothesis


def _gtpu(draw: Draw, pins: _Pins) -> build.Layer:
    session = st.integers(0, 63).map(lambda qfi: ((0x85, bytes((0x10, qfi))),))
    return build.gtpu(
        draw(ip_packets(tunnel="none") if pins.inner is None else pins.inner),
        teid=draw(st.integers(0, 0xFFFFFFFF)) if pins.teid is None else pins.teid,
        sequence=draw(st.none() | st.integers(0, 65535)),
        extensions=draw(st.just(()) | session),
    )


def _vxlan(draw: Draw, pins: _Pins) -> build.Layer:
    frames = st.builds(build.ethernet, ip_packets(tunnel="none"))
    return build.vxlan(
        draw(frames if pins.inner is None else pins.inner),
        vni=draw(st.integers(0, 0xFFFFFF)) if pins.vni is None else pins.vni,
    )
