# SPDX-License-Identifier: BSD-3-Clause
"""An interpreter of the compiler's intermediate representation, slow and strict.

A load of bytes that are not there raises: guards have to come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpcap.filters.ir import Node

_U32 = 0xFFFF_FFFF
_ALU = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "lsh": lambda a, b: a << b if b < 32 else 0,
    "rsh": lambda a, b: a >> b if b < 32 else 0,
}


class OutOfBoundsError(Exception):
    """A load that no guard covers."""


def run(root: Node, packet: bytes, wirelen: int) -> int:
    """What the decisions return for a packet (without direction, port and queue)."""
    evaluate = _Evaluation(packet, wirelen)
    node = root
    while node.op == "branch":
        condition, then, else_ = node.args
        node = then if evaluate(condition) else else_
    return evaluate(node.args[0])


class _Evaluation:
    """Values and conditions for one packet. All parts are looked at, as code without branches does."""

    def __init__(self, packet: bytes, wirelen: int) -> None:
        self.packet = packet
        self.wirelen = wirelen
        self.known: dict[Node, int] = {}  # parts are shared: as a tree they would be endless

    def __call__(self, node: Node) -> int:
        if node not in self.known:
            self.known[node] = self.compute(node)
        return self.known[node]

    def compute(self, node: Node) -> int:
        op, args, packet = node.op, node.args, self.packet
        if op in ("load", "clamped"):
            size, offset, index = args
            at = offset + (0 if index is None else self(index))
            if at + size > len(packet):
                if op == "clamped":
                    return 0x5A  # anything
                raise OutOfBoundsError(f"{node!r} in {len(packet)} bytes")
            return int.from_bytes(packet[at : at + size], "big")
        if op == "match":
            if args[0][-1][0] >= len(packet):
                raise OutOfBoundsError(repr(node))
            return all(packet[offset] & mask == wanted for offset, mask, wanted in args[0])
        if op == "stray":
            if args[0] >= len(packet):
                raise OutOfBoundsError(repr(node))
            return packet[args[0] - 2 : args[0]] == b"\x08\0" and packet[args[0]] & 0xF != 5
        if op == "has":
            return len(packet) >= args[0] + (0 if args[1] is None else self(args[1]))
        simple = {"const": lambda: args[0], "wirelen": lambda: self.wirelen, "meta": lambda: 0}
        simple |= {"true": lambda: True, "false": lambda: False}
        if op in simple:
            return simple[op]()
        if op == "in":
            return self(args[0]) in args[1]
        operands = [self(x) for x in args]
        if op in ("all", "any"):
            return all(operands) if op == "all" else any(operands)
        if op in ("not", "neg"):
            return not operands[0] if op == "not" else -operands[0] & _U32
        a, b = operands
        if op in ("eq", "lt"):
            return a == b if op == "eq" else a < b
        return _ALU[op](a, b) & _U32
