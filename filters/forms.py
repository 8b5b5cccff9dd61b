# SPDX-License-Identifier: BSD-3-Clause
"""The forms of a filter: the same answers by different means.

    plain         one cBPF instruction after the other, not optimised
    branchy       tests in order, ends at the first that decides: fast on predictable traffic
    branch-free   all tests at once, one answer: fast on mixed traffic, where a
                  mispredicted jump costs more than ten loads
    early-out     one branch on what every match must have, then the rest without branches:
                  where few packets pass it

The last two are for packets that have the bytes that headers have; packets that are
shorter, or have IPv4 options, go to the branchy decisions, which are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import plain
from dpcap.filters.build import TooManyPathsError
from dpcap.filters.codegen import generate
from dpcap.filters.errors import FilterError
from dpcap.filters.ir import Graph, order
from dpcap.filters.machine import OutOfRegistersError
from dpcap.filters.passes.bounds import drop_known, merge_checks, required
from dpcap.filters.passes.clamp import NotClampedError, clamp
from dpcap.filters.passes.earlyout import end, necessary, without
from dpcap.filters.passes.ifconvert import accepted_value, condition_of
from dpcap.filters.passes.ihl import speculate
from dpcap.filters.passes.implied import drop_implied
from dpcap.filters.passes.offset import select_offsets
from dpcap.filters.passes.sets import find_sets
from dpcap.ubpf_host import isa

if TYPE_CHECKING:
    from dpcap.filters import cbpf
    from dpcap.filters.ir import Node

#: The longest eBPF program the VM takes, DPCAP_VM_MAX_INSNS.
MAX_INSNS: Final = 65536
# A form without branches does all its work for each packet: above this many instructions
# (most of them of the slow path) branches win by far.
_LONGEST_FLAT: Final = 1024
# Nor are more decisions than this made one condition.
_MOST_DECISIONS: Final = 500

# No Ethernet frame has fewer bytes (64 with FCS): asking for them sends none to the slow path.
_SHORTEST_FRAME: Final = 60
# What a clamped load needs: see passes/clamp.py.
_LONGEST_LOAD: Final = 4


Trace = Callable[[str, "Node"], None]


class Form(NamedTuple):
    """One program of a filter."""

    code: bytes  # RFC 9669 instructions
    rodata: bytes  # its read-only table


def plain_form(program: cbpf.Program) -> Form:
    """The plain translation. FilterError when it is longer than the VM allows."""
    form = Form(isa.encode(plain.translate(program)), b"")
    if len(form.code) > MAX_INSNS * isa.SLOT_SIZE:
        raise FilterError(
            f"the filter is too big: {len(form.code) // isa.SLOT_SIZE} instructions, {MAX_INSNS} are possible"
        )
    return form


def compile_forms(program: cbpf.Program, build: Callable[[Graph], Node]) -> dict[str, Form]:
    """All forms of a validated program that are worth to have, the best guess first.

    ``build`` makes its decisions.
    """
    graph = Graph()
    try:
        made = decisions(graph, build(graph))
    except TooManyPathsError:
        return {"plain": plain_form(program)}
    forms: dict[str, Form] = {}
    for name in ("branch-free", "early-out", "branchy"):
        limit = MAX_INSNS if name == "branchy" else _LONGEST_FLAT
        try:
            items, rodata = generate(made[name])
            code = isa.encode(items)
        except (KeyError, OutOfRegistersError, isa.EncodeError):
            continue
        if len(code) <= limit * isa.SLOT_SIZE:
            forms[name] = Form(code, rodata)
    return forms or {"plain": plain_form(program)}


def decisions(graph: Graph, root: Node, trace: Trace | None = None) -> dict[str, Node]:
    """The decisions of each form that there is for a filter: all passes, in order.

    ``trace`` is told of the decisions after each pass.
    """
    tell = trace or (lambda _name, _root: None)
    root = merge_checks(graph, root)
    tell("bounds: merged length checks", root)
    # Sets first: what is left is small enough to be followed on each way.
    root = find_sets(graph, root, merge=False)
    tell("sets: tests of the same value together", root)
    root = drop_implied(graph, root)
    tell("implied: no test that an earlier one settles", root)
    slow = find_sets(graph, merge_checks(graph, root), merge=False)
    tell("branchy form", slow)
    forms = {"branchy": slow}
    value = accepted_value(root)
    if value is None:
        return forms
    fixed, strays = speculate(graph, root)
    tell("ihl: IPv4 headers of 20 bytes", fixed)
    available = max(
        [_LONGEST_LOAD]
        + [
            n.args[0].args[0]
            for n in order(fixed)
            if n.op == "branch"
            and n.args[0].op == "has"
            and n.args[0].args[1] is None
            and n.args[0].args[0] <= _SHORTEST_FRAME
        ]
    )
    fast = drop_known(graph, fixed, available)
    tell(f"bounds: packets of {available} bytes at least", fast)
    fast = find_sets(graph, fast, merge=True)
    tell("sets: chains as one test", fast)

    if len(order(fast)) > _MOST_DECISIONS:
        return forms
    reject = graph.ret(graph.const(0))

    def flat(condition: Node) -> Node:
        condition = select_offsets(graph, clamp(graph, condition, available), available)
        return graph.branch(condition, graph.ret(value), reject)

    def guarded(node: Node) -> Node:
        for stray in strays:
            node = graph.branch(stray, slow, node)
        return graph.branch(graph.has(available), node, slow)

    with suppress(NotClampedError):
        whole = condition_of(graph, fast)
        forms["branch-free"] = guarded(flat(whole))
        tell("ifconvert, clamp, offset: branch-free form", forms["branch-free"])
        early = None
        first = necessary(graph, root, available)
        rest = without(graph, whole, first) if first is not None else whole
        if first is not None and rest is not graph.true:
            early = graph.branch(first, guarded(flat(rest)), reject)
            needed = end(first)
            early = graph.branch(graph.has(needed), early, slow if needed > required(root) else reject)
        elif (
            fast.op == "branch"
            and fast.args[0].op != "has"
            and not fast.args[1].op == fast.args[2].op == "ret"
        ):
            condition, then, else_ = fast.args
            sides = (flat(condition_of(graph, side)) for side in (then, else_))
            early = guarded(graph.branch(clamp(graph, condition, available), *sides))
        if early is not None:
            forms["early-out"] = early
            tell("early-out form", early)
    return forms
