# SPDX-License-Identifier: BSD-3-Clause
"""Pure values of the target machine, and their code with registers.

A value is what one eBPF instruction computes from other values. As all are pure, a
register is a cache: any value may be dropped from it and computed again, so nothing is
ever spilled. What is computed is remembered into the blocks that follow.

    imm k    len  wire  meta (r2, r3, r4)    rodata offset
    ptr a                        the packet's address + a    low32 a    the low half of a
    ldx size offset [base]       packet bytes (or what base points to), little-endian
    add sub mul and or xor lsh rsh arsh div mod (a, b), neg a: 64 bits; op32: 32 bits
    be bits a
"""

from __future__ import annotations

from typing import Any, Final

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.isa import R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Insn, Item, Label, Reg

_SIZES: Final = {1: "b", 2: "h", 4: "w", 8: "dw"}
_FIXED: Final = {"packet": R1, "len": R2, "wire": R3, "meta": R4}
_COMMUTATIVE: Final = frozenset(("add", "mul", "and", "or", "xor"))

#: Order of preference: r0 is free for the result, r6 to r9 are saved once a burst, r3 and r4
#: would be loaded for each packet.
_REGISTERS: Final = (R5, R0, R6, R7, R8, R9, R3, R4)
_LAST: Final = frozenset((R3, R4))


class Value:
    """One value; equal values are the same object within a Machine."""

    __slots__ = ("args", "depth", "op")

    def __init__(self, op: str, args: tuple[Any, ...]) -> None:
        self.op = op
        self.args = args
        #: Operations from the packet to here; of two operands the deeper one is computed first.
        self.depth: int = 1 + max((a.depth for a in args if isinstance(a, Value)), default=-1)


def is_imm32(k: int) -> bool:
    """Whether a 64-bit instruction can hold the number as its immediate."""
    return -(1 << 31) <= k < 1 << 31


def signed(k: int) -> int:
    """A 64-bit pattern as a signed number."""
    k &= (1 << 64) - 1
    return k - (1 << 64) if k >> 63 else k


