# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.asm import AsmError, assemble
from dpcap.ubpf_host.disasm import disassemble
from dpcap.ubpf_host.vectors import read_vector
from support.shared import shared

if TYPE_CHECKING:
    from pathlib import Path

# Every line is its own disassembly.
CANONICAL = """\
add %r1, 22
add32 %r1, -1
sdiv %r1, %r2
smod32 %r1, 3
mov %r0, %r10
movsx864 %r1, %r2
movsx1632 %r1, %r2
neg %r3
neg32 %r3
le16 %r0
be64 %r0
bswap32 %r0
lddw %r1, 0x123456789abcdef0
lddw %r1, map_by_fd(3)
lddw %r1, map_val(map_by_fd(3))+0x10
lddw %r1, var_addr(1)
lddw %r1, code_addr(2)
lddw %r1, map_by_idx(4)
lddw %r1, map_val(map_by_idx(0))
ldxb %r0, [%r1]
ldxsw %r0, [%r1-4]
ldxdw %r0, [%r1+8]
stw [%r10-4], -1
stxh [%r10-6], %r2
lock add [%r10-8], %r1
lock fetch or32 [%r10-8], %r1
lock xchg [%r10-8], %r1
lock cmpxchg32 [%r10-8], %r1
jeq %r1, 5, +3
jslt32 %r1, %r2, -2
ja -4
ja32 +70000
call 5
call local +60000
call runtime 7
call %r2
.quad 0x00000001ffffffff
exit
"""


def test_each_form_is_its_own_disassembly() -> None:
    for line in CANONICAL.splitlines():
        assert disassemble(assemble(line)) == line + "\n"


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("mov r0, 0X10", "mov %r0, 16"),
        ("  mov32   %r0 , -0x1 # comment", "mov32 %r0, 0xffffffff"),
        ("mov %r0, 1; exit;", "mov %r0, 1\nexit"),
        ("swap16 %r0", "bswap16 %r0"),
        ("lock fetch_add [%r10-8], %r1", "lock fetch add [%r10-8], %r1"),
        ("lock fetch xchg [%r10-8], %r1", "lock xchg [%r10-8], %r1"),
        ("call helper 5", "call 5"),
        ("ldxw %r1, [%r2 + 0x4]", "ldxw %r1, [%r2+4]"),
        ("ldxw %r1, [%r2+0xfffc]", "ldxw %r1, [%r2-4]"),
        ("a: ja a", "ja -1"),
        ("ja b\nlddw %r1, 1\nb: exit", "ja +2\nlddw %r1, 1\nexit"),
        ("call local f\nexit\nf:\nexit", "call local +1\nexit\nexit"),
        ("jne %r0, 1, exit\nmov %r0, 0\nexit\nexit", "jne %r0, 1, +1\nmov %r0, 0\nexit\nexit"),
        ("exit: ja exit\nexit", "ja -1\nexit"),
    ],
)
def test_spellings(text: str, same_as: str) -> None:
    assert assemble(text) == assemble(same_as)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit\nmov %r16, 1", "line 2, column 5: no such register: %r16 (%r0 to %r10 exist)"),
        ("mov %rx, 1", "line 1, column 5: no such register: %rx (%r0 to %r10 exist)"),
        ("mov %r1", "line 1, column 8: expected ',', found end of line"),
        ("frob %r1", "line 1, column 1: no such instruction: frob"),
        ("exit\n  ja x", "line 2, column 3: no such label: x"),
        ("mov %r1, 0x1ffffffff", "line 1, column 10: 8589934591 does not fit in 32 bits"),
        ("mov %r1, 4294967295", "line 1, column 10: 4294967295 does not fit in 32 bits"),
        ("ldxw %r1, [%r2*3]", "line 1, column 15: unexpected character '*'"),
        ("ldxw %r1, [%r2 3]", "line 1, column 16: expected +, - or ], found 3"),
        ("ldxw %r1, [%r2-0x8001]", "line 1, column 15: -32769 does not fit in 16 bits"),
        ("exit exit", "line 1, column 6: unexpected exit after exit"),
        ("a:\na:", "line 2, column 1: label a is there twice"),
        ("lddw %r1, map(3)", "line 1, column 11: no such form of lddw: map(N)"),
        (
            "lock nand [%r1], %r2",
            "line 1, column 6: no such atomic operation: nand (add, or, and, xor, xchg, cmpxchg)",
        ),
        ("jeq %r1, 2", "line 1, column 11: expected ',', found end of line"),
        ("ja [", "line 1, column 4: expected a label or a distance, found ["),
        ("5", "line 1, column 1: expected an instruction or a label, found 5"),
    ],
)
def test_errors_name_line_and_column(text: str, message: str) -> None:
    with pytest.raises(AsmError) as error:
        assemble(text)
    assert str(error.value) == message


def test_labels_in_the_disassembly() -> None:
    text = "ja L3\nlddw %r0, 0x1\nL3:\njeq %r0, 1, L3\nja -3\nexit\n"
    assert disassemble(assemble(text)) == text


# Fields that mean something are likelier than chance would have them.
_slots = st.builds(
    lambda opcode, regs, offset, imm: isa.Raw(opcode | regs << 8 | offset << 16 | imm << 32),
    st.integers(0, 255),
    st.integers(0, 255) | st.sampled_from([0x00, 0x10, 0x21, 0x61]),
    st.sampled_from([0, 1, 2, 8, 16, 32, 0xFFFF]) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 16, 32, 64, 0x41, 0xE1, 0xF1, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF),
)


@given(st.lists(_slots, max_size=20))
def test_any_bytes_survive_the_round_trip(slots: list[isa.Raw]) -> None:
    code = isa.encode(slots)
    assert assemble(disassemble(code)) == code


@given(st.text(alphabet="mov%r0123456789,+-[]: \nexitaj.quad#;()lcksw_", max_size=60))
def test_any_text_gives_bytes_or_an_error(text: str) -> None:
    try:
        code = assemble(text)
    except AsmError:
        return
    assert assemble(disassemble(code)) == code


def test_shared_vectors_parse() -> None:
    files = sorted(shared("conformance").glob("*.data"))
    assert files
    for path in files:
        vector = read_vector(path)
        assert vector.code is not None
        assert vector.result is not None
        assert assemble(disassemble(vector.code)) == vector.code


def test_vector_file_forms(tmp_path: Path) -> None:
    (tmp_path / "prog.asm").write_text("mov %r0, 1 # one\nexit\n")
    data = tmp_path / "x.data"
    data.write_text("-- asm @ prog.asm\n-- mem\n0000: 00 01\n0002: ff\n-- result\n0x1\n")
    assert read_vector(data) == ("x", assemble("mov %r0, 1\nexit"), b"\x00\x01\xff", 1, None)
    data.write_text("-- raw\n0x95\n95 00 00 00 00 00 00 00\n-- c\nint x;\n-- error\nno way\n")
    assert read_vector(data) == ("x", assemble("exit\nexit"), b"", None, "no way")
    data.write_text("-- c\nint x;\n-- asm\n\nfrob\n")
    with pytest.raises(ValueError, match=r"x\.data: line 5, column 1: no such instruction: frob"):
        read_vector(data)
