# SPDX-License-Identifier: BSD-3-Clause
"""An interpreter of the intermediate representation: what explains a filter, and what passes are tested with.

It is slow and strict: a load of bytes that are not there raises, guards have to come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import FOLD, U32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpcap.filters.ir import Node


class OutOfBoundsError(Exception):
    """A load that no guard covers."""


def run(root: Node, packet: bytes, wirelen: int) -> int:
    """What the decisions return for a packet (without direction, port and queue)."""
    evaluate = Evaluation(packet, wirelen)
    node = root
    while node.op == "branch":
        condition, then, else_ = node.args
        node = then if evaluate(condition) else else_
    return evaluate(node.args[0])


class Evaluation:
    """Values and conditions for one packet. All parts are looked at, as code without branches does.

    ``metadata`` has the packet's direction, port and queue by SKF_AD_* numbers; 0 where left out.
    """

    def __init__(self, packet: bytes, wirelen: int, metadata: Mapping[int, int] | None = None) -> None:
        self.packet = packet
        self.wirelen = wirelen
        self.metadata = metadata or {}
        self.known: dict[Node, int] = {}  # parts are shared: as a tree they would be endless

    def __call__(self, node: Node) -> int:
        """The number that a value has; whether a condition holds."""
        if node not in self.known:
            self.known[node] = self._compute(node)
        return self.known[node]

    def _compute(self, node: Node) -> int:
        op, args, packet = node.op, node.args, self.packet
        if op in ("load", "clamped"):
            size, offset, index = args
            at = offset + (0 if index is None else self(index))
            if at + size > len(packet):
                if op == "clamped":
                    return 0x5A  # anything
                raise OutOfBoundsError(f"{node!r} in {len(packet)} bytes")
            return int.from_bytes(packet[at : at + size], "big")
        if op == "rank":
            offset, masks, keys, index = args
            at = offset + (0 if index is None else self(index))
            if at + len(masks) > len(packet):
                raise OutOfBoundsError(f"{node!r} in {len(packet)} bytes")
            key = bytes(b & m for b, m in zip(packet[at:], masks, strict=False))
            return int(dict(keys).get(key, U32))
        if op == "match":
            if args[0][-1][0] >= len(packet):
                raise OutOfBoundsError(repr(node))
            return all(packet[offset] & mask == wanted for offset, mask, wanted in args[0])
        if op == "stray":
            if args[0] >= len(packet):
                raise OutOfBoundsError(repr(node))
            return packet[args[0] - 2 : args[0]] == b"\x08\0" and packet[args[0]] & 0xF != 5
        if op == "has":
            return len(packet) >= int(args[0]) + (0 if args[1] is None else self(args[1]))
        if op == "const":
            return int(args[0])
        if op in ("wirelen", "meta"):
            return self.wirelen if op == "wirelen" else self.metadata.get(args[0], 0)
        if op in ("true", "false"):
            return op == "true"
        if op == "pick":
            return int(args[1]) if self(args[0]) else 0
        if op == "in":
            return bool(self(args[0]) in args[1])
        operands = [self(x) for x in args]
        if op in ("all", "any"):
            return all(operands) if op == "all" else any(operands)
        if op in ("not", "neg"):
            return not operands[0] if op == "not" else -operands[0] & U32
        a, b = operands
        if op in ("eq", "lt"):
            return a == b if op == "eq" else a < b
        return FOLD[op](a, b) & U32
