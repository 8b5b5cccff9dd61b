# SPDX-License-Identifier: BSD-3-Clause
"""Sets: many tests of one value become one lookup in a table.

In a chain of decisions that all go to the same place when they hold,

    if c1: T else if c2: T else if c3: T ... else E

the order does not matter, as conditions are pure; sound only where no `has` stands between,
so that the loads of all are as safe as those of the first. Tests of the same bytes are
brought together, and from a few on they become `in`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import lengths, order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpcap.filters.ir import Graph, Node

# A lookup costs about seven instructions, a test of a loaded value two.
_FROM = 5


def find_sets(graph: Graph, root: Node, *, merge: bool) -> Node:
    """Replace chains of equality tests, from the last decision to the first.

    With ``merge`` each chain becomes one decision, whatever it tests.
    """
    decisions = order(root)
    known = lengths(root)
    ways_to: dict[Node, int] = {}
    for node in decisions:
        if node.op == "branch":
            for target in node.args[1:]:
                ways_to[target] = ways_to.get(target, 0) + 1
    new: dict[Node, Node] = {}
    # What a decision begins: the conditions of its chain, where they go, and where it ends.
    chains: dict[Node, tuple[list[Node], Node, Node]] = {}

    def close(node: Node) -> None:
        """Make the decisions of the chain that a node begins."""
        if node in new:
            return
        conditions, then, else_ = chains[node]
        close(then)
        close(else_)
        made = new[else_]
        groups = grouped(graph, reversed(conditions))
        for condition in [graph.any_(groups)] if merge else reversed(groups):
            made = graph.branch(condition, new[then], made)
        new[node] = made

    for node in reversed(decisions):
        if node.op != "branch":
            new[node] = node
            continue
        condition, then, else_ = node.args
        if condition.op in ("match", "eq"):
            follows = chains.get(else_)
            joins = ways_to[else_] == 1 and known[else_] == known[node]
            if follows is not None and follows[1] is then and joins:
                # Built from the end: the first test comes last.
                chains[node] = follows
                follows[0].append(condition)
                continue
            close(then)
            close(else_)
            chains[node] = [condition], then, else_
            continue
        for target in (then, else_):
            close(target)
        new[node] = graph.branch(condition, new[then], new[else_])
    close(root)
    return new[root]


def grouped(graph: Graph, conditions: Iterable[Node]) -> list[Node]:
    """The same alternatives, those that test the same value as one."""
    groups: dict[object, list[Node]] = {}
    for condition in conditions:
        groups.setdefault(_tested(condition), []).append(condition)
    result: list[Node] = []
    for key, members in groups.items():
        if key is None or len(members) < _FROM:
            result.extend(members)
        else:
            result.append(_as_set(graph, members))
    return result


def _tested(condition: Node) -> object:
    """What a condition compares with a constant: the bytes and masks, or the value."""
    if condition.op == "match":
        parts = condition.args[0]
        if parts[-1][0] - parts[0][0] < 4:
            return tuple((offset, mask) for offset, mask, _ in parts)
    elif condition.op == "eq" and condition.args[1].op == "const":
        return condition.args[0]
    return None


def _as_set(graph: Graph, members: list[Node]) -> Node:
    first = members[0]
    if first.op == "eq":
        return graph.contains(first.args[0], (m.args[1].args[0] for m in members))
    parts = first.args[0]
    start, span = parts[0][0], parts[-1][0] + 1 - parts[0][0]
    size = next(s for s in (1, 2, 4) if s >= span)
    # Three bytes: with the one before, as the one behind need not be there.
    start -= size - span

    def number(field: int, match: Node) -> int:
        return sum(part[field] << 8 * (start + size - 1 - part[0]) for part in match.args[0])

    load = graph.load(size, start)
    mask = number(1, first)
    value = load if mask == (1 << 8 * size) - 1 else graph.alu("and", load, graph.const(mask))
    return graph.contains(value, (number(2, m) for m in members))
