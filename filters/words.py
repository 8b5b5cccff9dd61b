# SPDX-License-Identifier: BSD-3-Clause
"""Conditions in the words of Wireshark's display filters: ``udp.dstport == 2152``.

What a byte is depends on the packet, so a condition is told for one packet: its fields name
the bytes that are looked at, and places that are computed are computed for it.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import cbpf, ir, plain
from dpcap.filters.evaluate import Evaluation, OutOfBoundsError
from dpcap.filters.fields import Field, dissect, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpcap.filters.ir import Node

_MAC: Final = ("eth.dst", "eth.src", "hw_mac")
_IPV4: Final = ("ip.src", "ip.dst", "proto_ipv4")
_IPV6: Final = ("ipv6.src", "ipv6.dst")
_HEXADECIMAL: Final = (
    "eth.type", "vlan.etype", "proto.type", "dsfield", "checksum", "flags", "flow", "teid", "message", "tag",
)  # fmt: skip
# Fields that are only some of the bits of their bytes: mask and shift.
_BITS: Final = {
    "vlan.id": (0x0FFF, 0),
    "ip.frag_offset": (0x1FFF, 0),
    "mpls.label": (0xFFFF_F000, 12),
    "vxlan.vni": (0xFFFF_FF00, 8),
}
_BITWISE: Final = ("and", "or", "xor")  # with numbers in hexadecimal
_META: Final = {
    cbpf.SKF_AD_PKTTYPE: "direction",
    cbpf.SKF_AD_IFINDEX: "port",
    cbpf.SKF_AD_QUEUE: "queue",
    cbpf.SKF_AD_VLAN_TAG: "stripped vlan tag",
    cbpf.SKF_AD_VLAN_TAG_PRESENT: "has stripped vlan tag",
}
_LARGEST_DECIMAL: Final = 4  # bytes
_FRAME: Final = "frame"  # bytes that belong to no known field


class Words(NamedTuple):
    """A condition in words, and what the packet has there."""

    test: str  # udp.dstport == 2152
    subject: str  # udp.dstport
    value: str  # 1024; empty where the packet is too short to tell
    fields: tuple[str, ...]  # names of the fields that are looked at


class Narrator:
    """Tells conditions about one packet."""

    def __init__(self, evaluate: Evaluation, fields: list[Field] | None = None) -> None:
        self.evaluate = evaluate
        self.packet = evaluate.packet
        self.fields = dissect(self.packet) if fields is None else fields

    def tell(self, condition: Node) -> Words:
        """The condition in words. What cannot be computed for this packet stays as ir.show() has it."""
        try:
            subject, relation, value = self._parts(condition)
        except (OutOfBoundsError, ZeroDivisionError):
            return Words(ir.show(condition), ir.show(condition), "", ())
        return Words(f"{subject}{relation}", subject, value, self._names(condition))

    def _parts(self, condition: Node) -> tuple[str, str, str]:
        """Subject, what is asked of it, and what it is."""
        op, args = condition.op, condition.args
        if op == "has":
            end = args[0] + (0 if args[1] is None else self.evaluate(args[1]))
            return "frame.cap_len", f" >= {end}", str(len(self.packet))
        if op == "match":
            return self._match(args[0])
        if op == "eq":
            return self._equal(*args)
        if op == "lt":
            a, b = args
            if a.op == "const":
                return self._compare(b, ">", a)
            return self._compare(a, "<", b)
        return ir.show(condition), "", ""

    def _equal(self, a: Node, b: Node) -> tuple[str, str, str]:
        if a.op == "meta" and a.args[0] == cbpf.SKF_AD_PKTTYPE and b.op == "const":
            outbound = self.evaluate(a) == plain.PACKET_OUTGOING
            side = "outbound" if b.args[0] == plain.PACKET_OUTGOING else "inbound"
            return "direction", f" == {side}", "outbound" if outbound else "inbound"
        bits = self._bits(a) if b.op == "const" else None
        if bits is None:
            return self._compare(a, "==", b)
        parts = _parts_of(bits, b.args[0])
        return self._match(parts) if parts else self._compare(a, "==", b)

    def matched(self, condition: Node) -> ir.Bytes:
        """What the packet's bytes are where a condition holds, as far as it says."""
        if condition.op == "match":
            found: ir.Bytes = condition.args[0]
            return found
        if condition.op != "eq" or condition.args[1].op != "const":
            return ()
        try:
            bits = self._bits(condition.args[0])
        except (OutOfBoundsError, ZeroDivisionError):
            return ()
        return () if bits is None else _parts_of(bits, condition.args[1].args[0])

    def _bits(self, a: Node) -> tuple[int, int, int, int] | None:
        """(size, offset, mask, shift) when a = (packet bytes & mask) >> shift."""
        if a.op == "load":
            size, offset, index = a.args
            at = offset + (0 if index is None else self.evaluate(index))
            return size, at, (1 << 8 * size) - 1, 0
        if a.op in ("and", "rsh") and a.args[1].op == "const":
            bits = self._bits(a.args[0])
            if bits is not None:
                size, at, mask, shift = bits
                k = a.args[1].args[0]
                if a.op == "and":
                    return size, at, mask & k << shift, shift
                shift += k
                return size, at, mask >> shift << shift, shift
        return None

    def _compare(self, a: Node, relation: str, b: Node) -> tuple[str, str, str]:
        form = self._format_of(a)
        other = form(b.args[0]) if b.op == "const" else _bare(self._value(b))
        try:
            value = form(self.evaluate(a))
        except ZeroDivisionError:
            value = ""
        return _bare(self._value(a)), f" {relation} {other}", value

    def _format_of(self, a: Node) -> Callable[[int], str]:
        if a.op == "load":
            found = self._span(a)
            if found is not None and (found.end - found.start) == a.args[0]:
                return lambda number: literal(found, number)
        return str

    def _span(self, load: Node) -> Field | None:
        """The field that a load is within."""
        size, offset, index = load.args
        at = offset + (0 if index is None else self.evaluate(index))
        return next((f for f in self.fields if f.start <= at and at + size <= f.end), None)

    def _value(self, node: Node) -> str:
        """A value with fields named."""
        op, args = node.op, node.args
        if op == "load":
            size, offset, index = args
            at = offset + (0 if index is None else self.evaluate(index))
            found = self._span(node)
            if found is None:
                return _slice(Field(_FRAME, 0, at + size), at, size)
            return found.name if found.end - found.start == size else _slice(found, at, size)
        if op == "const":
            return str(args[0])
        if op == "wirelen":
            return "frame.len"
        if op == "meta":
            return _META.get(args[0], f"meta {args[0]}")
        if op in ir.INFIX and len(args) == 2:
            right = ir.show(args[1]) if op in _BITWISE and args[1].op == "const" else self._value(args[1])
            return f"({self._value(args[0])} {ir.INFIX[op]} {right})"
        return ir.show(node)

    def _match(self, parts: ir.Bytes) -> tuple[str, str, str]:
        told = [self._field_match(field, of_field) for field, of_field in self._by_field(parts)]
        subject, relation, value = told[0]
        if len(told) == 1:
            return subject, relation, value
        rest = " and ".join(s + r for s, r, _ in told[1:])
        return subject, f"{relation} and {rest}", ", ".join(v for _, _, v in told)

    def _by_field(self, parts: ir.Bytes) -> Iterator[tuple[Field, ir.Bytes]]:
        frame = Field(_FRAME, 0, 1 + max(offset for offset, _, _ in parts))
        groups: dict[Field, list[tuple[int, int, int]]] = {}
        for part in parts:
            field = next((f for f in self.fields if f.start <= part[0] < f.end), frame)
            groups.setdefault(field, []).append(part)
        for field, found in groups.items():
            yield field, tuple(found)

    def _field_match(self, field: Field, parts: ir.Bytes) -> tuple[str, str, str]:
        first, last = parts[0][0], parts[-1][0] + 1
        size = field.end - field.start
        mask = sum(m << 8 * (field.end - 1 - at) for at, m, _ in parts)
        wanted = sum(v << 8 * (field.end - 1 - at) for at, _, v in parts)
        there = number_of(self.packet, field)
        whole = (1 << 8 * size) - 1
        if field.name != _FRAME:
            if mask == whole:
                return field.name, f" == {literal(field, wanted)}", literal(field, there)
            if _BITS.get(_base(field.name), (0, 0))[0] == mask:
                shift = _BITS[_base(field.name)][1]
                return field.name, f" == {wanted >> shift}", str((there & mask) >> shift)
            prefix = _prefix(mask, 8 * size)
            if prefix is not None and field.name.endswith((*_IPV4, *_IPV6)):
                return field.name, f" == {literal(field, wanted)}/{prefix}", literal(field, there)
        down = 8 * (field.end - last)
        part = (1 << 8 * (last - first)) - 1
        name = field.name if last - first == size else _slice(field, first, last - first)
        if mask >> down == part:
            return (
                name,
                f" == {_bytes(wanted >> down, last - first)}",
                _bytes(there >> down & part, last - first),
            )
        digits = 2 * (last - first)
        under = f"{mask >> down:#0{digits + 2}x}"
        return (
            f"{name} & {under}",
            f" == {wanted >> down:#0{digits + 2}x}",
            f"{(there & mask) >> down:#0{digits + 2}x}",
        )

    def _names(self, condition: Node) -> tuple[str, ...]:
        offsets = sorted(self.offsets(condition))
        return tuple(dict.fromkeys(name_of(self.fields, at) for at in offsets))

    def offsets(self, condition: Node) -> Iterator[int]:
        """The bytes of the packet that a condition is about."""
        if condition.op == "has":
            end, index = condition.args
            yield end + (0 if index is None else self.evaluate(index)) - 1
            return
        for part in _operands(condition):
            if part.op == "match":
                yield from (offset for offset, _, _ in part.args[0])
            elif part.op == "load":
                size, offset, index = part.args
                at = offset + (0 if index is None else self.evaluate(index))
                yield from range(at, at + size)


