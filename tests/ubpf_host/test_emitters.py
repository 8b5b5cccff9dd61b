# SPDX-License-Identifier: BSD-3-Clause
"""The encoding of every emitter of the JIT, against a disassembler."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

capstone = pytest.importorskip("capstone")
x86 = pytest.importorskip("capstone.x86")

# Built with the C unit tests, on x86-64.
DUMP = Path(__file__).parents[2] / "build" / "cmake" / "tests" / "shim" / "vm" / "vm_emit_dump"


def _operand(insn: Any, operand: Any) -> str:
    if operand.type == x86.X86_OP_REG:
        return insn.reg_name(operand.reg)
    if operand.type == x86.X86_OP_IMM:
        return f"#{operand.imm}"
    mem = operand.mem
    index = insn.reg_name(mem.index) if mem.index else "-"
    return f"[{insn.reg_name(mem.base)},{index},{mem.scale},{mem.disp}:{operand.size}]"


def _signed(operand: str, size: int) -> str:
    """One spelling for an immediate, which disassemblers print signed or not."""
    if not operand.startswith("#"):
        return operand
    value = int(operand[1:]) & ((1 << 8 * size) - 1)
    return f"#{value - (1 << 8 * size) if value >> (8 * size - 1) else value}"


def test_every_emitter_is_what_its_comment_says() -> None:
    if not DUMP.exists():
        pytest.skip(f"no {DUMP.name}: the JIT is for x86-64")
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    lines = subprocess.run([DUMP], check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) > 10_000
    wrong = []
    for line in lines:
        code, mnemonic, *operands = line.split("\t")
        decoded = list(decoder.disasm(bytes.fromhex(code), 0))
        got: list[str] = []
        size = 8
        if len(decoded) == 1 and decoded[0].size == len(code) // 2:
            insn = decoded[0]
            size = insn.operands[0].size if insn.operands else 8
            got = [insn.mnemonic, *(_operand(insn, operand) for operand in insn.operands)]
            # A shift by one has no immediate in its encoding; cltd and cqto have none to name.
            if len(got) == len(operands) and operands and operands[-1] == "#1":
                got.append("#1")
        wanted = [mnemonic, *operands]
        if mnemonic == "lea" and len(got) == 3:
            # It reads nothing: the size of its operand means nothing.
            got[2], wanted[2] = got[2].split(":")[0], wanted[2].split(":")[0]
        if [_signed(o, size) for o in got] != [_signed(o, size) for o in wanted]:
            wrong.append(f"{code}: wanted {wanted}, decoded {got}")
    assert not wrong, "\n".join(wrong[:20])
