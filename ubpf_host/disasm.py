# SPDX-License-Identifier: BSD-3-Clause
"""The disassembler: eBPF bytes to the text that :mod:`dpcap.ubpf_host.asm` reads.

Any bytes come back from it: a slot that the syntax cannot say (an unknown opcode, a reserved
field that is not zero) is written as ``.quad``.
"""

from __future__ import annotations

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.asm import LDDW_FORMS
from dpcap.ubpf_host.isa import Insn, Raw

_ALU_NAMES = {(code, offset): name for name, (code, offset) in isa.ALU_OPS.items()}
_JUMP_NAMES = {code: name for name, code in isa.JUMP_OPS.items()}
_SIZE_NAMES = {size: name for name, size in isa.SIZES.items()}
_END_NAMES = {opcode: name for name, opcode in isa.END_OPS.items()}
_ATOMIC_NAMES = {
    isa.ATOMIC_OPS[name] | fetch: f"fetch {name}" if fetch and name not in isa.ATOMIC_ALWAYS_FETCH else name
    for name in isa.ATOMIC_OPS
    for fetch in ([isa.FETCH] if name in isa.ATOMIC_ALWAYS_FETCH else [0, isa.FETCH])
}


def _memory(reg: int, offset: int) -> str:
    return f"[%r{reg}{offset:+d}]" if offset else f"[%r{reg}]"


def _alu(insn: Insn) -> str | None:
    opcode, dst, src, offset, imm, _ = insn
    suffix = "" if opcode & 7 == isa.ALU64 else "32"
    code, is_reg = opcode & 0xF0, opcode & isa.X
    if opcode in _END_NAMES and imm in (16, 32, 64) and not src and not offset:
        return f"{_END_NAMES[opcode]}{imm} %r{dst}"
    if code == isa.NEG and not (is_reg or src or offset or imm):
        return f"neg{suffix} %r{dst}"
    if code == isa.MOV and is_reg and offset in ((8, 16, 32) if suffix == "" else (8, 16)) and not imm:
        return f"movsx{offset}{suffix or '64'} %r{dst}, %r{src}"
    name = _ALU_NAMES.get((code, offset))
    if name is None or (imm if is_reg else src):
        return None
    return f"{name}{suffix} %r{dst}, " + (f"%r{src}" if is_reg else f"{imm}")


def _jump(insn: Insn, label: str) -> str | None:
    opcode, dst, src, offset, imm, _ = insn
    suffix = "" if opcode & 7 == isa.JMP else "32"
    if opcode == isa.EXIT and not any((dst, src, offset, imm)):
        return "exit"
    if opcode == isa.JA and not any((dst, src, imm)):
        return f"ja {label}"
    if opcode == isa.JA32 and not any((dst, src, offset)):
        return f"ja32 {label}"
    if opcode == isa.CALLX and not any((src, offset, imm)):
        return f"call %r{dst}"
    if opcode == isa.CALL and not any((dst, offset)) and src <= isa.CALL_RUNTIME:
        return f"call {(f'{imm}', f'local {label}', f'runtime {imm}')[src]}"
    name = _JUMP_NAMES.get(opcode & 0xF0)
    is_reg = opcode & isa.X
    if name is None or (imm if is_reg else src):
        return None
    return f"{name}{suffix} %r{dst}, " + (f"%r{src}" if is_reg else f"{imm}") + f", {label}"


def _load_store(insn: Insn) -> str | None:
    opcode, dst, src, offset, imm, _ = insn
    size = _SIZE_NAMES[opcode & 0x18]
    kind, mode = opcode & 7, opcode & 0xE0
    if (kind, mode) == (isa.LDX, isa.MEM) and not imm:
        return f"ldx{size} %r{dst}, {_memory(src, offset)}"
    if (kind, mode) == (isa.LDX, isa.MEMSX) and not imm and size != "dw":
        return f"ldxs{size} %r{dst}, {_memory(src, offset)}"
    if (kind, mode) == (isa.STX, isa.MEM) and not imm:
        return f"stx{size} {_memory(dst, offset)}, %r{src}"
    if (kind, mode) == (isa.ST, isa.MEM) and not src:
        return f"st{size} {_memory(dst, offset)}, {imm}"
    if (kind, mode) == (isa.STX, isa.ATOMIC) and size in ("w", "dw") and imm in _ATOMIC_NAMES:
        return f"lock {_ATOMIC_NAMES[imm]}{'32' if size == 'w' else ''} {_memory(dst, offset)}, %r{src}"
    return None


def _lddw(insn: Insn) -> str | None:
    low, high = insn.imm & 0xFFFF_FFFF, insn.imm >> 32
    if insn.offset:
        return None
    if insn.src == isa.LDDW_IMM:
        return f"lddw %r{insn.dst}, {insn.imm:#x}"
    if insn.src not in LDDW_FORMS:
        return None
    form, has_offset = LDDW_FORMS[insn.src]
    if high and not has_offset:
        return None
    return f"lddw %r{insn.dst}, {form.format(isa.imm32(low))}" + (f"+{high:#x}" if high else "")


def format_insn(insn: Insn, label: str | None = None) -> str | None:
    """One instruction as text, None when the syntax cannot say it.

    ``label`` is written as the target of a jump or local call, by default the distance in slots.
    """
    if label is None:
        label = f"{insn.imm if isa.target_in_imm(insn) else insn.offset:+d}"
    kind = insn.opcode & 7
    if insn.opcode == isa.LDDW:
        return _lddw(insn)
    if kind in (isa.ALU, isa.ALU64):
        return _alu(insn)
    if kind in (isa.JMP, isa.JMP32):
        return _jump(insn, label)
    return _load_store(insn)


def _jumps(insn: Insn) -> bool:
    if insn.opcode & 7 not in (isa.JMP, isa.JMP32) or insn.opcode in (isa.EXIT, isa.CALLX):
        return False
    return insn.opcode != isa.CALL or insn.src == isa.CALL_LOCAL


def disassemble(code: bytes) -> str:
    """The text of a program, a line for each instruction, with a label wherever something jumps.

    ValueError when the size is no multiple of 8.
    """
    places: list[tuple[int, Insn | Raw]] = []
    slot = 0
    for item in isa.decode(code):
        places.append((slot, item))
        slot += item.slots if isinstance(item, Insn) else 1
    starts = {slot for slot, _ in places}

    def destination(slot: int, insn: Insn) -> int | None:
        if not _jumps(insn):
            return None
        distance = insn.imm if isa.target_in_imm(insn) else insn.offset
        return slot + 1 + distance if slot + 1 + distance in starts else None

    labelled = {destination(slot, item) for slot, item in places if isinstance(item, Insn)}
    lines = []
    for slot, item in places:
        if slot in labelled:
            lines.append(f"L{slot}:")
        text = None
        if isinstance(item, Insn):
            goal = destination(slot, item)
            text = format_insn(item, None if goal is None else f"L{goal}")
        if text is None:
            size = item.slots * isa.SLOT_SIZE if isinstance(item, Insn) else isa.SLOT_SIZE
            start = slot * isa.SLOT_SIZE
            raw = code[start : start + size]
            lines += [
                f".quad {int.from_bytes(raw[i : i + 8], 'little'):#018x}" for i in range(0, len(raw), 8)
            ]
        else:
            lines.append(text)
    return "".join(f"{line}\n" for line in lines)
