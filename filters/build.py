# SPDX-License-Identifier: BSD-3-Clause
"""cBPF to the intermediate representation, by symbolic execution.

Every path is followed with what A, X and M[] hold as expressions. Two paths that
meet at an instruction go on as one when everything that is still read there holds
the same expression (what is dead does not count), else their continuations are
separate. Jumps only go forward: instructions are visited in order, and decisions
are then made from the last to the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import cbpf
from dpcap.filters.flow import effects, never_in_bounds, successors
from dpcap.filters.ir import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ALU: Final = {
    cbpf.ADD: "add", cbpf.SUB: "sub", cbpf.MUL: "mul", cbpf.DIV: "div", cbpf.OR: "or",
    cbpf.AND: "and", cbpf.LSH: "lsh", cbpf.RSH: "rsh", cbpf.MOD: "mod", cbpf.XOR: "xor",
}  # fmt: skip
_A: Final = cbpf.MEMWORDS
_X: Final = cbpf.MEMWORDS + 1


class TooManyPathsError(Exception):
    """The paths of a program do not meet again often enough to follow them all."""


class Comparison(NamedTuple):
    """What a comparison in a program stands for: one with every member of a list (see lists.py)."""

    then: int  # where it goes on
    else_: int
    numbers: tuple[int, ...] = ()  # what A is compared with; empty: packet bytes with keys
    offset: int = 0
    indexed: bool = False  # X is added to the offset
    masks: bytes = b""
    keys: tuple[bytes, ...] = ()
    #: Where the bytes are compared next, if these are not the ones; see _earlier_partly().
    next_offset: int = 0

    def condition(self, graph: Graph, places: list[Node | None]) -> Node:
        """It as a condition."""
        if self.numbers:
            return graph.contains(_value(places, _A), self.numbers)
        return graph.one_of(self.offset, self.masks, self.keys, self.index_in(places))

    def index_in(self, places: list[Node | None]) -> Node | None:
        """What is added to the offset."""
        return _value(places, _X) if self.indexed else None


State = tuple[Node | None, ...]  # M[0] to M[15], A, X; None: dead


class _Block(NamedTuple):
    """What one path does from a place on, up to where it splits, meets another or ends."""

    guards: list[Node]  # conditions that have to hold, in order; else return 0
    condition: Node | None
    result: Node | None  # what is returned
    then: tuple[int, State] | None
    else_: tuple[int, State] | None
    #: The comparison was one with a list whose next place may be cut; and what X was.
    listed: tuple[Comparison, Node | None] | None = None


def build(graph: Graph, program: cbpf.Program, lists: Mapping[int, Comparison] | None = None) -> Node:
    """The first decision of a validated program, some comparisons of which stand for lists.

    TooManyPathsError when the program has more than some eight times as many
    paths between its places as it has instructions.
    """
    live = _liveness(program)
    joins = _joins(program)
    limit = 8 * len(program) + 1000
    zero = graph.const(0)
    entry = (0, _only_live((zero,) * (cbpf.MEMWORDS + 2), live[0]))
    pending: list[dict[State, _Block | None]] = [{} for _ in program]
    pending[0][entry[1]] = None
    count = 0
    for pc, states in enumerate(pending):
        for state in states:
            block = _follow(graph, program, (live, joins, lists or {}), pc, state)
            states[state] = block
            for target in (block.then, block.else_):
                if target is not None:
                    pending[target[0]].setdefault(target[1])
            count += 1
            if count > limit:
                raise TooManyPathsError
    reject = graph.ret(zero)
    made: dict[tuple[int, State], Node] = {}
    for pc in range(len(program) - 1, -1, -1):
        for state, found in pending[pc].items():
            if found is None:
                raise AssertionError("every place was visited")
            made[pc, state] = _decide(graph, found, made, reject)
    return made[entry]


def _decide(graph: Graph, block: _Block, made: dict[tuple[int, State], Node], reject: Node) -> Node:
    if block.result is not None:
        node = graph.ret(block.result)
    elif block.then is None:
        node = reject
    elif block.condition is None or block.else_ is None:
        node = made[block.then]
    else:
        then = made[block.then]
        if block.listed is not None:
            then = _unless_earlier_partly(graph, *block.listed, then, reject)
        node = graph.branch(block.condition, then, made[block.else_])
    for guard in reversed(block.guards):
        node = graph.branch(guard, node, reject)
    return node


def _unless_earlier_partly(
    graph: Graph, listed: Comparison, index: Node | None, then: Node, reject: Node
) -> Node:
    """Where a member's source address matched, and the destination is cut.

    libpcap asks member after member for source and destination. One before this member whose
    destination begins with what is there of the packet's has libpcap look at what is not there:
    the packet is rejected.
    """
    rank = graph.rank(listed.offset, listed.masks, listed.keys, index)
    result = then
    for length in range(4, len(listed.masks), 4):
        earlier = graph.rank(
            listed.next_offset, listed.masks[:length], (key[:length] for key in listed.keys), index
        )
        result = graph.branch(
            graph.has(listed.next_offset + length, index),
            graph.branch(graph.lt(earlier, rank), reject, then),
            result,
        )
    return graph.branch(graph.has(listed.next_offset + len(listed.masks), index), then, result)


def _follow(
    graph: Graph,
    program: cbpf.Program,
    facts: tuple[list[int], frozenset[int], Mapping[int, Comparison]],
    pc: int,
    state: State,
) -> _Block:
    """Execute from ``pc`` to the end of the block. ``facts``: what is live, where paths meet, lists."""
    live, joins, lists = facts
    places: list[Node | None] = list(state)
    guards: list[Node] = []
    while True:
        insn = program[pc]
        code, _, _, k = insn
        cls = code & 0x07
        if cls == cbpf.RET:
            result = graph.const(k) if code & 0x18 == cbpf.K else places[_A]
            return _Block(guards, None, result, None, None)
        if never_in_bounds(insn):
            return _Block(guards, None, None, None, None)
        following = successors(program, pc)
        if cls == cbpf.JMP:
            listed = lists.get(pc)
            if listed is not None:
                then, else_ = ((to, _only_live(places, live[to])) for to in (listed.then, listed.else_))
                condition = listed.condition(graph, places)
                order = (listed, listed.index_in(places)) if listed.next_offset else None
                return _Block(guards, condition, None, then, else_, order)
            if len(following) == 2:
                condition = _condition(graph, insn, places)
                then, else_ = ((to, _only_live(places, live[to])) for to in following)
                if condition is graph.true or condition is graph.false:
                    return _Block(guards, None, None, then if condition is graph.true else else_, None)
                return _Block(guards, condition, None, then, else_)
        else:
            for guard in _execute(graph, insn, places):
                if guard is graph.false:
                    return _Block(guards, None, None, None, None)
                if guard is not graph.true:
                    guards.append(guard)
        pc = following[0]
        if pc in joins:
            return _Block(guards, None, None, (pc, _only_live(places, live[pc])), None)


def _only_live(places: list[Node | None] | State, live: int) -> State:
    return tuple(p if live >> i & 1 else None for i, p in enumerate(places))


def _value(places: list[Node | None], index: int) -> Node:
    value = places[index]
    if value is None:
        raise AssertionError("a dead place is read")
    return value


def _operand(graph: Graph, insn: cbpf.Insn, places: list[Node | None]) -> Node:
    return graph.const(insn.k) if insn.code & 0x08 == cbpf.K else _value(places, _X)


def _condition(graph: Graph, insn: cbpf.Insn, places: list[Node | None]) -> Node:
    a, b = _value(places, _A), _operand(graph, insn, places)
    op = insn.code & 0xF0
    if op == cbpf.JEQ:
        return graph.eq(a, b)
    if op == cbpf.JGT:
        return graph.lt(b, a)
    if op == cbpf.JGE:
        return graph.not_(graph.lt(a, b))
    return graph.not_(graph.eq(graph.alu("and", a, b), graph.const(0)))


def _execute(graph: Graph, insn: cbpf.Insn, places: list[Node | None]) -> Iterator[Node]:
    """Do one instruction that is no jump; yields what it needs to hold."""
    code, _, _, k = insn
    cls = code & 0x07
    if cls in (cbpf.LD, cbpf.LDX):
        to = _A if cls == cbpf.LD else _X
        mode = code & 0xE0
        if mode == cbpf.IMM:
            places[to] = graph.const(k)
        elif mode == cbpf.LEN:
            places[to] = graph.wirelen()
        elif mode == cbpf.MEM:
            places[to] = places[k]
        elif cbpf.is_ancillary(insn):
            places[to] = graph.meta(k - cbpf.SKF_AD_OFF)
        else:
            size = cbpf.SIZE[code & 0x18]
            index = _value(places, _X) if mode == cbpf.IND else None
            yield graph.has(k + size, index)
            value = graph.load(size, k, index)
            if mode == cbpf.MSH:
                value = graph.alu("lsh", graph.alu("and", value, graph.const(0xF)), graph.const(2))
            places[to] = value
    elif cls == cbpf.ST:
        places[k] = places[_A]
    elif cls == cbpf.STX:
        places[k] = places[_X]
    elif cls == cbpf.ALU:
        a = _value(places, _A)
        op = code & 0xF0
        if op == cbpf.NEG:
            places[_A] = graph.neg(a)
            return
        b = _operand(graph, insn, places)
        if op in (cbpf.DIV, cbpf.MOD):
            nonzero = graph.not_(graph.eq(b, graph.const(0)))
            yield nonzero
            if nonzero is graph.false:
                return
        places[_A] = graph.alu(_ALU[op], a, b)
    elif code & 0xF8 == cbpf.TAX:
        places[_X] = places[_A]
    else:
        places[_A] = places[_X]


def _liveness(program: cbpf.Program) -> list[int]:
    """For each instruction the places that are read before they are written from there on."""
    live = [0] * len(program)
    for pc in range(len(program) - 1, -1, -1):
        after = 0
        for successor in successors(program, pc):
            after |= live[successor]
        reads, writes = effects(program[pc])
        live[pc] = reads | (after & ~writes)
    return live


def _joins(program: cbpf.Program) -> frozenset[int]:
    """Instructions that more than one other goes on to."""
    seen: set[int] = set()
    joins: set[int] = set()
    for pc in range(len(program)):
        for successor in successors(program, pc):
            (joins if successor in seen else seen).add(successor)
    return frozenset(joins)
