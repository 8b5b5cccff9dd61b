# SPDX-License-Identifier: BSD-3-Clause
"""The plain translation: each cBPF instruction becomes its eBPF, one after the other.

It is what ``optimize=False`` gives, what the optimised forms are compared with,
and where they go with packets too short for their assumptions. Registers:

    r0 = A    r5 = X    r1 packet    r2 its length    r3 length on the wire    r4 metadata
    M[i] at r10 - 64 + 4 * i

A and X are kept zero-extended, so that addresses are computed in 64 bits and
cannot wrap. Nothing else is needed: r6 to r9 stay free, and the program a leaf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dpcap.filters import cbpf
from dpcap.filters.flow import BIT_A, BIT_X, analyse, never_in_bounds, successors
from dpcap.ubpf_host.isa import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R10,
    Item,
    Label,
    Reg,
    add,
    alu,
    and32,
    and_,
    be,
    exit_,
    ja,
    ja32,
    jump,
    ldx,
    lsh,
    lsh32,
    mov,
    mov32,
    neg,
    rsh,
    st,
    stx,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator

_A: Final = R0
_X: Final = R5
_ALU: Final = {
    cbpf.ADD: "add", cbpf.SUB: "sub", cbpf.MUL: "mul", cbpf.DIV: "div", cbpf.OR: "or",
    cbpf.AND: "and", cbpf.LSH: "lsh", cbpf.RSH: "rsh", cbpf.MOD: "mod", cbpf.XOR: "xor",
}  # fmt: skip
_CONDITION: Final = {cbpf.JEQ: "==", cbpf.JGT: ">", cbpf.JGE: ">=", cbpf.JSET: "&"}
_INVERSE: Final = {"==": "!=", ">": "<=", ">=": "<"}
_SIZE: Final = {1: "b", 2: "h", 4: "w"}

# The metadata word, DPCAP_VM_META_* in dpcap_vm.h.
META_OUTBOUND: Final = 2  # the bit of the direction that tells outbound
META_PORT_SHIFT: Final = 32
META_QUEUE_SHIFT: Final = 16
# linux/if_packet.h: what libpcap compares the packet type with. The rest are inbound.
PACKET_OUTGOING: Final = 4

# Where a load out of bounds and a division by zero go: return 0. A long program has
# one such place for each stretch of cBPF instructions, within reach of 16-bit jumps.
_STRETCH: Final = 2048


def translate(program: cbpf.Program) -> list[Item]:
    """EBPF with the same result for every packet as libpcap's bpf_filter() has.

    ``program`` has passed cbpf.validate().
    """
    return list(_translate(program))


def _translate(program: cbpf.Program) -> Iterator[Item]:
    flow = analyse(program)
    for slot in range(cbpf.MEMWORDS):
        if flow.unset >> slot & 1:
            yield st("w", R10, _slot(slot), 0)
    for bit, register in ((BIT_A, _A), (BIT_X, _X)):
        if flow.unset & bit:
            yield mov(register, 0)
    rejects = False
    for pc, insn in enumerate(program):
        if pc in flow.reachable:
            if pc in flow.targets:
                yield Label(_at(pc))
            for item in _one(pc, insn):
                rejects = rejects or getattr(item, "target", None) == _reject(pc)
                yield item
        if rejects and (pc + 1 == len(program) or _reject(pc + 1) != _reject(pc)):
            falls_through = pc in flow.reachable and pc + 1 in successors(program, pc)
            if falls_through:
                yield ja(f"over_{_reject(pc)}")
            yield Label(_reject(pc))
            yield mov(R0, 0)
            yield exit_()
            if falls_through:
                yield Label(f"over_{_reject(pc)}")
            rejects = False


def _at(pc: int) -> str:
    return f"cbpf_{pc}"


def _reject(pc: int) -> str:
    return f"reject_{pc // _STRETCH}"


def _goto(pc: int, distance: int) -> Item:
    target = _at(pc + 1 + distance)
    # No instruction becomes more than seven.
    return ja(target) if distance < _STRETCH else ja32(target)


def _slot(k: int) -> int:
    return 4 * k - 4 * cbpf.MEMWORDS


def _one(pc: int, insn: cbpf.Insn) -> Iterator[Item]:
    code, _, _, k = insn
    cls = code & 0x07
    if cls == cbpf.LD:
        yield from _load(pc, insn)
    elif cls == cbpf.LDX:
        yield from _load_x(pc, insn)
    elif cls == cbpf.ST:
        yield stx("w", R10, _slot(k), _A)
    elif cls == cbpf.STX:
        yield stx("w", R10, _slot(k), _X)
    elif cls == cbpf.ALU:
        yield from _alu(pc, code, k)
    elif cls == cbpf.JMP:
        yield from _jump(pc, insn)
    elif cls == cbpf.RET:
        if code & 0x18 == cbpf.K:
            yield mov32(R0, k)
        yield exit_()
    elif code & 0xF8 == cbpf.TAX:
        yield mov(_X, _A)
    else:
        yield mov(_A, _X)


def _load(pc: int, insn: cbpf.Insn) -> Iterator[Item]:
    code, _, _, k = insn
    mode = code & 0xE0
    if mode == cbpf.IMM:
        yield mov32(_A, k)
    elif mode == cbpf.LEN:
        yield mov32(_A, R3)
    elif mode == cbpf.MEM:
        yield ldx("w", _A, R10, _slot(k))
    elif mode == cbpf.ABS and k >= cbpf.SKF_LL_OFF:
        yield from _ancillary(k - cbpf.SKF_AD_OFF)
    else:
        yield from _load_packet(pc, insn, cbpf.SIZE[code & 0x18], _A, indexed=mode == cbpf.IND)


def _load_x(pc: int, insn: cbpf.Insn) -> Iterator[Item]:
    code, _, _, k = insn
    mode = code & 0xE0
    if mode == cbpf.IMM:
        yield mov32(_X, k)
    elif mode == cbpf.LEN:
        yield mov32(_X, R3)
    elif mode == cbpf.MEM:
        yield ldx("w", _X, R10, _slot(k))
    else:  # MSH: X = 4 * (P[k] & 0xf), the length of an IPv4 header
        yield from _load_packet(pc, insn, 1, _X, indexed=False)
        if not never_in_bounds(insn):
            yield and32(_X, 0xF)
            yield lsh32(_X, 2)


def _load_packet(pc: int, insn: cbpf.Insn, size: int, to: Reg, *, indexed: bool) -> Iterator[Item]:
    """Load big-endian, or reject when a byte is missing."""
    k = insn.k
    if never_in_bounds(insn):
        yield ja(_reject(pc))
        return
    offset = k if k < 1 << 15 else 0
    if not indexed and k == offset:
        yield jump("<", R2, k + size, _reject(pc))
        yield ldx(_SIZE[size], to, R1, k)
    else:
        # X + k + size takes at most 33 bits.
        if indexed:
            yield mov(to, _X)
            yield add(to, k + size)
        else:
            yield mov(to, k + size)
        yield jump(">", to, R2, _reject(pc))
        yield mov(to, R1)
        if indexed:
            yield add(to, _X)
        if k != offset:
            yield add(to, k)
        yield ldx(_SIZE[size], to, to, offset)
    if size > 1:
        yield be(8 * size, to)


def _ancillary(which: int) -> Iterator[Item]:
    if which == cbpf.SKF_AD_PKTTYPE:
        yield mov(_A, R4)
        yield and_(_A, META_OUTBOUND)
        yield lsh(_A, (PACKET_OUTGOING // META_OUTBOUND).bit_length() - 1)
    elif which in (cbpf.SKF_AD_IFINDEX, cbpf.SKF_AD_QUEUE):
        yield mov(_A, R4)
        yield rsh(_A, META_PORT_SHIFT if which == cbpf.SKF_AD_IFINDEX else META_QUEUE_SHIFT)
        yield and_(_A, 0xFFFF)
    else:
        # A stripped VLAN tag is put back before a filter runs, so none is apart.
        yield mov(_A, 0)


def _alu(pc: int, code: int, k: int) -> Iterator[Item]:
    op = code & 0xF0
    if op == cbpf.NEG:
        yield neg(_A, bits=32)
        return
    name = _ALU[op]
    if code & 0x08 == cbpf.K:
        yield alu(name, _A, k, bits=32)
        return
    if op in (cbpf.DIV, cbpf.MOD):
        yield jump("==", _X, 0, _reject(pc))
    if op not in (cbpf.LSH, cbpf.RSH):
        yield alu(name, _A, _X, bits=32)
        return
    # eBPF shifts by X mod 32, cBPF shifts everything out.
    yield jump("<", _X, 32, f"shift_{pc}")
    yield mov(_A, 0)
    yield Label(f"shift_{pc}")
    yield alu(name, _A, _X, bits=32)


def _jump(pc: int, insn: cbpf.Insn) -> Iterator[Item]:
    code, jt, jf, k = insn
    op = code & 0xF0
    if op == cbpf.JA or jt == jf:
        distance = k if op == cbpf.JA else jt
        if distance:
            yield _goto(pc, distance)
        return
    # 32-bit jumps: a 64-bit one would sign-extend an immediate above 2**31.
    operand = k if code & 0x08 == cbpf.K else _X
    condition = _CONDITION[op]
    if jt == 0 and condition in _INVERSE:
        yield jump(_INVERSE[condition], _A, operand, _at(pc + 1 + jf), bits=32)
        return
    if jt == 0:  # & has no inverse
        yield jump(condition, _A, operand, f"set_{pc}", bits=32)
        yield _goto(pc, jf)
        yield Label(f"set_{pc}")
        return
    yield jump(condition, _A, operand, _at(pc + 1 + jt), bits=32)
    if jf:
        yield _goto(pc, jf)
