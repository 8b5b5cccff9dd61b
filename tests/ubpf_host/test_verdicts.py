# SPDX-License-Identifier: BSD-3-Clause
"""Comparisons between two constant results, of which the JIT makes no jump: the interpreter's results."""

from __future__ import annotations

import pytest

from dpcap.ubpf_host.program import Program
from support.vm import NEEDS_JIT

JUMPS = [
    "jeq", "jne", "jset", "jgt", "jge", "jlt", "jle", "jsgt", "jsge", "jslt", "jsle",
]  # fmt: skip
VALUES = [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 64) - 2]
OPERANDS = ["0", "1", "-1", "-2", "2147483647", "%r5"]
RESULTS = [(0, 1), (262144, 0), (0, 2147483647), (0, -1), (1, 2), (0, 0)]


@NEEDS_JIT
@pytest.mark.parametrize("bits", ["", "32"])
@pytest.mark.parametrize("jump", JUMPS)
def test_every_comparison(jump: str, bits: str) -> None:
    for operand in OPERANDS:
        for falls, jumps in RESULTS:
            # %r4 itself may stay in its register for the next packet of a burst: it has to survive.
            for register, copy in (("%r0", "mov %r0, %r4"), ("%r4", "mov %r0, 7")):
                program = Program(
                    f"mov %r5, 2\n{copy}\n{jump}{bits} {register}, {operand}, there\n"
                    f"mov %r0, {falls}\nexit\nthere:\nmov %r0, {jumps}\nexit"
                )
                for value in VALUES:
                    wanted = program.run(b"", meta=value, engine="interp")
                    assert program.run(b"", meta=value, engine="jit") == wanted, (operand, value)
                    found = program.run_burst([b""] * 3, meta=value, engine="jit")
                    assert found == [wanted != 0] * 3, (operand, value)


@NEEDS_JIT
def test_a_verdict_that_something_else_leads_into() -> None:
    program = Program(
        "mov %r0, %r3\njeq %r0, 9, accept\njgt %r0, 5, there\n"
        "accept:\nmov %r0, 1\nexit\nthere:\nmov %r0, 0\nexit"
    )
    lengths = [3, 9, 7]
    wanted = [True, True, False]
    assert [program.run(b"", wirelen=n, engine="jit") == 1 for n in lengths] == wanted
    assert program.run_burst([b""] * 3, wirelens=lengths, engine="jit") == wanted
