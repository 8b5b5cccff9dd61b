# SPDX-License-Identifier: BSD-3-Clause
"""Speculation on the IPv4 header length: nearly every header has 20 bytes.

4 * (P[k] & 0xf), where an IPv4 header begins at k, becomes 20: what lies behind the header
is then at a fixed place. Sound: only where the Ethernet type before it (bytes k-2, k-1) was
found to be IPv4 on every way to the use, and the form sends packets that have this type and
another header length (*strays*) to the exact decisions instead. For all others the
replaced values are equal, or not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import order, parts_of, rebuild, rewrite

if TYPE_CHECKING:
    from dpcap.filters.ir import Graph, Node

Fact = tuple[int, int, int]  # of a match: offset, mask, value

_ETHERTYPE_IPV4 = (0x08, 0x00)
_WORDS_WITHOUT_OPTIONS = 5


def speculate(graph: Graph, root: Node) -> tuple[Node, list[Node]]:
    """The decisions with fixed header lengths, and the conditions of the strays."""
    facts = _facts(root)
    possible: dict[Node, int] = {}
    refused: set[Node] = set()
    for node in facts:
        if node.op != "branch":
            continue
        for part in parts_of(node.args[0]):
            k = _header_length_at(part)
            if k is None:
                continue
            possible[part] = k
            if not facts[node].issuperset(_is_ipv4(k)):
                refused.add(part)
    chosen = {part: k for part, k in possible.items() if part not in refused}
    if not chosen:
        return root, []
    words = graph.const(_WORDS_WITHOUT_OPTIONS)

    def change(node: Node, then: Node, else_: Node) -> Node:
        condition = rewrite(graph, node.args[0], lambda x: words if x in chosen else None)
        return graph.branch(condition, then, else_)

    return rebuild(root, change), [graph.stray(k) for k in sorted(set(chosen.values()))]


def _is_ipv4(k: int) -> list[Fact]:
    return [(k - 2 + i, 0xFF, byte) for i, byte in enumerate(_ETHERTYPE_IPV4)]


def _header_length_at(node: Node) -> int | None:
    """The k of P[k] & 0xf."""
    if node.op != "and" or node.args[1].op != "const" or node.args[1].args[0] != 0xF:
        return None
    load = node.args[0]
    if load.op != "load" or load.args[0] != 1 or load.args[2] is not None or load.args[1] < 2:
        return None
    return int(load.args[1])


def _facts(root: Node) -> dict[Node, frozenset[Fact]]:
    """For each decision the packet bytes that are known on all ways to it."""
    facts: dict[Node, frozenset[Fact]] = {root: frozenset()}
    for node in order(root):
        if node.op != "branch":
            continue
        condition, then, else_ = node.args
        here = facts[node]
        true = here.union(condition.args[0]) if condition.op == "match" else here
        facts[then] = facts[then] & true if then in facts else true
        facts[else_] = facts[else_] & here if else_ in facts else here
    return facts
