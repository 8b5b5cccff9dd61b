# SPDX-License-Identifier: BSD-3-Clause
"""What a cBPF program can reach, and what it may read before it wrote it.

Jumps only go forward, so one walk from the first to the last instruction sees
every predecessor before its successors.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dpcap.filters import cbpf

#: Bits of a set of places: M[i] is bit i.
BIT_A: Final = 1 << cbpf.MEMWORDS
BIT_X: Final = 2 << cbpf.MEMWORDS
_ALL: Final = (4 << cbpf.MEMWORDS) - 1

# Packets of 2 GiB do not exist, and 32-bit immediates end there.
_FARTHEST: Final = 1 << 31


class Flow(NamedTuple):
    """Facts about a program; indices are those of its instructions."""

    reachable: frozenset[int]
    targets: frozenset[int]  # what reachable jumps go to, other than by falling through
    unset: int  # places read before they are surely written: they hold 0


def never_in_bounds(insn: cbpf.Insn) -> bool:
    """A packet load that fails for every packet."""
    code, _, _, k = insn
    mode = code & 0xE0
    if code & 0x07 == cbpf.LD and mode in (cbpf.ABS, cbpf.IND):
        ancillary = mode == cbpf.ABS and k >= cbpf.SKF_LL_OFF
        return not ancillary and k + cbpf.SIZE[code & 0x18] >= _FARTHEST
    return code == cbpf.LDX | cbpf.B | cbpf.MSH and k + 1 >= _FARTHEST


def successors(program: cbpf.Program, pc: int) -> tuple[int, ...]:
    """Where instruction ``pc`` goes on; () when it surely returns."""
    insn = program[pc]
    code, jt, jf, k = insn
    cls = code & 0x07
    if cls == cbpf.RET or never_in_bounds(insn):
        return ()
    if cls != cbpf.JMP:
        return (pc + 1,)
    if code & 0xF0 == cbpf.JA:
        return (pc + 1 + k,)
    return (pc + 1 + jt, pc + 1 + jf) if jt != jf else (pc + 1 + jt,)


def analyse(program: cbpf.Program) -> Flow:
    """Walk the program once."""
    written: dict[int, int] = {0: 0}
    targets: set[int] = set()
    unset = 0
    for pc, insn in enumerate(program):
        before = written.get(pc)
        if before is None:
            continue
        reads, writes = effects(insn)
        unset |= reads & ~before
        after = before | writes
        for successor in successors(program, pc):
            written[successor] = written.get(successor, _ALL) & after
            if insn.code & 0x07 == cbpf.JMP and successor != pc + 1:
                targets.add(successor)
    return Flow(frozenset(written), frozenset(targets), unset)


def effects(insn: cbpf.Insn) -> tuple[int, int]:
    """The places that an instruction reads, and those that it writes."""
    code, _, _, k = insn
    cls, mode = code & 0x07, code & 0xE0
    by_x = BIT_X if code & 0x08 else 0
    if cls == cbpf.LD:
        reads = BIT_X if mode == cbpf.IND else 1 << k if mode == cbpf.MEM else 0
        return reads, BIT_A
    if cls == cbpf.LDX:
        return 1 << k if mode == cbpf.MEM else 0, BIT_X
    if cls == cbpf.ST:
        return BIT_A, 1 << k
    if cls == cbpf.STX:
        return BIT_X, 1 << k
    if cls == cbpf.ALU:
        return BIT_A | by_x, BIT_A
    if cls == cbpf.JMP:
        return 0 if code & 0xF0 == cbpf.JA else BIT_A | by_x, 0
    if cls == cbpf.RET:
        return BIT_A if code & 0x18 == cbpf.A else 0, 0
    return (BIT_A, BIT_X) if code & 0xF8 == cbpf.TAX else (BIT_X, BIT_A)
