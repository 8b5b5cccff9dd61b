# SPDX-License-Identifier: BSD-3-Clause
"""The instruction that a probe is put on: at a function's entry, and cheap.

The kernel does by itself what a push, a nop or a jump does (arch/x86/kernel/uprobes.c): half a microsecond.
Everything else is executed once more in single-step mode, for ten. Many functions begin with something
expensive and harmless, behind which nothing has happened yet: arguments and stack are as they were.
"""

from __future__ import annotations

from typing import NamedTuple

_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_REX = range(0x40, 0x50)
_OPERAND_SIZE = 0x66
_PUSH = range(0x50, 0x58)
_JUMPS = (0xE9, 0xEB)
_SHORT_CONDITIONALS = range(0x70, 0x80)
_NOP = 0x90
_TESTS = (0x84, 0x85)  # of registers and memory
_TEST_IMMEDIATE = {0xF6: 1, 0xF7: 4}  # bytes of the immediate


class Place(NamedTuple):
    """Where to probe a function."""

    offset: int  # bytes behind its first one
    is_cheap: bool  # the kernel emulates the instruction


def place(code: bytes) -> Place:
    """Choose the place in a function that begins with these bytes."""
    at = len(_ENDBR64) if code.startswith(_ENDBR64) else 0
    if _is_cheap(code[at:]):
        return Place(at, is_cheap=True)
    length = _test_length(code[at:])
    if length and _is_conditional(code[at + length :]):
        return Place(at + length, is_cheap=True)
    return Place(0, is_cheap=False)


def _is_cheap(code: bytes) -> bool:
    if not code:
        return False
    body = code[1:] if code[0] in _REX else code
    if body[:1] and body[0] in _PUSH:
        return True
    return (
        code[0] in (*_JUMPS, _NOP)
        or code[:2] == b"\x0f\x1f"
        or code[:3] == b"\x66\x0f\x1f"
        or _is_conditional(code)
    )


def _is_conditional(code: bytes) -> bool:
    return bool(code) and (
        code[0] in _SHORT_CONDITIONALS or (code[0] == 0x0F and len(code) > 1 and 0x80 <= code[1] < 0x90)
    )


def _test_length(code: bytes) -> int:
    """Return the bytes of a test of a register at the start of code, 0 if there is none."""
    at = 0
    immediate_bytes = 4
    if code[at : at + 1] and code[at] == _OPERAND_SIZE:
        at += 1
        immediate_bytes = 2
    if code[at : at + 1] and code[at] in _REX:
        at += 1
    if len(code) < at + 2 or code[at + 1] >> 6 != 3:
        return 0
    if code[at] in _TESTS:
        return at + 2
    if code[at] in _TEST_IMMEDIATE and code[at + 1] >> 3 & 7 == 0:
        return at + 2 + min(_TEST_IMMEDIATE[code[at]], immediate_bytes)
    return 0
