# SPDX-License-Identifier: BSD-3-Clause
"""Implied tests: what an earlier test of the same bytes has settled is not asked again.

libpcap without its optimiser asks for the Ethernet type before each primitive. Decisions
are followed with what is known on the way: bytes that matched, and matches that failed.
Where two ways meet with different knowledge that still matters, what follows is there
twice; if that happens too often, the decisions stay as they were.

Sound: on each way only tests are left out whose result that way determines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dpcap.filters.ir import order

if TYPE_CHECKING:
    from dpcap.filters.ir import Graph, Node

# Followed recursively: not for graphs deeper than this.
_MOST_DECISIONS = 400
_GROWTH = 4

Bytes = tuple[tuple[int, int, int], ...]


class _Facts(NamedTuple):
    true: frozenset[tuple[int, int, int]]  # bytes: offset, mask, value
    false: frozenset[Node]  # matches


class _TooManyError(Exception):
    pass


def drop_implied(graph: Graph, root: Node) -> Node:
    """The decisions without tests whose result is known."""
    decisions = order(root)
    if len(decisions) > _MOST_DECISIONS:
        return root
    below = _tested_below(decisions)
    made: dict[tuple[Node, _Facts], Node] = {}

    def follow(node: Node, facts: _Facts) -> Node:
        if node.op != "branch":
            return node
        offsets, matches = below[node]
        facts = _Facts(
            frozenset(f for f in facts.true if f[0] in offsets),
            frozenset(f for f in facts.false if f in matches),
        )
        done = made.get((node, facts))
        if done is not None:
            return done
        if len(made) > _GROWTH * len(decisions):
            raise _TooManyError
        condition, then, else_ = node.args
        result = _known(condition, facts)
        if result is not None:
            new = follow(then if result else else_, facts)
        elif condition.op == "match":
            yes = follow(then, _Facts(facts.true | set(condition.args[0]), facts.false))
            no = follow(else_, _Facts(facts.true, facts.false | {condition}))
            new = graph.branch(condition, yes, no)
        else:
            new = graph.branch(condition, follow(then, facts), follow(else_, facts))
        made[node, facts] = new
        return new

    try:
        return follow(root, _Facts(frozenset(), frozenset()))
    except _TooManyError:
        return root


def _tested_below(decisions: list[Node]) -> dict[Node, tuple[frozenset[int], frozenset[Node]]]:
    """The offsets and the matches that a decision and all after it look at."""
    below: dict[Node, tuple[frozenset[int], frozenset[Node]]] = {}
    nothing: tuple[frozenset[int], frozenset[Node]] = frozenset(), frozenset()
    for node in reversed(decisions):
        if node.op != "branch":
            below[node] = nothing
            continue
        condition, then, else_ = node.args
        offsets = below[then][0] | below[else_][0]
        matches = below[then][1] | below[else_][1]
        if condition.op == "match":
            offsets |= {offset for offset, _, _ in condition.args[0]}
            matches |= {condition}
        below[node] = offsets, matches
    return below


def _known(condition: Node, facts: _Facts) -> bool | None:
    """What the facts say of a condition."""
    if condition.op != "match":
        return None
    if condition in facts.false:
        return False
    parts: Bytes = condition.args[0]
    known: dict[int, tuple[int, int]] = {}
    for offset, mask, value in facts.true:
        m, v = known.get(offset, (0, 0))
        known[offset] = m | mask, v | value
    settled = True
    for offset, mask, value in parts:
        m, v = known.get(offset, (0, 0))
        if (v ^ value) & m & mask:
            return False
        settled = settled and not mask & ~m
    return True if settled else None
