# SPDX-License-Identifier: BSD-3-Clause
"""If-conversion: decisions become one condition, which is computed without a branch.

    if c: t else e     becomes     (c and t) or (not c and e)

Sound: conditions are pure, so looking at both sides changes nothing; loads that one side
guarded with `has` become clamped ones (see clamp.py), whose value does not matter where
the guard fails, because the guard stays in the conjunction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.filters.ir import order

if TYPE_CHECKING:
    from dpcap.filters.ir import Graph, Node


def accepted_value(root: Node) -> Node | None:
    """What is returned for every match; None when that differs, or is no number."""
    values = {n.args[0] for n in order(root) if n.op == "ret"}
    values = {v for v in values if v.op != "const" or v.args[0] != 0}
    value = values.pop() if len(values) == 1 else None
    return value if value is not None and value.op == "const" else None


def condition_of(graph: Graph, root: Node) -> Node:
    """When the decisions end in something else than `return 0`."""
    made: dict[Node, Node] = {}
    for node in reversed(order(root)):
        if node.op == "ret":
            value = node.args[0]
            made[node] = graph.false if value.op == "const" and value.args[0] == 0 else graph.true
        else:
            condition, then, else_ = node.args
            made[node] = select(graph, condition, made[then], made[else_])
    return made[root]


def select(graph: Graph, c: Node, t: Node, e: Node) -> Node:
    """(c and t) or (not c and e), in as few parts as can be seen."""
    if t is e:
        return t
    not_c = graph.not_(c)
    if t is graph.true:
        return graph.any_([c, e])
    if t is graph.false:
        return graph.all_([not_c, e])
    if e is graph.false:
        return graph.all_([c, t])
    if e is graph.true:
        return graph.any_([not_c, t])
    t_parts, e_parts = _parts("all", t), _parts("all", e)
    common = [x for x in t_parts if x in e_parts]
    if common:
        rest = select(graph, c, _without(graph, t_parts, common), _without(graph, e_parts, common))
        return graph.all_([*common, rest])
    t_sides, e_sides = _parts("any", t), _parts("any", e)
    shared = [x for x in t_sides if x in e_sides]
    if shared:
        rest_t = graph.any_(x for x in t_sides if x not in shared)
        rest_e = graph.any_(x for x in e_sides if x not in shared)
        return graph.any_([*shared, select(graph, c, rest_t, rest_e)])
    # Where the other side cannot hold together with c, c need not be asked again.
    first = graph.all_([c, t])
    second = e if graph.all_([c, e]) is graph.false else graph.all_([not_c, e])
    if graph.all_([not_c, t]) is graph.false:
        first = t
    return graph.any_([first, second])


def _parts(op: str, x: Node) -> tuple[Node, ...]:
    return x.args if x.op == op else (x,)


def _without(graph: Graph, parts: tuple[Node, ...], drop: list[Node]) -> Node:
    return graph.all_(x for x in parts if x not in drop)