def _parts_of(bits: tuple[int, int, int, int], number: int) -> ir.Bytes:
    """The match for ``bits == number``; nothing where that cannot be."""
    size, at, mask, shift = bits
    number <<= shift
    if number & ~mask:
        return ()
    pairs = zip(mask.to_bytes(size, "big"), number.to_bytes(size, "big"), strict=True)
    return tuple((at + i, m, v) for i, (m, v) in enumerate(pairs) if m)


def _operands(condition: Node) -> Iterator[Node]:
    """What a condition is made of, but for how the places of its loads are computed."""
    yield condition
    if condition.op != "load":
        for part in condition.nodes:
            yield from _operands(part)


def number_of(packet: bytes, field: Field) -> int:
    """What a packet has in a field, with zeros for bytes that are cut off."""
    return int.from_bytes(packet[field.start : field.end].ljust(field.end - field.start, b"\0"), "big")


def literal(field: Field, number: int) -> str:
    """A number as the field's values are written in a display filter."""
    size = field.end - field.start
    data = number.to_bytes(max(size, (number.bit_length() + 7) // 8), "big")
    if field.name.endswith(_MAC):
        return data.hex(":")
    if field.name.endswith(_IPV6) and len(data) == 16:
        return str(ipaddress.IPv6Address(data))
    if field.name.endswith(_IPV4) and len(data) == 4:
        return str(ipaddress.IPv4Address(data))
    if field.name.endswith(_HEXADECIMAL):
        return f"{number:#0{2 * size + 2}x}"
    return str(number) if size <= _LARGEST_DECIMAL else data.hex(":")


def _bare(text: str) -> str:
    return text[1:-1] if text.startswith("(") else text


def _base(name: str) -> str:
    return name.rpartition("inner.")[2]


def _prefix(mask: int, bits: int) -> int | None:
    """The length of the prefix that a netmask leaves."""
    length = mask.bit_count()
    return length if mask == (1 << bits) - (1 << bits - length) else None


def _bytes(number: int, size: int) -> str:
    return f"{number:#04x}" if size == 1 else number.to_bytes(size, "big").hex(":")


def _slice(field: Field, at: int, size: int) -> str:
    """Some bytes of a field, as Wireshark writes it."""
    return f"{field.name}[{at - field.start}]" if size == 1 else f"{field.name}[{at - field.start}:{size}]"
