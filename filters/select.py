# SPDX-License-Identifier: BSD-3-Clause
"""Instruction selection: values and conditions of the IR as values of the machine.

A condition has two machine forms. Its *difference* is zero exactly when it holds: what
conjunctions of equalities OR together. Its *sign* has bit 63 set exactly when it holds:
any boolean function of signs is made by AND, OR and NOT of whole registers, and no branch:

    equal       (a ^ b) - 1      below 2**63, so only 0 - 1 is negative
    not equal   0 - (a ^ b)
    a < b       a - b
    difference that uses bit 63:   (d - 1) & ~d
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import cbpf, plain, windows
from dpcap.filters.ir import U32, Node, upper

if TYPE_CHECKING:
    from dpcap.filters.ir import Bytes
    from dpcap.filters.machine import Machine, Value
    from dpcap.filters.tables import Found, Tables


# More operands than this are combined as a tree, so that code generation does not recurse deeply.
_LONG_CHAIN: Final = 16


# What ipv4_difference() - 1 is below for strays: only the four bits of the header length differ.
STRAYS: Final = 0xFFF
_IPV4: Final = ((0xFF, 0x08), (0xFF, 0x00))


class Difference(NamedTuple):
    """Zero exactly when a condition holds."""

    value: Value
    bits: int  # its absolute value is below 2**bits
    signed: bool = False

    @property
    def small(self) -> bool:
        """Leaves bit 63 free."""
        return self.bits < 64 and not self.signed


class Selector:
    """Makes machine values for a block in which the packet has ``available`` bytes for sure."""

    def __init__(self, machine: Machine, tables: Tables) -> None:
        self.machine = machine
        self.tables = tables
        self.available = 0
        #: Places where an IPv4 header, if that is there, has 20 bytes.
        self.fixed: frozenset[int] = frozenset()

    # Values.

    def value(self, node: Node) -> Value:
        """The value, zero-extended from 32 bits."""
        m, op, args = self.machine, node.op, node.args
        if op == "const":
            return m.imm(args[0])
        if op in ("load", "clamped"):
            return self._swapped(self.raw(node), args[0])
        if op == "wirelen":
            return m.value("low32", m.value("wire"))
        if op == "meta":
            return self._meta(args[0])
        if op == "neg":
            return m.value("neg32", self.value(args[0]))
        if op == "rank":
            # Where the key is not there, all ones.
            found = self.found(node)
            absent = m.alu("xor", self._zero(Difference(found.difference, 64)), -1)
            return m.value("low32", m.alu("or", found.rank, m.alu("arsh", absent, 63)))
        if op == "pick":
            return m.alu("and", m.alu("arsh", self.sign(args[0]), 63), args[1])
        a, b = self.value(args[0]), self.value(args[1])
        if op in ("lsh", "rsh") and args[1].op != "const":
            # By 32 and more everything is shifted out: mask with (b - 32) s>> 63.
            fits = m.alu("arsh", m.alu("sub", b, 32), 63)
            return m.alu("and", m.alu(op + "32", a, b), fits)
        if op in ("and", "rsh", "or", "xor") and (b.op != "imm" or b.args[0] < 1 << 31):
            return m.alu(op, a, b)
        if op in ("add", "lsh") and b.op == "imm" and self._fits(op, args[0], b.args[0]):
            return m.alu(op, a, b)
        return m.alu(op + "32", a, b)

    def _fits(self, op: str, a: Node, k: int) -> bool:
        """No carry leaves 32 bits: the 64-bit operation does the same, and tells the verifier more."""
        return (upper(a) + k if op == "add" else upper(a) << k) <= U32 and k < 1 << 31

    def _swapped(self, raw: Value, size: int) -> Value:
        return raw if size == 1 else self.machine.value("be", 8 * size, raw)

    def raw(self, node: Node) -> Value:
        """The bytes of a load in the machine's order."""
        size, offset, index = node.args
        m = self.machine
        if node.op == "clamped":
            return self._clamped(size, offset, index)
        if index is not None:
            return self._indexed(size, offset, self.index(index))
        if offset + size <= 1 << 15:
            return m.load(size, offset)
        return m.load(size, 0, m.value("ptr", m.imm(offset)))

    def _indexed(self, size: int, offset: int, at: Value) -> Value:
        m = self.machine
        pointer = m.value("ptr", at)
        if offset < 1 << 15:
            return m.load(size, offset, pointer)
        return m.load(size, 0, m.alu("add", pointer, offset))

    def index(self, node: Node) -> Value:
        """An index that has(end, index) is about: computed once, as the verifier follows it."""
        value = self.value(node)
        self.machine.sticky.add(value)
        return value

    def _clamped(self, size: int, offset: int, index: Node | None) -> Value:
        """Load from the place if the packet has it, else from one that it surely has.

        x = index (or the distance from a safe place), x &= (x + offset + size - 1 - len) s>> 63.
        """
        m = self.machine
        safe = offset if index is not None and offset + size <= self.available else 0
        if index is None:
            x = m.imm(offset)
        else:
            x = self.index(index) if safe == offset else m.alu("add", self.index(index), offset)
        inside = m.alu("sub", m.alu("add", x, safe + size - 1), m.value("len"))
        return m.load(size, safe, m.value("ptr", m.alu("and", x, m.alu("arsh", inside, 63))))

    def _meta(self, which: int) -> Value:
        m = self.machine
        meta = m.value("meta")
        if which == cbpf.SKF_AD_PKTTYPE:
            outbound = m.alu("and", meta, plain.META_OUTBOUND)
            return m.alu("lsh", outbound, (plain.PACKET_OUTGOING // plain.META_OUTBOUND).bit_length() - 1)
        if which == cbpf.SKF_AD_IFINDEX:
            return m.alu("and", m.alu("rsh", meta, plain.META_PORT_SHIFT), 0xFFFF)
        if which == cbpf.SKF_AD_QUEUE:
            return m.alu("and", m.alu("rsh", meta, plain.META_QUEUE_SHIFT), 0xFFFF)
        return m.imm(0)

    def found(self, node: Node) -> Found:
        """The lookup of packet bytes in a table of keys."""
        offset, masks, keys, index = node.args
        m = self.machine
        base = None if index is None else m.value("ptr", self.index(index))
        words: list[Value] = []
        for start in range(0, len(masks), 8):
            parts, at = [], start
            while at < min(start + 8, len(masks)):
                size = next(n for n in (8, 4, 2, 1) if at + n <= min(start + 8, len(masks)))
                part = m.load(size, offset + at, base)
                parts.append(m.alu("lsh", part, 8 * (at - start)) if at > start else part)
                at += size
            word, mask = self._fold("or", parts), int.from_bytes(masks[start : start + 8], "little")
            full = (1 << 8 * (at - start)) - 1
            words.append(word if mask == full else m.alu("and", word, m.imm(mask)))
        ranks = {
            tuple(int.from_bytes(key[i : i + 8], "little") for i in range(0, len(key), 8)): place
            for key, place in keys
        }
        return self.tables.find(m, words, ranks)

    # Conditions.

    def difference(self, node: Node) -> Difference | None:
        """Zero exactly when the condition holds; None for one that is no equality."""
        m, op, args = self.machine, node.op, node.args
        if op == "not" and (rank := absence(args[0])) is not None:
            return Difference(self.found(rank).difference, 64)
        if op == "match":
            return self._match(args[0])
        if op == "eq":
            a, b = args
            if absence(node) is not None:
                return None  # its contrary has one
            if b.op == "const" and a.op in ("load", "clamped"):
                size = a.args[0]
                swapped = int.from_bytes(b.args[0].to_bytes(8, "big")[8 - size :], "little")
                if b.args[0] >> 8 * size:
                    return None
                return Difference(m.alu("xor32", self.raw(a), swapped), 8 * size)
            if b.op == "const":
                return Difference(m.alu("xor32", self.value(a), b.args[0]), 32)
            return Difference(m.alu("xor", self.value(a), self.value(b)), 32)
        if op == "in":
            return Difference(self.tables.difference(self, *args), 32)
        if op == "all":
            parts = [self.difference(x) for x in args]
            known = [p for p in parts if p is not None]
            if len(known) < len(parts):
                return None
            bits, signed = max(p.bits for p in known), any(p.signed for p in known)
            return Difference(self._fold("or", [p.value for p in known]), bits, signed)
        if op == "any" and all(self.difference(x) is not None for x in args):
            products = self._products(list(args))
            return products[0] if len(products) == 1 else None
        return None

    def _subtracted(self, conditions: tuple[Node, ...]) -> list[Difference]:
        """The differences of comparisons of the same bytes; [] where they are not.

        x - k can be had from x, which stays, in one instruction (`lea`); x ^ k takes a copy too.
        """
        m = self.machine
        chosen = [windows.choose(x.args[0], self.available) for x in conditions if x.op == "match"]
        if len(chosen) < len(conditions) or any(len(found) != 1 for found in chosen):
            return []
        ws = [found[0] for found in chosen]
        if len({(w.size, w.offset, w.shift, w.mask) for w in ws}) > 1:
            return []
        if ws[0].size == 8 or ws[0].shift or any(w.value >= 1 << 31 for w in ws):
            return []
        x = m.load(ws[0].size, ws[0].offset)
        if ws[0].mask is not None:
            x = m.alu("and32", x, ws[0].mask)
        return [Difference(m.alu("add", x, -w.value), ws[0].bits, signed=True) for w in ws]

    def ipv4_difference(self, k: int) -> Value:
        """Zero where an IPv4 header of 20 bytes is at k; below 0x1000 where another IPv4 header is."""
        m = self.machine
        head = m.value("be", 32, m.load(4, k - 2))
        difference = m.alu("xor32", m.alu("and32", head, 0xFFFF_0F00), 0x0800_0500)
        m.sticky.add(difference)  # more blocks than this one use it
        return difference

    def _match(self, parts: Bytes) -> Difference:
        m = self.machine
        found: list[Value] = []
        bits = 0
        for k in self.fixed:
            type_ = {(k - 2 + i, *byte) for i, byte in enumerate(_IPV4)}
            if type_.issubset(parts):
                found.append(self.ipv4_difference(k))
                parts = tuple(p for p in parts if p not in type_)
                bits = 32
        for w in windows.choose(parts, max(self.available, parts[-1][0] + 1)) if parts else []:
            d = m.load(w.size, w.offset)
            wide = "" if w.size == 8 else "32"
            if w.shift:
                d = m.alu("rsh", d, w.shift)
            if w.mask is not None:
                d = m.alu("and" + wide, d, m.imm(w.mask))
            if w.value:
                d = m.alu("xor" + wide, d, m.imm(w.value))
            bits = max(bits, w.bits)
            found.append(d)
        return Difference(self._fold("or", found), bits)

    def sign(self, node: Node) -> Value:
        """Bit 63 is set exactly when the condition holds."""
        m, op, args = self.machine, node.op, node.args
        if op == "not" and absence(args[0]) is None:
            return self._sign_of_not(args[0])
        if (rank := absence(node)) is not None:
            return m.alu("xor", self._zero(Difference(self.found(rank).difference, 64)), -1)
        if op == "match" and (bit := _single_bit(args[0])) is not None and args[0][0][2]:
            return m.alu("lsh", m.load(1, args[0][0][0]), 63 - bit)
        found = self.difference(node)
        if found is not None:
            return self._zero(found)
        if op == "lt":
            return self._less(*args)
        if op == "has":
            end, index = args
            if index is None:
                return m.alu("sub", m.imm(end - 1), m.value("len"))
            return m.alu("sub", m.alu("add", self.index(index), end - 1), m.value("len"))
        if op == "all":
            return self._all(args)
        if op == "any":
            return self._any(args)
        return m.imm(-1 if op == "true" else 0)

    def _less(self, a: Node, b: Node) -> Value:
        m = self.machine
        if b.op == "const":
            return m.alu("add", self.value(a), -b.args[0])
        return m.alu("sub", self.value(a), self.value(b))

    def _sign_of_not(self, x: Node) -> Value:
        m = self.machine
        if x.op == "match" and (bit := _single_bit(x.args[0])) is not None and not x.args[0][0][2]:
            return m.alu("lsh", m.load(1, x.args[0][0][0]), 63 - bit)
        found = self.difference(x)
        if found is not None and found.small:
            return m.value("neg", found.value)
        if x.op == "lt":
            a, b = x.args  # b <= a: b - a - 1 < 0
            if a.op == "const":
                return m.alu("add", self.value(b), -a.args[0] - 1)
            if b.op != "const":
                return m.alu("sub", m.alu("add", self.value(b), -1), self.value(a))
        return m.alu("xor", self.sign(x), -1)

    def _all(self, parts: tuple[Node, ...]) -> Value:
        """Equalities become one difference first."""
        found = [self.difference(x) for x in parts]
        signs = [self.sign(x) for x, d in zip(parts, found, strict=True) if d is None]
        differences = [d for d in found if d is not None]
        if differences:
            total = self._fold("or", [d.value for d in differences])
            bits, is_signed = max(d.bits for d in differences), any(d.signed for d in differences)
            signs.insert(0, self._zero(Difference(total, bits, is_signed)))
        return self._fold("and", signs)

    def _any(self, parts: tuple[Node, ...]) -> Value:
        """Inequalities become one difference, not zero when one of them holds; equalities become products."""
        m = self.machine
        unequal: list[Value] = []
        equal: list[Node] = []
        signs: list[Value] = []
        for x in parts:
            found = self.difference(x.args[0]) if x.op == "not" else None
            if found is not None and found.small:
                unequal.append(found.value)
            elif x.op in ("match", "eq") and self.difference(x) is not None:
                equal.append(x)
            else:
                signs.append(self.sign(x))
        if unequal:
            signs.insert(0, m.value("neg", self._fold("or", unequal)))
        return self._fold("or", [*signs, *map(self._zero, self._products(equal))])

    def _zero(self, d: Difference) -> Value:
        """Bit 63 is set exactly when it is zero."""
        less = self.machine.alu("add", d.value, -1)
        return less if d.small else self.machine.alu("and", less, self.machine.alu("xor", d.value, -1))

    def _products(self, conditions: list[Node]) -> list[Difference]:
        """Differences of which one is zero when one of the conditions holds: as few as 64 bits allow.

        A product is zero when one of its factors is.
        """
        same: dict[object, list[Node]] = {}
        for x in conditions:
            at = tuple((o, mask) for o, mask, _ in x.args[0]) if x.op == "match" else x
            same.setdefault(at, []).append(x)
        made: list[Difference] = []
        for group in same.values():
            subtracted = self._subtracted(tuple(group)) if len(group) > 1 else []
            made += subtracted or [d for x in group if (d := self.difference(x)) is not None]
        products: list[Difference] = []
        for d in made:
            if products and products[-1].bits + d.bits <= 64:
                last = products.pop()
                value = self.machine.alu("mul", last.value, d.value)
                products.append(Difference(value, last.bits + d.bits, last.signed or d.signed))
            else:
                products.append(d)
        return products

    def _fold(self, op: str, values: list[Value]) -> Value:
        """All values under one operation; a tree where a chain would be deep."""
        if len(values) > _LONG_CHAIN:
            middle = len(values) // 2
            return self.machine.alu(op, self._fold(op, values[:middle]), self._fold(op, values[middle:]))
        total = values[0]
        for value in values[1:]:
            total = self.machine.alu(op, total, value)
        return total


def absence(condition: Node) -> Node | None:
    """The rank that the condition says is none: the key is not there."""
    if condition.op == "eq" and condition.args[0].op == "rank" and condition.args[1].op == "const":
        return condition.args[0] if condition.args[1].args[0] == U32 else None
    return None


def _single_bit(parts: Bytes) -> int | None:
    """The number of the bit that a match looks at, if it is one only."""
    mask = parts[0][1]
    return mask.bit_length() - 1 if len(parts) == 1 and mask & (mask - 1) == 0 else None
