# SPDX-License-Identifier: BSD-3-Clause
"""The eBPF instruction model (RFC 9669): programs in Python that read like assembly.

    >>> from dpcap.ubpf_host.isa import R0, R1, R2, Label, encode, exit_, jump, ldx, mov
    >>> code = encode(
    ...     [
    ...         mov(R0, 0),
    ...         jump("<", R2, 14, "out"),
    ...         ldx("h", R0, R1, 12),
    ...         Label("out"),
    ...         exit_(),
    ...     ]
    ... )

An operand that is a :class:`Reg` gives the register form of an instruction, an ``int`` the
immediate form. Jumps name a :class:`Label`, resolved by :func:`encode`, or count slots.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple


class Reg(IntEnum):
    """A register. r0: result, r1 to r5: arguments, r6 to r9: kept over calls, r10: end of the stack."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Reg

# Section 3.3: instruction classes, the low three bits of the opcode.
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
# Section 4: the operand is the source register, not imm.
X = 0x08
# Section 5: sizes in bits 3-4 and modes in bits 5-7 of loads and stores.
SIZES = {"w": 0x00, "h": 0x08, "b": 0x10, "dw": 0x18}
IMM, MEM, MEMSX, ATOMIC = 0x00, 0x60, 0x80, 0xC0

# Section 4.1: arithmetic: operation and offset (which tells signed forms).
ALU_OPS = {
    "add": (0x00, 0), "sub": (0x10, 0), "mul": (0x20, 0), "div": (0x30, 0), "sdiv": (0x30, 1),
    "or": (0x40, 0), "and": (0x50, 0), "lsh": (0x60, 0), "rsh": (0x70, 0), "mod": (0x90, 0),
    "smod": (0x90, 1), "xor": (0xA0, 0), "mov": (0xB0, 0), "arsh": (0xC0, 0),
}  # fmt: skip
NEG, MOV, END = 0x80, 0xB0, 0xD0
# Section 4.2: byte order: class and source bit of each mnemonic, imm is the width.
END_OPS = {"le": ALU | END, "be": ALU | END | X, "bswap": ALU64 | END}
# Section 4.3: conditional jumps.
JUMP_OPS = {
    "jeq": 0x10, "jgt": 0x20, "jge": 0x30, "jset": 0x40, "jne": 0x50, "jsgt": 0x60,
    "jsge": 0x70, "jlt": 0xA0, "jle": 0xB0, "jslt": 0xC0, "jsle": 0xD0,
}  # fmt: skip
JUMP_CONDITIONS = {
    "==": "jeq", ">": "jgt", ">=": "jge", "&": "jset", "!=": "jne", "s>": "jsgt",
    "s>=": "jsge", "<": "jlt", "<=": "jle", "s<": "jslt", "s<=": "jsle",
}  # fmt: skip
CALL, CALLX, EXIT, JA, JA32 = JMP | 0x80, JMP | 0x80 | X, JMP | 0x90, JMP, JMP32
# Section 4.3.1: what a call calls is told by its source.
CALL_HELPER, CALL_LOCAL, CALL_RUNTIME = 0, 1, 2
# Section 5.3: atomic operations, in imm.
ATOMIC_OPS = {"add": 0x00, "or": 0x40, "and": 0x50, "xor": 0xA0, "xchg": 0xE0, "cmpxchg": 0xF0}
FETCH = 0x01
ATOMIC_ALWAYS_FETCH = frozenset({"xchg", "cmpxchg"})
# Section 5.4: what a 64-bit immediate load loads is told by its source.
LDDW = LD | IMM | SIZES["dw"]
LDDW_IMM, LDDW_MAP_BY_FD, LDDW_MAP_VALUE_BY_FD, LDDW_VARIABLE, LDDW_CODE, LDDW_MAP, LDDW_MAP_VALUE = range(7)

# One slot, section 3: opcode, src:4 dst:4, offset, imm.
_SLOT = struct.Struct("<BBhi")
SLOT_SIZE = _SLOT.size


