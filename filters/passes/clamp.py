# SPDX-License-Identifier: BSD-3-Clause
"""Loads that may be looked at anywhere: clamped variable-offset and far loads.

    x = index;  x &= (index + end - 1 - len) s>> 63;  load [x + offset]

Sound: where the packet has the bytes, x is the index and the load the original one. Where
it has not, x is 0 and the load gives bytes that are surely there (the form asks for
``available`` bytes first); the `has` of the original load is in the same conjunction and
fails, whatever they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpcap.filters.ir import Graph, Node


class NotClampedError(Exception):
    """Long keys of lists are not looked up where they need not be."""


def clamp(graph: Graph, condition: Node, available: int) -> Node:
    """The condition with every load safe in a packet of ``available`` bytes (at least 4).

    NotClampedError where that is not to be had.
    """

    def replace(node: Node) -> Node | None:
        if node.op == "rank" and (node.args[3] is not None or node.args[0] + len(node.args[1]) > available):
            raise NotClampedError
        if node.op == "load":
            size, offset, index = node.args
            if index is not None:
                return graph.clamped(size, offset, clamp(graph, index, available))
            return graph.clamped(size, offset, None) if offset + size > available else None
        if node.op == "match":
            near = [p for p in node.args[0] if p[0] < available]
            far = [p for p in node.args[0] if p[0] >= available]
            return graph.all_([graph.match(near), *_far(graph, far)]) if far else None
        return None

    return rewrite(graph, condition, replace)


def _far(graph: Graph, parts: list[tuple[int, int, int]]) -> Iterator[Node]:
    """Far bytes, loaded up to four at once."""
    while parts:
        start = parts[0][0]
        run = [p for p in parts if p[0] < start + 4]
        parts = parts[len(run) :]
        size = next(s for s in (1, 2, 4) if run[-1][0] < start + s)
        if size == 4 and run[-1][0] == start + 2:
            # Three bytes: the fourth need not be there.
            parts = [run.pop(), *parts]
            size = 2 if run[-1][0] > start else 1
        mask = sum(m << 8 * (start + size - 1 - o) for o, m, _ in run)
        value = sum(v << 8 * (start + size - 1 - o) for o, _, v in run)
        yield graph.eq(
            graph.alu("and", graph.clamped(size, start, None), graph.const(mask)), graph.const(value)
        )
