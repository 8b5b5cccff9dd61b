# SPDX-License-Identifier: BSD-3-Clause
"""Which registers a program reads before it writes them: the arguments that it really takes."""

from __future__ import annotations

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.isa import Insn, Raw

_CALL_USES = frozenset(range(1, 6))
_CALL_DEFINES = frozenset(range(6))


def _uses_and_defines(insn: Insn) -> tuple[frozenset[int], frozenset[int]]:
    """Registers that an instruction reads, and those that it surely writes."""
    opcode, dst, src = insn.opcode, insn.dst, insn.src
    kind, code, is_reg = opcode & 7, opcode & 0xF0, bool(opcode & isa.X)
    sources = frozenset({src} if is_reg else ())
    if opcode == isa.LDDW:
        return frozenset(), frozenset({dst})
    if kind in (isa.ALU, isa.ALU64):
        if code == isa.MOV:
            return sources, frozenset({dst})
        if code in (isa.END, isa.NEG):
            return frozenset({dst}), frozenset({dst})
        return sources | {dst}, frozenset({dst})
    if kind in (isa.JMP, isa.JMP32):
        if opcode == isa.EXIT:
            return frozenset({0}), frozenset()
        if opcode in (isa.CALL, isa.CALLX):
            return _CALL_USES | ({dst} if opcode == isa.CALLX else set()), _CALL_DEFINES
        return (frozenset() if code == 0 else sources | {dst}), frozenset()
    if kind == isa.LDX:
        return frozenset({src}), frozenset({dst})
    if opcode & 0xE0 == isa.ATOMIC:
        return frozenset({dst, src, 0}), frozenset()
    return frozenset({dst, src} if kind == isa.STX else {dst}), frozenset()


def arguments(code: bytes) -> frozenset[int]:
    """Registers whose value on entry the program may read. Local calls count as reading r1 to r5."""
    slots: dict[int, Insn] = {}
    slot = 0
    for item in isa.decode(code):
        if not isinstance(item, Raw):  # which no verified program has
            slots[slot] = item
            slot += item.slots

    live: dict[int, frozenset[int]] = dict.fromkeys(slots, frozenset())
    changed = True
    while changed:
        changed = False
        for slot in sorted(slots, reverse=True):
            insn = slots[slot]
            uses, defines = _uses_and_defines(insn)
            after: frozenset[int] = frozenset()
            for following in _following(slot, insn):
                after |= live.get(following, frozenset())
            before = uses | (after - defines)
            if before != live[slot]:
                live[slot] = before
                changed = True
    return live.get(0, frozenset())


def _following(slot: int, insn: Insn) -> list[int]:
    following = slot + insn.slots
    if insn.opcode == isa.EXIT:
        return []
    if insn.opcode == isa.JA:
        return [following + insn.offset]
    if insn.opcode == isa.JA32:
        return [following + insn.imm]
    if insn.opcode & 7 in (isa.JMP, isa.JMP32) and insn.opcode not in (isa.CALL, isa.CALLX):
        return [following, following + insn.offset]
    return [following]
