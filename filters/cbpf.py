# SPDX-License-Identifier: BSD-3-Clause
"""Classic BPF: the model of what libpcap compiles an expression to.

McCanne and Jacobson, "The BSD Packet Filter", USENIX 1993; opcodes as in
pcap/bpf.h; semantics as in libpcap's bpf_filter.c, which is the reference.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Instruction classes (code & 0x07).
LD: Final = 0x00
LDX: Final = 0x01
ST: Final = 0x02
STX: Final = 0x03
ALU: Final = 0x04
JMP: Final = 0x05
RET: Final = 0x06
MISC: Final = 0x07
# Load sizes (code & 0x18) and modes (code & 0xe0).
W: Final = 0x00
H: Final = 0x08
B: Final = 0x10
IMM: Final = 0x00
ABS: Final = 0x20
IND: Final = 0x40
MEM: Final = 0x60
LEN: Final = 0x80
MSH: Final = 0xA0
# Operations (code & 0xf0) of ALU and JMP; the operand is k or X (code & 0x08).
ADD: Final = 0x00
SUB: Final = 0x10
MUL: Final = 0x20
DIV: Final = 0x30
OR: Final = 0x40
AND: Final = 0x50
LSH: Final = 0x60
RSH: Final = 0x70
NEG: Final = 0x80
MOD: Final = 0x90
XOR: Final = 0xA0
JA: Final = 0x00
JEQ: Final = 0x10
JGT: Final = 0x20
JGE: Final = 0x30
JSET: Final = 0x40
K: Final = 0x00
X: Final = 0x08
A: Final = 0x10  # of RET
TAX: Final = 0x00
TXA: Final = 0x80

#: Words of scratch memory, M[0] to M[15].
MEMWORDS: Final = 16

#: Bytes a load of each size takes.
SIZE: Final = {W: 4, H: 2, B: 1}

# Linux ancillary loads: k = SKF_AD_OFF + SKF_AD_x (linux/filter.h). Offsets from
# SKF_LL_OFF up are never offsets into the packet.
SKF_LL_OFF: Final = 0xFFE00000
SKF_AD_OFF: Final = 0xFFFFF000
SKF_AD_PKTTYPE: Final = 4
SKF_AD_IFINDEX: Final = 8
SKF_AD_QUEUE: Final = 24
SKF_AD_VLAN_TAG: Final = 44
SKF_AD_VLAN_TAG_PRESENT: Final = 48
SKF_AD_VLAN_TPID: Final = 60
_AD_NAMES: Final = {
    0: "protocol", 4: "packet type", 8: "interface index", 12: "netlink attribute",
    16: "nested netlink attribute", 20: "mark", 24: "queue", 28: "hardware type",
    32: "rx hash", 36: "cpu", 40: "xor with X", 44: "VLAN tag", 48: "VLAN tag present",
    52: "payload offset", 56: "random", 60: "VLAN TPID",
}  # fmt: skip
SUPPORTED_ANCILLARY: Final = frozenset(
    (SKF_AD_PKTTYPE, SKF_AD_IFINDEX, SKF_AD_QUEUE, SKF_AD_VLAN_TAG, SKF_AD_VLAN_TAG_PRESENT, SKF_AD_VLAN_TPID)
)

_ALU_OPS: Final = (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR)
CODES: Final = frozenset(
    [
        *(LD | size | mode for size in (W, H, B) for mode in (ABS, IND)),
        *(cls | mode for cls in (LD, LDX) for mode in (IMM, MEM, LEN)),
        LDX | B | MSH,
        ST,
        STX,
        *(ALU | op | src for op in _ALU_OPS for src in (K, X)),
        ALU | NEG,
        JMP | JA,
        *(JMP | op | src for op in (JEQ, JGT, JGE, JSET) for src in (K, X)),
        RET | K,
        RET | A,
        MISC | TAX,
        MISC | TXA,
    ]
)


class Insn(NamedTuple):
    """One instruction: ``struct bpf_insn``."""

    code: int  # u16
    jt: int  # u8, jumps of the JMP class are relative to the next instruction
    jf: int  # u8
    k: int  # u32


#: A program: instruction 0 is the entry.
Program = tuple[Insn, ...]

_INSN = struct.Struct("=HBBI")


def validate(instructions: Iterable[Sequence[int]]) -> Program:
    """Check what bpf_filter() takes for granted, and return the program.

    Every code is known, every jump goes forward and stays inside, scratch indices
    and constant divisors and shifts are in range, the last instruction returns.
    Raises FilterError that names the instruction.
    """
    program = tuple(Insn(*(int(v) for v in i)) for i in instructions)
    if not program:
        raise FilterError("cBPF: empty program (a program that accepts everything is: ret #262144)")
    n = len(program)
    for pc, insn in enumerate(program):
        code, jt, jf, k = insn
        if not (0 <= code < 1 << 16 and 0 <= jt < 1 << 8 and 0 <= jf < 1 << 8 and 0 <= k < 1 << 32):
            raise FilterError(f"cBPF instruction {pc}: field out of range: {tuple(insn)}")
        if code not in CODES:
            raise FilterError(f"cBPF instruction {pc}: unknown code {code:#06x}")
        cls = code & 0x07
        if cls == JMP:
            _validate_jump(program, pc)
        elif (cls in (ST, STX) or (cls in (LD, LDX) and code & 0xE0 == MEM)) and k >= MEMWORDS:
            raise FilterError(f"cBPF instruction {pc}: there is no M[{k}], only M[0] to M[{MEMWORDS - 1}]")
        elif cls == ALU and code & 0x08 == K and code & 0xF0 in (DIV, MOD) and k == 0:
            raise FilterError(f"cBPF instruction {pc}: division by zero")
        elif cls == ALU and code & 0x08 == K and code & 0xF0 in (LSH, RSH) and k > 31:
            raise FilterError(f"cBPF instruction {pc}: shift by more than 31 bits")
        elif cls == LD and code & 0xE0 == ABS:
            _validate_ancillary(pc, k)
        if pc == n - 1 and cls != RET:
            raise FilterError(f"cBPF instruction {pc}: the last instruction does not return")
    return program


def _validate_jump(program: Program, pc: int) -> None:
    code, jt, jf, k = program[pc]
    offsets = (k,) if code & 0xF0 == JA else (jt, jf)
    for offset in offsets:
        if offset >= 1 << 31:
            raise FilterError(
                f"cBPF instruction {pc}: jumps back to {pc + 1 + offset - (1 << 32)}: loops, which libpcap "
                "makes for 'protochain', cannot be compiled (use 'proto', which looks at the first header)"
            )
        if pc + 1 + offset >= len(program):
            raise FilterError(f"cBPF instruction {pc}: jumps past the last instruction")


def is_ancillary(insn: Insn) -> bool:
    """A load of what the kernel knows of a packet, not of its bytes."""
    return insn.code & 0x07 == LD and insn.code & 0xE0 == ABS and insn.k >= SKF_LL_OFF


def _validate_ancillary(pc: int, k: int) -> None:
    if k < SKF_LL_OFF:
        return
    name = _AD_NAMES.get(k - SKF_AD_OFF, "")
    if k - SKF_AD_OFF not in SUPPORTED_ANCILLARY:
        what = f"of the kernel's {name}" if name else f"at the kernel's special offset {k:#x}"
        raise FilterError(f"cBPF instruction {pc}: a load {what}, which a DPDK packet does not have")


def to_bytes(program: Iterable[Insn]) -> bytes:
    """As an array of ``struct bpf_insn`` in the machine's byte order."""
    return b"".join(_INSN.pack(*insn) for insn in program)


def format_c(program: Iterable[Insn]) -> str:
    """As tcpdump -dd: initialisers of a C array."""
    return "".join(f"{{ {i.code:#x}, {i.jt}, {i.jf}, 0x{i.k:08x} }},\n" for i in program)


def format_decimal(program: Sequence[Insn]) -> str:
    """As tcpdump -ddd: the count, then one instruction a line."""
    return f"{len(program)}\n" + "".join(f"{i.code} {i.jt} {i.jf} {i.k}\n" for i in program)
