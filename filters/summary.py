# SPDX-License-Identifier: BSD-3-Clause
"""A packet in one line, much as tcpdump prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dpcap.filters.fields import dissect
from dpcap.filters.words import literal, number_of

if TYPE_CHECKING:
    from dpcap.filters.fields import Field

_PORTS: Final = ("tcp", "udp", "sctp")
_FLAGS: Final = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"))
_ICMP: Final = {
    ("icmp", 8): "echo request", ("icmp", 0): "echo reply", ("icmp", 3): "unreachable",
    ("icmpv6", 128): "echo request", ("icmpv6", 129): "echo reply",
    ("icmpv6", 135): "neighbor solicitation", ("icmpv6", 136): "neighbor advertisement",
}  # fmt: skip


def summarize(packet: bytes, wirelen: int | None = None) -> str:
    """Addresses, ports and what is inside of tunnels: ``IP 10.0.0.1.53 > 10.0.0.2.1024: UDP, length 6``."""
    cut = "" if wirelen in (None, len(packet)) else f" (cut to {len(packet)} of {wirelen} bytes)"
    return _Summary(packet, dissect(packet)).text("") + cut


class _Summary:
    def __init__(self, packet: bytes, fields: list[Field]) -> None:
        self._packet = packet
        whole = [field for field in fields if field.end <= len(packet)]
        self._all = whole
        self._fields = {field.name: field for field in reversed(whole)}  # of tags the outer one

    def text(self, tunnel: str) -> str:
        """What is at this level and within; the names of its fields begin with ``tunnel``."""
        tags = "".join(f"vlan {self._number(f) & 0xFFF}, " for f in self._named(f"{tunnel}vlan.id"))
        tags += "".join(f"mpls {self._number(f) >> 12}, " for f in self._named(f"{tunnel}mpls.label"))
        if f"{tunnel}arp.dst.proto_ipv4" in self._fields:
            return tags + self._arp(tunnel)
        for name, title in (("ip", "IP"), ("ipv6", "IP6")):
            if f"{tunnel}{name}.dst" in self._fields:
                return f"{tags}{title} {self._ip(tunnel, name)}"
        if f"{tunnel}eth.type" not in self._fields:
            return f"{tags}{len(self._packet)} bytes" if not tunnel else "cut"
        source, target = (self._show(f"{tunnel}eth.{side}") for side in ("src", "dst"))
        return f"{tags}{source} > {target}, type {self._show(f'{tunnel}eth.type')}"

    def _named(self, name: str) -> list[Field]:
        return [field for field in self._all if field.name == name]

    def _number(self, field: Field) -> int:
        return number_of(self._packet, field)

    def _show(self, name: str) -> str:
        field = self._fields[name]
        return literal(field, self._number(field))

    def _value(self, name: str) -> int | None:
        field = self._fields.get(name)
        return None if field is None else self._number(field)

    def _arp(self, tunnel: str) -> str:
        sender, target = (self._show(f"{tunnel}arp.{side}.proto_ipv4") for side in ("src", "dst"))
        if self._value(f"{tunnel}arp.opcode") == 1:
            return f"ARP who-has {target} tell {sender}"
        return f"ARP {sender} is-at {self._show(f'{tunnel}arp.src.hw_mac')}"

    def _ip(self, tunnel: str, name: str) -> str:
        source, target = (self._show(f"{tunnel}{name}.{side}") for side in ("src", "dst"))
        for protocol in _PORTS:
            if f"{tunnel}{protocol}.dstport" in self._fields:
                ports = [self._show(f"{tunnel}{protocol}.{side}port") for side in ("src", "dst")]
                return f"{source}.{ports[0]} > {target}.{ports[1]}: {self._transport(tunnel, protocol)}"
        for protocol, title in (("icmp", "ICMP"), ("icmpv6", "ICMP6")):
            kind = self._value(f"{tunnel}{protocol}.type")
            if kind is not None:
                return f"{source} > {target}: {title} {_ICMP.get((protocol, kind), f'type {kind}')}"
        offset = (self._value(f"{tunnel}ip.frag_offset") or 0) & 0x1FFF
        what = self._show(f"{tunnel}ip.proto" if name == "ip" else f"{tunnel}ipv6.nxt")
        return f"{source} > {target}: protocol {what}" + (f", fragment at {8 * offset}" if offset else "")

    def _transport(self, tunnel: str, protocol: str) -> str:
        if protocol == "tcp":
            flags = self._value(f"{tunnel}tcp.flags") or 0
            return f"TCP, flags [{''.join(letter for bit, letter in _FLAGS if flags & bit)}]"
        if protocol == "sctp":
            return "SCTP"
        if f"{tunnel}gtp.teid" in self._fields:
            inside = f"GTP-U teid {self._show(f'{tunnel}gtp.teid')}"
        elif f"{tunnel}vxlan.vni" in self._fields:
            inside = f"VXLAN vni {(self._value(f'{tunnel}vxlan.vni') or 0) >> 8}"
        else:
            return f"UDP, length {max(0, (self._value(f'{tunnel}udp.length') or 8) - 8)}"
        inner = f"{tunnel}inner."
        return f"{inside}: {self.text(inner)}" if any(n.startswith(inner) for n in self._fields) else inside
