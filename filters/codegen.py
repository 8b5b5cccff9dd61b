# SPDX-License-Identifier: BSD-3-Clause
"""Decisions to eBPF: blocks in order, conditions as jumps, the last one without.

Blocks come before those they lead to, the `then` side next: where a condition holds,
nothing jumps. A decision between a number and 0 has both results right behind its
comparison, which the VM's JIT translates without a jump:

    if condition is not so goto other     r0 = number     exit     other:     r0 = 0     exit
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dpcap.filters import select
from dpcap.filters.ir import Node, lengths, not_stray, order
from dpcap.filters.machine import Machine
from dpcap.filters.select import Selector
from dpcap.filters.tables import Tables
from dpcap.ubpf_host import isa
from dpcap.ubpf_host.isa import R0, R2, R3, R4, Reg

if TYPE_CHECKING:
    from dpcap.filters.machine import Value

_INVERSE: Final = {"==": "!=", "<": ">=", ">": "<="}


def generate(root: Node) -> tuple[list[isa.Item], bytes]:
    """The program for a filter's decisions, and its read-only data.

    OutOfRegistersError for expressions that are too deep.
    """
    return _Generator(root).run()


class _Generator:
    def __init__(self, root: Node) -> None:
        self._order = order(root)
        self._lengths = lengths(root)
        self._fixed = not_stray(root)
        keep: set[Reg] = set()
        ops = _value_ops(self._order)
        if "wirelen" in ops:
            keep.add(R3)
        if "meta" in ops:
            keep.add(R4)
        self._machine = Machine(keep=frozenset(keep))
        self._tables = Tables()
        self._selector = Selector(self._machine, self._tables)
        self._names = {node: f"b{i}" for i, node in enumerate(self._order)}
        self._entries: dict[Node, list[dict[Reg, Value]]] = {}
        self._targets: set[Node] = set()

    def run(self) -> tuple[list[isa.Item], bytes]:
        for i, node in enumerate(self._order):
            following = self._order[i + 1] if i + 1 < len(self._order) else None
            if i and node not in self._entries:
                continue
            self._machine.enter(self._entries.get(node, []))
            if i:
                self._machine.label(self._names[node])
            self._selector.available = self._lengths[node]
            self._selector.fixed = self._fixed[node]
            if node.op == "ret":
                self._return(node)
            elif _is_flat(node):
                self._flat(node)
            else:
                self._branch(node, following)
        return _without_unused_labels(self._machine.items), bytes(self._tables.data)

    def _return(self, node: Node) -> None:
        value = node.args[0]
        m = self._machine
        if value.op == "const":
            m.emit(isa.mov32(R0, value.args[0]))
        else:
            made = self._selector.value(value)
            m.want(made)
            reg = m.reg(made)
            if reg != R0:
                m.emit(isa.mov(R0, reg))
        m.emit(isa.exit_())

    def _flat(self, node: Node) -> None:
        """Both results follow the comparison: the JIT makes no jump of this."""
        condition, then, else_ = node.args
        other = f"{self._names[node]}_else"
        self._jump(condition, other, when=False)
        self._return(then)
        self._machine.label(other)
        self._return(else_)

    def _branch(self, node: Node, following: Node | None) -> None:
        condition, then, else_ = node.args
        invert = then is not following
        jump_to, other = (then, else_) if invert else (else_, then)
        self._jump(condition, self._names[jump_to], when=invert)
        state = self._machine.state()
        self._entries.setdefault(then, []).append(state)
        self._entries.setdefault(else_, []).append(state)
        if other is not following:
            self._machine.emit(isa.ja(self._names[other]))

    def _jump(self, condition: Node, target: str, *, when: bool) -> None:
        """Jump to a label when the condition is as ``when`` says."""
        m, s = self._machine, self._selector
        if condition.op == "has":
            end, index = condition.args
            if index is None:
                m.emit(isa.jump(">=" if when else "<", R2, end, target))
                return
            total = m.alu("add", s.index(index), end)
            m.want(total, s.index(index))
            m.emit(isa.jump("<=" if when else ">", m.reg(total), R2, target))
            return
        if condition.op == "stray":
            # Where the type is IPv4, the difference is what the header length makes of it.
            less = m.alu("add", s.ipv4_difference(condition.args[0]), -1)
            m.want(less)
            m.emit(isa.jump("<" if when else ">=", m.reg(less), select.STRAYS, target))
            return
        if condition.op == "lt":
            a, b = condition.args
            if b.op == "const":
                self._compare("<", s.value(a), b.args[0], target, when=when)
            elif a.op == "const":
                self._compare(">", s.value(b), a.args[0], target, when=when)
            else:
                self._compare("<", s.value(a), s.value(b), target, when=when)
            return
        if (rank := select.absence(condition)) is not None:
            self._compare("==", s.found(rank).difference, 0, target, when=not when, bits=64)
            return
        found = s.difference(condition)
        if found is None:
            sign = s.sign(condition)
            m.want(sign)
            m.emit(isa.jump("s<" if when else "s>=", m.reg(sign), 0, target))
            return
        # A last XOR with a number is the comparison's own.
        d = found.value
        if d.op in ("xor", "xor32") and d.args[1].op == "imm" and (d.op == "xor32" or d.args[1].args[0] >= 0):
            wide = d.op == "xor"
            if not wide or d.args[1].args[0] < 1 << 31:
                self._compare("==", d.args[0], d.args[1].args[0], target, when=when, bits=64 if wide else 32)
                return
        self._compare("==", d, 0, target, when=when, bits=64)

    def _compare(
        self, how: str, a: Value, b: Value | int, target: str, *, when: bool, bits: int = 32
    ) -> None:
        m = self._machine
        condition = how if when else _INVERSE[how]
        if isinstance(b, int):
            m.want(a)
            m.emit(isa.jump(condition, m.reg(a), b, target, bits=bits))
            return
        m.want(a, b)
        first = m.pin(a)
        second = m.reg(b)
        m.unpin(first)
        m.emit(isa.jump(condition, first, second, target, bits=bits))


def _is_flat(node: Node) -> bool:
    """A decision between two constants, one of them 0."""
    condition, then, else_ = node.args
    if then.op != "ret" or else_.op != "ret" or condition.op == "has":
        return False
    numbers = (then.args[0], else_.args[0])
    return (
        all(n.op == "const" for n in numbers)
        and any(n.args[0] == 0 for n in numbers)
        and max(n.args[0] for n in numbers) < 1 << 31
    )


def _value_ops(decisions: list[Node]) -> set[str]:
    """The operations that occur anywhere below the decisions."""
    seen: set[Node] = set()
    stack = [n.args[0] for n in decisions]
    ops: set[str] = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        ops.add(node.op)
        stack.extend(node.nodes)
    return ops


def _without_unused_labels(items: list[isa.Item]) -> list[isa.Item]:
    used = {item.target for item in items if isinstance(item, isa.Insn) and item.target is not None}
    return [item for item in items if not isinstance(item, isa.Label) or item.name in used]
