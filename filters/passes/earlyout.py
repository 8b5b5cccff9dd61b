# SPDX-License-Identifier: BSD-3-Clause
"""Early out: what every match must have, from few bytes, is asked for first.

    c1 and c2 and rest     becomes     if c1 and c2: rest else: no match

c1, c2 are comparisons of packet bytes, or alternatives of such. Sound: they are conjuncts of
the exact condition, not of the one that takes header lengths for granted. Packets that have
not even their bytes go to the exact decisions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from dpcap.filters.ir import parts_of
from dpcap.filters.passes.ifconvert import condition_of

if TYPE_CHECKING:
    from dpcap.filters.ir import Graph, Node

# Shares of packets: so few that more need not be asked, and so many that little is gained.
_RARE: Final = 0.13
_OFTEN: Final = 0.2
# Of Ethernet types (IPv4, IPv6) and protocol numbers (TCP, UDP).
_COMMON: Final = frozenset((0x08, 0x86, 0xDD, 0x06, 0x11))


def necessary(graph: Graph, root: Node, available: int) -> Node | None:
    """What holds for every packet that the exact decisions accept, if it has ``available`` bytes.

    None when nothing is found.
    """
    condition = condition_of(graph, root)
    parts = condition.args if condition.op == "all" else (condition,)
    found = sorted((x for x in parts if _only_matches(x) and end(x) <= available), key=_cost)
    chosen: list[Node] = []
    share = 1.0
    # The cheapest that few packets pass; what most packets pass only where that is all there is.
    for often in (False, True):
        for x in found:
            if share > _RARE and (_share(x) > _OFTEN) == often:
                chosen.append(x)
                share *= _share(x)
    return graph.all_(chosen) if chosen else None


def _cost(condition: Node) -> int:
    """Places that are compared."""
    return sum(len(part.args[0]) for part in parts_of(condition) if part.op == "match")


def _share(condition: Node) -> float:
    """A guess at the share of packets for which a condition holds."""
    if condition.op == "any":
        return min(1.0, sum(map(_share, condition.args)))
    if condition.op == "all":
        return math.prod(map(_share, condition.args))
    share = 1.0
    for _, mask, value in condition.args[0]:
        share *= 0.9 if value == 0 else 0.5 if mask != 0xFF or value in _COMMON else 0.1
    return share


def end(condition: Node) -> int:
    """Bytes that a condition of matches looks at."""
    return max(int(part.args[0][-1][0]) + 1 for part in parts_of(condition) if part.op == "match")


def without(graph: Graph, condition: Node, known: Node) -> Node:
    """The condition where ``known`` holds."""
    settled = set(_conjuncts(known))
    facts = {fact for x in settled if x.op == "match" for fact in x.args[0]}
    left = []
    for x in _conjuncts(condition):
        if x.op == "match":
            left.append(graph.match(fact for fact in x.args[0] if fact not in facts))
        elif x not in settled:
            left.append(x)
    return graph.all_(left)


def _conjuncts(condition: Node) -> tuple[Node, ...]:
    return condition.args if condition.op == "all" else (condition,)


def _only_matches(condition: Node) -> bool:
    """Made of comparisons of packet bytes and alternatives of such."""
    ops = {part.op for part in parts_of(condition)}
    return "match" in ops and ops <= {"match", "any", "all"}
