# SPDX-License-Identifier: BSD-3-Clause
"""Merged bounds checks: one comparison for the furthest byte that a match must have.

Sound: a packet shorter than every accepting path asks for ends in `return 0` on whatever
path it takes, since the only other ends are accepting ones. And a `has` that an earlier
one implies on all ways to it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import lengths, order, rebuild

if TYPE_CHECKING:
    from dpcap.filters.ir import Graph, Node


def required(root: Node) -> int:
    """Bytes that every packet has which is not answered with 0."""
    need: dict[Node, int | None] = {}  # None: nothing is accepted from here on
    for node in reversed(order(root)):
        if node.op == "ret":
            need[node] = None if node.args[0].op == "const" and node.args[0].args[0] == 0 else 0
            continue
        condition, then, else_ = node.args
        first = need[then]
        if first is not None and condition.op == "has" and condition.args[1] is None:
            first = max(first, condition.args[0])
        sides = [n for n in (first, need[else_]) if n is not None]
        need[node] = min(sides) if sides else None
    return need[root] or 0


def merge_checks(graph: Graph, root: Node) -> Node:
    """Ask for the required bytes first, then for no bytes that are known to be there."""
    reject = graph.ret(graph.const(0))
    return drop_known(graph, graph.branch(graph.has(required(root)), root, reject))


def drop_known(graph: Graph, root: Node, available: int = 0) -> Node:
    """Leave out what holds when the packet has ``available`` bytes at the root."""
    known = lengths(root)

    def change(node: Node, then: Node, else_: Node) -> Node:
        condition = node.args[0]
        is_length = condition.op == "has" and condition.args[1] is None
        if is_length and condition.args[0] <= max(known[node], available):
            return then
        return graph.branch(condition, then, else_)

    return rebuild(root, change)
