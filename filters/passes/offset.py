# SPDX-License-Identifier: BSD-3-Clause
"""Offset selection: one test at a place that is computed, instead of two at fixed places.

    (a and q at 34) or (b and q at 54)     becomes     (a or b) and q at (34 + (20 if b else 0))

Ports behind IPv4 and IPv6 headers are tested like this. Sound only where a and b exclude
each other, so that the computed place is the one that the side that holds asks for; where
neither holds, the test does not matter. Both places have to be in the bytes that are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import rewrite

if TYPE_CHECKING:
    from dpcap.filters.ir import Graph, Node


def select_offsets(graph: Graph, condition: Node, available: int) -> Node:
    """The condition with pairs of alternatives joined where they can be."""

    def replace(node: Node) -> Node | None:
        if node.op != "any" or len(node.args) != 2:
            return None
        return _join(graph, *node.args, available)

    return rewrite(graph, condition, replace)


def _join(graph: Graph, one: Node, other: Node, available: int) -> Node | None:
    if one.op != "all" or other.op != "all":
        return None
    for q in one.args:
        for r in other.args:
            distance = _distance(q, r)
            if not distance:
                continue
            low, rest_low, rest_high = q, _without(graph, one, q), _without(graph, other, r)
            if distance < 0:
                low, rest_low, rest_high = r, rest_high, rest_low
            moved = _moved(graph, low, graph.pick(rest_high, abs(distance)), available - abs(distance))
            if moved is not None and graph.all_([rest_low, rest_high]) is graph.false:
                return graph.all_([graph.any_([rest_low, rest_high]), moved])
    return None


def _without(graph: Graph, conjunction: Node, part: Node) -> Node:
    return graph.all_(x for x in conjunction.args if x is not part)


def _distance(q: Node, r: Node) -> int | None:
    """How much further on r does the same as q; None when it does not."""
    if q.op != r.op or len(q.args) != len(r.args):
        return None
    if q.op == "any":
        found = {_distance(x, y) for x, y in zip(q.args, r.args, strict=True)}
        return found.pop() if len(found) == 1 else None
    if q.op == "match" and len(q.args[0]) == len(r.args[0]):
        pairs = list(zip(q.args[0], r.args[0], strict=True))
        distance = int(pairs[0][1][0] - pairs[0][0][0])
        same = all(b == (a[0] + distance, a[1], a[2]) for a, b in pairs)
        return distance if same and _window(q) is not None else None
    if q.op == "in" and q.args[1] == r.args[1] and q.args[0].op == r.args[0].op == "load":
        (size, offset, index), (size_r, offset_r, index_r) = q.args[0].args, r.args[0].args
        return int(offset_r - offset) if size == size_r and index is None and index_r is None else None
    return None


def _window(match: Node) -> tuple[int, int] | None:
    """(size, offset) of the one load that is all of a match."""
    parts = match.args[0]
    size, whole = len(parts), all(mask == 0xFF for _, mask, _ in parts)
    if size in (1, 2, 4) and whole and parts[-1][0] - parts[0][0] == size - 1:
        return size, int(parts[0][0])
    return None


def _moved(graph: Graph, q: Node, index: Node, available: int) -> Node | None:
    """The same test at ``index`` further on."""
    if q.op == "any":
        sides = [_moved(graph, x, index, available) for x in q.args]
        return graph.any_(x for x in sides if x is not None) if None not in sides else None
    if q.op == "in":
        size, offset, _ = q.args[0].args
        return (
            graph.contains(graph.load(size, offset, index), q.args[1]) if offset + size <= available else None
        )
    window = _window(q)
    if window is None or sum(window) > available:
        return None
    number = int.from_bytes(bytes(value for _, _, value in q.args[0]), "big")
    return graph.eq(graph.load(*window, index), graph.const(number))
