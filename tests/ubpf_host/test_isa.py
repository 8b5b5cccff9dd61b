# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pytest

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.isa import R0, R1, R2, R3, R10, Insn, Label, decode, encode


@pytest.mark.parametrize(
    ("insn", "bytes_"),
    [
        # From the figures and tables of RFC 9669, by hand: opcode, registers, offset, imm.
        (isa.add(R1, 22), "07 01 0000 16000000"),
        (isa.add(R1, R2), "0f 21 0000 00000000"),
        (isa.add32(R1, -1), "04 01 0000 ffffffff"),
        (isa.mov(R0, 0xFFFFFFFF), "b7 00 0000 ffffffff"),
        (isa.mov32(R3, R10), "bc a3 0000 00000000"),
        (isa.sdiv32(R1, 3), "34 01 0100 03000000"),
        (isa.smod(R1, R2), "9f 21 0100 00000000"),
        (isa.movsx(8, R1, R2), "bf 21 0800 00000000"),
        (isa.movsx(16, R1, R2, bits=32), "bc 21 1000 00000000"),
        (isa.neg(R2), "87 02 0000 00000000"),
        (isa.neg(R2, bits=32), "84 02 0000 00000000"),
        (isa.le(16, R0), "d4 00 0000 10000000"),
        (isa.be(32, R0), "dc 00 0000 20000000"),
        (isa.bswap(64, R0), "d7 00 0000 40000000"),
        (isa.ldx("w", R0, R1, 12), "61 10 0c00 00000000"),
        (isa.ldx("b", R0, R1, -2), "71 10 feff 00000000"),
        (isa.ldxs("h", R0, R1), "89 10 0000 00000000"),
        (isa.stx("dw", R10, -8, R3), "7b 3a f8ff 00000000"),
        (isa.st("h", R10, -8, 0x1234), "6a 0a f8ff 34120000"),
        (isa.atomic("add", "w", R10, -4, R1), "c3 1a fcff 00000000"),
        (isa.atomic("and", "dw", R10, -8, R1, fetch=True), "db 1a f8ff 51000000"),
        (isa.atomic("cmpxchg", "dw", R10, -8, R1), "db 1a f8ff f1000000"),
        (isa.jump("==", R1, 5, 3), "15 01 0300 05000000"),
        (isa.jump("s<=", R1, R2, -1, bits=32), "de 21 ffff 00000000"),
        (isa.ja(-2), "05 00 feff 00000000"),
        (isa.ja32(100000), "06 00 0000 a0860100"),
        (isa.call(5), "85 00 0000 05000000"),
        (isa.call_local(1), "85 10 0000 01000000"),
        (isa.callx(R2), "8d 02 0000 00000000"),
        (isa.exit_(), "95 00 0000 00000000"),
        (isa.lddw(R1, 0x1122334455667788), "18 01 0000 88776655 00 00 0000 44332211"),
        (isa.lddw(R1, -1), "18 01 0000 ffffffff 00 00 0000 ffffffff"),
        (isa.ld_map(R1, 3), "18 51 0000 03000000 00 00 0000 00000000"),
        (isa.ld_map_value(R1, 0, 16), "18 61 0000 00000000 00 00 0000 10000000"),
    ],
    ids=str,
)
def test_encodings(insn: Insn, bytes_: str) -> None:
    code = bytes.fromhex(bytes_)
    assert encode([insn]) == code
    assert decode(code) == [insn]


def test_labels_count_slots() -> None:
    code = encode(
        [
            Label("start"),
            isa.lddw(R0, 1),
            isa.jump(">", R1, 9, "out"),
            isa.call_local("f"),
            isa.ja32("start"),
            Label("out"),
            isa.exit_(),
            Label("f"),
            isa.exit_(),
        ]
    )
    insns = decode(code)
    assert [insn.offset for insn in insns if isinstance(insn, Insn)] == [0, 2, 0, 0, 0, 0]
    assert [insn.imm for insn in insns if isinstance(insn, Insn)] == [1, 9, 2, -5, 0, 0]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([isa.ja("nowhere")], "instruction 0: no such label: nowhere"),
        ([Label("a"), Label("a")], "instruction 1: label a is there twice"),
        (
            [isa.ja("far"), *[isa.mov(R0, 0)] * 40000, Label("far")],
            "instruction 0: label far is 40000 slots away, too far for 16 bits (use ja32)",
        ),
    ],
    ids=["unknown", "twice", "far"],
)
def test_encode_errors(program: list[isa.Item], message: str) -> None:
    with pytest.raises(isa.EncodeError) as error:
        encode(program)
    assert str(error.value) == message


def test_ja32_reaches_far() -> None:
    assert encode([isa.ja32("far"), *[isa.mov(R0, 0)] * 40000, Label("far")])[4:8] == (40000).to_bytes(
        4, "little"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: isa.mov(R0, 1 << 32),
        lambda: isa.ldx("w", R0, R1, 1 << 15),
        lambda: isa.lddw(R0, 1 << 64),
        lambda: isa.ja(-(1 << 15) - 1),
        lambda: decode(bytes(7)),
    ],
)
def test_what_does_not_fit_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"does not fit|multiple of 8"):
        make()  # type: ignore[operator]