class Machine:
    """Makes values, and the code that computes them."""

    def __init__(self, *, keep: frozenset[Reg]) -> None:
        """``keep``: of r3 and r4 those that hold what the program was called with."""
        self.items: list[Item] = []
        self._values: dict[tuple[Any, ...], Value] = {}
        self._free = tuple(r for r in _REGISTERS if r not in keep)
        self._held: dict[Reg, Value] = {}
        self._where: dict[Value, Reg] = {}
        self._pinned: dict[Reg, int] = {}
        self._age: dict[Reg, int] = {}
        self._clock = 0
        self._uses: dict[Value, int] = {}
        #: Values that a proved access depends on: a second computation would be unknown to the verifier.
        self.sticky: set[Value] = set()

    # Making values.

    def value(self, op: str, *args: Any) -> Value:
        """The value of that operation."""
        key = (op, *args)
        made = self._values.get(key)
        if made is None:
            made = self._values[key] = Value(op, args)
        return made

    def imm(self, k: int) -> Value:
        """A 64-bit number."""
        return self.value("imm", signed(k))

    def alu(self, op: str, a: Value, b: Value | int) -> Value:
        """A 64-bit operation; ``op`` ending in 32: a 32-bit one."""
        return self.value(op, a, self.imm(b) if isinstance(b, int) else b)

    def load(self, size: int, offset: int, base: Value | None = None) -> Value:
        """Bytes of the packet in the machine's order."""
        return self.value("ldx", size, offset, base)

    # Blocks.

    def state(self) -> dict[Reg, Value]:
        """What the registers hold, to hand on to the blocks that follow."""
        return dict(self._held)

    def enter(self, states: list[dict[Reg, Value]]) -> None:
        """Begin a block that is reached with any of these."""
        self._held = {
            reg: value
            for reg, value in (states[0].items() if states else ())
            if all(other.get(reg) is value for other in states[1:])
        }
        self._where = {value: reg for reg, value in self._held.items()}
        self._uses = {}

    def want(self, *roots: Value) -> None:
        """Announce what the block computes, so that what has no more use goes first."""
        stack = list(roots)
        while stack:
            value = stack.pop()
            seen = self._uses.get(value, 0)
            self._uses[value] = seen + 1
            if not seen and value not in self._where:
                stack.extend(a for a in value.args if isinstance(a, Value))

    def result_in_r0(self, reg: Reg, start: int) -> None:
        """Make r0 hold what ``reg`` holds: the code since ``start`` with the two exchanged, if it may."""
        block = self.items[start:]
        if reg != R0 and _is_local(block, R0) and _is_local(block, reg):
            swap = {R0: reg, reg: R0}
            self.items[start:] = [
                i._replace(
                    dst=swap.get(Reg(i.dst), i.dst),
                    src=swap.get(Reg(i.src), i.src) if _has_source(i) else i.src,
                )
                if isinstance(i, Insn)
                else i
                for i in block
            ]
        elif reg != R0:
            self.emit(isa.mov(R0, reg))

    # Code.

    def emit(self, *items: Item) -> None:
        """Append instructions."""
        self.items.extend(items)

    def label(self, name: str) -> None:
        """Append a label."""
        self.items.append(Label(name))

    def reg(self, value: Value) -> Reg:
        """The register that holds the value, computed now if none does. Counts as one of its uses."""
        fixed = _FIXED.get(value.op)
        if fixed is not None:
            return fixed
        self._clock += 1
        where = self._where.get(value)
        if where is None:
            where = self._compute(value)
        self._age[where] = self._clock
        self._uses[value] = self._uses.get(value, 1) - 1
        return where

    def pin(self, value: Value) -> Reg:
        """As reg(); the register keeps the value until unpin()."""
        reg = self.reg(value)
        self._pinned[reg] = self._pinned.get(reg, 0) + 1
        return reg

    def unpin(self, reg: Reg) -> None:
        """Undo one pin()."""
        self._pinned[reg] -= 1

    def _compute(self, value: Value) -> Reg:
        op, args = value.op, value.args
        if op == "imm":
            to = self._take(value)
            self.emit(isa.mov(to, args[0]) if is_imm32(args[0]) else isa.lddw(to, args[0]))
            return to
        if op == "rodata":
            to = self._take(value)
            self.emit(isa.ld_map_value(to, 0, args[0]))
            return to
        if op == "ldx":
            size, offset, base = args
            if base is None:
                to = self._take(value)
                self.emit(isa.ldx(_SIZES[size], to, R1, offset))
            else:
                source = self.pin(base)
                self.unpin(source)
                to = self._take(value, source if self._is_last(base, source) else None)
                self.emit(isa.ldx(_SIZES[size], to, source, offset))
            return to
        if op == "ptr":
            index = self.pin(args[0])
            to = self._take(value)
            self.unpin(index)
            self.emit(isa.mov(to, R1), isa.add(to, index))
            return to
        if op == "low32":
            source = self.reg(args[0])
            to = self._take(value)
            self.emit(isa.mov32(to, source))
            return to
        if op == "be":
            to = self._copy(value, args[1])
            self.emit(isa.be(args[0], to))
            return to
        if op in ("neg", "neg32"):
            to = self._copy(value, args[0])
            self.emit(isa.neg(to, bits=32 if op == "neg32" else 64))
            return to
        return self._binary(value)

    def _binary(self, value: Value) -> Reg:
        name = value.op.removesuffix("32")
        bits = 32 if value.op.endswith("32") else 64
        a, b = value.args
        if value.op == "and" and (inverted := self._inverted(a) or self._inverted(b)):
            return self._and_not(value, b if self._inverted(a) else a, inverted)
        limit_ok = b.op == "imm" and (is_imm32(b.args[0]) or (bits == 32 and 0 <= b.args[0] < 1 << 32))
        if limit_ok:
            to = self._copy(value, a)
            self.emit(isa.alu(name, to, b.args[0], bits=bits))
            return to
        deep_first = self._weight(a) >= self._weight(b)
        regs = {x: self.pin(x) for x in ((a, b) if deep_first else (b, a))}
        first, second = regs[a], regs[b]
        self.unpin(first)
        if name in _COMMUTATIVE and not self._is_last(a, first):
            self._pinned[first] += 1
            self.unpin(second)
            first, second, a = second, first, b
        to = self._copy_from(value, a, first)
        self.unpin(second)
        self.emit(isa.alu(name, to, second, bits=bits))
        return to

    def _inverted(self, value: Value) -> Value | None:
        """The x of ~x, where that is not there yet."""
        is_not = value.op == "xor" and value.args[1].op == "imm" and value.args[1].args[0] == -1
        return value.args[0] if is_not and value not in self._where else None

    def _and_not(self, value: Value, a: Value, b: Value) -> Reg:
        """``a & ~b`` in the order that is one instruction of the machine (BMI1)."""
        regs = {x: self.pin(x) for x in sorted((a, b), key=self._weight, reverse=True)}
        self.unpin(regs[b])
        to = self._copy_from(value, b, regs[b])
        self.unpin(regs[a])
        self.emit(isa.xor(to, -1), isa.and_(to, regs[a]))
        return to

    def _weight(self, value: Value) -> int:
        return 0 if value in self._where or value.op in _FIXED else value.depth

    def _copy(self, value: Value, a: Value) -> Reg:
        source = self.pin(a)
        self.unpin(source)
        return self._copy_from(value, a, source)

    def _copy_from(self, value: Value, a: Value, source: Reg) -> Reg:
        """A register for ``value`` that now holds ``a``: its own if nothing needs it there any more."""
        if self._is_last(a, source):
            return self._take(value, source)
        self._pinned[source] = self._pinned.get(source, 0) + 1
        to = self._take(value)
        self.unpin(source)
        self.emit(isa.mov(to, source))
        return to

    def _is_last(self, a: Value, source: Reg) -> bool:
        return (
            source in self._free
            and self._uses.get(a, 0) <= 0
            and a not in self.sticky
            and not self._pinned.get(source)
        )

    def _take(self, value: Value, reg: Reg | None = None) -> Reg:
        """Give a register to a value."""
        if reg is None:
            reg = self._choose()
        old = self._held.pop(reg, None)
        if old is not None and self._where.get(old) is reg:
            del self._where[old]
        self._held[reg] = value
        self._where[value] = reg
        self._age[reg] = self._clock
        return reg

    def _choose(self) -> Reg:
        candidates = [r for r in self._free if not self._pinned.get(r)]
        if not candidates:
            raise OutOfRegistersError

        def worth(reg: Reg) -> tuple[bool, bool, bool, int]:
            value = self._held.get(reg)
            if value is None:
                return False, False, reg in _LAST, 0
            return value in self.sticky, self._uses.get(value, 0) > 0, reg in _LAST, self._age[reg]

        return min(candidates, key=worth)


def _has_source(insn: Insn) -> bool:
    """Its source field names a register."""
    if insn.opcode & 0x07 == isa.LDX:
        return True
    is_alu = insn.opcode & 0x07 in (isa.ALU, isa.ALU64)
    return is_alu and bool(insn.opcode & isa.X) and insn.opcode & 0xF0 != isa.END


def _is_local(block: list[Item], reg: Reg) -> bool:
    """The code (without jumps) sets the register before it reads it, if ever."""
    for item in block:
        if not isinstance(item, Insn):
            continue
        only_sets = item.opcode & 0xF7 in _MOVES or item.opcode & 0x07 == isa.LDX or item.opcode == isa.LDDW
        if (_has_source(item) and item.src == reg) or (item.dst == reg and not only_sets):
            return False
        if item.dst == reg:
            return True
    return True


_MOVES: Final = (isa.MOV | isa.ALU64, isa.MOV | isa.ALU)


class OutOfRegistersError(Exception):
    """An expression needs more operands at once than there are registers."""


__all__ = ["Insn", "Machine", "OutOfRegistersError", "Value", "is_imm32", "signed"]