class EncodeError(ValueError):
    """A program that cannot be put into bytes. ``index`` is the item of the program that is at fault."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"instruction {index}: {reason}")
        self.index = index
        self.reason = reason


class Label(NamedTuple):
    """A place in a program, that jumps and local calls name."""

    name: str


class Raw(NamedTuple):
    """One 8-byte slot that is no instruction of RFC 9669, as a little-endian number."""

    value: int


class Insn(NamedTuple):
    """One instruction: the fields of RFC 9669 section 3.

    The 64-bit immediate load is one ``Insn`` of two slots; its ``imm`` has imm in the low and
    next_imm in the high 32 bits. Any other ``imm`` is a signed 32-bit number.
    ``target`` names the label that fills ``offset`` (``imm`` for ja32 and local calls).
    """

    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0
    target: str | None = None

    @property
    def slots(self) -> int:
        """Slots of 8 bytes that it takes."""
        return 2 if self.opcode == LDDW else 1


Item = Insn | Label | Raw
Operand = Reg | int
Target = str | int


def imm32(value: int) -> int:
    """The signed form of a 32-bit pattern; ValueError when the value needs more bits."""
    if not -(1 << 31) <= value < 1 << 32:
        raise ValueError(f"{value:#x} does not fit in 32 bits")
    return value - (1 << 32) if value >= 1 << 31 else value


def _offset16(value: int) -> int:
    if not -(1 << 15) <= value < 1 << 15:
        raise ValueError(f"offset {value} does not fit in 16 bits")
    return value


def alu(op: str, dst: Reg, value: Operand, *, bits: int = 64) -> Insn:
    """An arithmetic instruction by its mnemonic: ``alu("sdiv", R1, 3, bits=32)``."""
    code, offset = ALU_OPS[op]
    opcode = code | (ALU64 if bits == 64 else ALU)
    if isinstance(value, Reg):
        return Insn(opcode | X, dst, value, offset)
    return Insn(opcode, dst, 0, offset, imm32(value))


AluFunction = Callable[[Reg, Operand], Insn]


def _alu(op: str) -> tuple[AluFunction, AluFunction]:
    """The 64-bit and the 32-bit form of an operation (which clears the high half of dst)."""

    def alu64(dst: Reg, value: Operand) -> Insn:
        return alu(op, dst, value)

    def alu32(dst: Reg, value: Operand) -> Insn:
        return alu(op, dst, value, bits=32)

    alu64.__name__, alu32.__name__ = op, op + "32"
    return alu64, alu32


add, add32 = _alu("add")
sub, sub32 = _alu("sub")
mul, mul32 = _alu("mul")
div, div32 = _alu("div")
sdiv, sdiv32 = _alu("sdiv")
mod, mod32 = _alu("mod")
smod, smod32 = _alu("smod")
or_, or32 = _alu("or")
and_, and32 = _alu("and")
xor, xor32 = _alu("xor")
lsh, lsh32 = _alu("lsh")
rsh, rsh32 = _alu("rsh")
arsh, arsh32 = _alu("arsh")
mov, mov32 = _alu("mov")


def neg(dst: Reg, *, bits: int = 64) -> Insn:
    """Dst = -dst."""
    return Insn(NEG | (ALU64 if bits == 64 else ALU), dst)


def movsx(width: int, dst: Reg, src: Reg, *, bits: int = 64) -> Insn:
    """Dst = the low ``width`` (8, 16, 32) bits of src, sign-extended to ``bits``."""
    return Insn(MOV | X | (ALU64 if bits == 64 else ALU), dst, src, width)


def le(width: int, dst: Reg) -> Insn:
    """The low ``width`` (16, 32, 64) bits to or from little-endian; the rest is cleared."""
    return Insn(END_OPS["le"], dst, imm=width)


def be(width: int, dst: Reg) -> Insn:
    """The low ``width`` (16, 32, 64) bits to or from big-endian; the rest is cleared."""
    return Insn(END_OPS["be"], dst, imm=width)


def bswap(width: int, dst: Reg) -> Insn:
    """Swap the bytes of the low ``width`` (16, 32, 64) bits; the rest is cleared."""
    return Insn(END_OPS["bswap"], dst, imm=width)


def lddw(dst: Reg, value: int, *, source: int = LDDW_IMM) -> Insn:
    """Load a 64-bit immediate, or with ``source`` what section 5.4 lists."""
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{value:#x} does not fit in 64 bits")
    return Insn(LDDW, dst, source, imm=value & 0xFFFF_FFFF_FFFF_FFFF)


def ld_map(dst: Reg, index: int) -> Insn:
    """Dst = the program's map of that index, as an argument for a helper."""
    return lddw(dst, index, source=LDDW_MAP)


def ld_map_value(dst: Reg, index: int, offset: int = 0) -> Insn:
    """Dst = address of byte ``offset`` in map values ``index``; 0 is the program's read-only table."""
    return lddw(dst, index | offset << 32, source=LDDW_MAP_VALUE)


def ldx(size: str, dst: Reg, base: Reg, offset: int = 0) -> Insn:
    """Dst = ``size`` ("b", "h", "w", "dw") at base + offset, zero-extended."""
    return Insn(LDX | MEM | SIZES[size], dst, base, _offset16(offset))


def ldxs(size: str, dst: Reg, base: Reg, offset: int = 0) -> Insn:
    """Dst = ``size`` ("b", "h", "w") at base + offset, sign-extended."""
    return Insn(LDX | MEMSX | SIZES[size], dst, base, _offset16(offset))


def stx(size: str, base: Reg, offset: int, src: Reg) -> Insn:
    """``size`` at base + offset = src."""
    return Insn(STX | MEM | SIZES[size], base, src, _offset16(offset))


def st(size: str, base: Reg, offset: int, value: int) -> Insn:
    """``size`` at base + offset = value."""
    return Insn(ST | MEM | SIZES[size], base, 0, _offset16(offset), imm32(value))


