# SPDX-License-Identifier: BSD-3-Clause
"""Each pass by itself, and what it has to keep: the results of libpcap's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import assume

from dpcap.filters import evaluate, libpcap
from dpcap.filters.build import TooManyPathsError, build
from dpcap.filters.ir import Graph, Node, text
from dpcap.filters.passes import bounds, clamp, earlyout, ifconvert, ihl, implied, offset, sets

if TYPE_CHECKING:
    from dpcap.filters.cbpf import Program

Pass = Callable[[Graph, Node], Node]

AVAILABLE = 60


def merge_checks(graph: Graph, root: Node) -> Node:
    """One length check for what every match must have."""
    return bounds.merge_checks(graph, root)


def drop_known(graph: Graph, root: Node) -> Node:
    """Length checks below what every packet has."""
    return bounds.drop_known(graph, root, AVAILABLE)


def speculate(graph: Graph, root: Node) -> Node:
    """Fixed header lengths, strays told apart."""
    fixed, strays = ihl.speculate(graph, root)
    for stray in strays:
        fixed = graph.branch(graph.has(stray.args[0] + 1), graph.branch(stray, root, fixed), root)
    return fixed


def find_sets(graph: Graph, root: Node) -> Node:
    """Tests of the same value together."""
    return sets.find_sets(graph, root, merge=False)


def merge_chains(graph: Graph, root: Node) -> Node:
    """Each chain as one decision."""
    return sets.find_sets(graph, root, merge=True)


def drop_implied(graph: Graph, root: Node) -> Node:
    """No test that an earlier one settles."""
    return implied.drop_implied(graph, root)


def if_convert(graph: Graph, root: Node) -> Node:
    """With clamping, without which the loads of both sides would not be safe, and offset selection."""
    value = ifconvert.accepted_value(root)
    if value is None:
        return root
    condition = clamp.clamp(graph, ifconvert.condition_of(graph, root), AVAILABLE)
    condition = offset.select_offsets(graph, condition, AVAILABLE)
    return graph.branch(condition, graph.ret(value), graph.ret(graph.const(0)))


def early_out(graph: Graph, root: Node) -> Node:
    """What every match must have first, then everything."""
    first = earlyout.necessary(graph, root, AVAILABLE)
    if first is None:
        return root
    return graph.branch(first, if_convert(graph, root), graph.ret(graph.const(0)))


def without_what_is_known(graph: Graph, root: Node) -> Node:
    """What every match must have first, then the rest."""
    value = ifconvert.accepted_value(root)
    first = earlyout.necessary(graph, root, AVAILABLE)
    if first is None or value is None:
        return root
    reject = graph.ret(graph.const(0))
    rest = earlyout.without(graph, ifconvert.condition_of(graph, root), first)
    rest = graph.branch(clamp.clamp(graph, rest, AVAILABLE), graph.ret(value), reject)
    return graph.branch(first, rest, reject)


# What a pass takes for granted: the bytes that every packet has.
PASSES: dict[Pass, int] = {
    merge_checks: 0,
    drop_known: AVAILABLE,
    speculate: 0,
    find_sets: 0,
    merge_chains: 0,
    drop_implied: 0,
    if_convert: AVAILABLE,
    early_out: AVAILABLE,
    without_what_is_known: AVAILABLE,
}


def check(program: Program, packet: bytes, apply: Pass) -> None:
    """Interpret the decisions before and after the pass on a packet of many lengths."""
    graph = Graph()
    name = getattr(apply, "__name__", repr(apply))
    try:
        before = build(graph, program)
    except TooManyPathsError:
        assume(False)
    after = apply(graph, before)
    oracle = libpcap.Oracle(program)
    for length in sorted({*range(PASSES[apply], len(packet), 7), 14, 34, 58, 61, len(packet)}):
        if not PASSES[apply] <= length <= len(packet):
            continue
        cut = packet[:length]
        wanted = oracle.run(cut, len(packet))
        for what, root in (("before", before), (name, after)):
            result = evaluate.run(root, cut, len(packet))
            assert result == wanted, (
                f"{what}: {result}, not {wanted}, for {cut.hex()} of {len(packet)}\n"
                f"{libpcap.format_text(program)}\nbefore\n{text(before)}\n"
                f"after {name}\n{text(after)}"
            )