def atomic(op: str, size: str, base: Reg, offset: int, src: Reg, *, fetch: bool = False) -> Insn:
    """Atomic "add", "or", "and", "xor", "xchg" or "cmpxchg" (against r0) of a "w" or "dw"."""
    imm = ATOMIC_OPS[op] | (FETCH if fetch or op in ATOMIC_ALWAYS_FETCH else 0)
    return Insn(STX | ATOMIC | SIZES[size], base, src, _offset16(offset), imm)


def jump(condition: str, dst: Reg, value: Operand, target: Target, *, bits: int = 64) -> Insn:
    """Jump to ``target`` when ``dst condition value``.

    Conditions: ``== != > >= < <=`` unsigned, ``s> s>= s< s<=`` signed, ``&`` any common bit; or a mnemonic.
    """
    opcode = JUMP_OPS[JUMP_CONDITIONS.get(condition, condition)] | (JMP if bits == 64 else JMP32)
    insn = Insn(opcode | X, dst, value) if isinstance(value, Reg) else Insn(opcode, dst, imm=imm32(value))
    return (
        insn._replace(target=target) if isinstance(target, str) else insn._replace(offset=_offset16(target))
    )


def ja(target: Target) -> Insn:
    """Jump, by a 16-bit offset."""
    return Insn(JA, target=target) if isinstance(target, str) else Insn(JA, offset=_offset16(target))


def ja32(target: Target) -> Insn:
    """Jump, by a 32-bit offset (gotol)."""
    return Insn(JA32, target=target) if isinstance(target, str) else Insn(JA32, imm=imm32(target))


def call(helper: int) -> Insn:
    """Call the helper of that number."""
    return Insn(CALL, imm=imm32(helper))


def call_local(target: Target) -> Insn:
    """Call a function of this program."""
    if isinstance(target, str):
        return Insn(CALL, src=CALL_LOCAL, target=target)
    return Insn(CALL, src=CALL_LOCAL, imm=imm32(target))


def callx(reg: Reg) -> Insn:
    """Call the helper whose number is in a register."""
    return Insn(CALLX, dst=reg)


def exit_() -> Insn:
    """Return r0."""
    return Insn(EXIT)


def target_in_imm(insn: Insn) -> bool:
    """The distance of this jump or local call is in imm, not in offset."""
    return insn.opcode == JA32 or (insn.opcode == CALL and insn.src == CALL_LOCAL)


def encode(program: Iterable[Item]) -> bytes:
    """A program as bytes, 8 for each slot. EncodeError for unknown or double labels and jumps too far."""
    items = list(program)
    places: dict[str, int] = {}
    slot = 0
    for index, item in enumerate(items):
        if not isinstance(item, Label):
            slot += item.slots if isinstance(item, Insn) else 1
        elif item.name in places:
            raise EncodeError(index, f"label {item.name} is there twice")
        else:
            places[item.name] = slot

    code = bytearray()
    for index, item in enumerate(items):
        if isinstance(item, Insn):
            code += _encode_insn(index, item, len(code) // SLOT_SIZE, places)
        elif isinstance(item, Raw):
            code += item.value.to_bytes(SLOT_SIZE, "little")
    return bytes(code)


def _encode_insn(index: int, insn: Insn, slot: int, places: dict[str, int]) -> bytes:
    opcode, dst, src, offset, imm, target = insn
    if target is not None:
        if target not in places:
            raise EncodeError(index, f"no such label: {target}")
        distance = places[target] - slot - 1
        if target_in_imm(insn):
            imm = distance
        elif -(1 << 15) <= distance < 1 << 15:
            offset = distance
        else:
            raise EncodeError(
                index, f"label {target} is {distance} slots away, too far for 16 bits (use ja32)"
            )
    regs = src << 4 | dst
    if opcode == LDDW:
        low, high = imm & 0xFFFF_FFFF, imm >> 32
        return _SLOT.pack(opcode, regs, offset, imm32(low)) + _SLOT.pack(0, 0, 0, imm32(high))
    return _SLOT.pack(opcode, regs, offset, imm)


def decode(code: bytes) -> list[Insn | Raw]:
    """The instructions of a program; ValueError when its size is no multiple of 8.

    A 64-bit immediate load without its proper second slot becomes a :class:`Raw`.
    """
    if len(code) % SLOT_SIZE:
        raise ValueError(f"{len(code)} bytes: a program is a multiple of {SLOT_SIZE} bytes long")
    items: list[Insn | Raw] = []
    slots = list(_SLOT.iter_unpack(code))
    position = 0
    while position < len(slots):
        opcode, regs, offset, imm = slots[position]
        dst, src = regs & 0x0F, regs >> 4
        if opcode != LDDW:
            items.append(Insn(opcode, dst, src, offset, imm))
        elif position + 1 < len(slots) and slots[position + 1][:3] == (0, 0, 0):
            high = slots[position + 1][3]
            items.append(Insn(opcode, dst, src, offset, imm & 0xFFFF_FFFF | (high & 0xFFFF_FFFF) << 32))
            position += 1
        else:
            start = position * SLOT_SIZE
            items.append(Raw(int.from_bytes(code[start : start + SLOT_SIZE], "little")))
        position += 1
    return items
