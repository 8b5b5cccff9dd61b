# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpcap.ubpf_host.asm import AsmError, assemble
from dpcap.ubpf_host.errors import EngineError, VerifierError
from dpcap.ubpf_host.helpers import Helper
from dpcap.ubpf_host.isa import R0, R1, R2, Label, exit_, jump, ldx, mov
from dpcap.ubpf_host.program import Program
from support.vm import ENGINES, NEEDS_JIT

# The ethertype of a frame, or 0.
ETHERTYPE = """
    mov %r0, 0
    jlt %r2, 14, exit
    ldxh %r0, [%r1+12]
    be16 %r0
    exit
"""
IPV4 = bytes(12) + b"\x08\x00" + bytes(20)


@pytest.mark.parametrize("engine", ENGINES)
def test_code_as_text_bytes_or_instructions(engine: str) -> None:
    insns = [
        mov(R0, 0),
        jump("<", R2, 14, "out"),
        ldx("h", R0, R1, 12),
        Label("out"),
        exit_(),
    ]
    assert Program(ETHERTYPE).run(IPV4, engine=engine) == 0x800
    assert Program(assemble(ETHERTYPE)).run(IPV4, engine=engine) == 0x800
    assert Program(insns).run(IPV4, engine=engine) == 0x8
    assert Program(ETHERTYPE).run(IPV4[:13], engine=engine) == 0
    assert Program(ETHERTYPE).run(b"", engine=engine) == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=lambda kind: kind.__name__)
def test_packets_are_any_bytes(kind: type, engine: str) -> None:
    assert Program(ETHERTYPE).run(kind(IPV4), engine=engine) == 0x800
    assert Program(ETHERTYPE).run(memoryview(bytearray(1) + IPV4)[1:], engine=engine) == 0x800


@pytest.mark.parametrize("engine", ENGINES)
def test_arguments(engine: str) -> None:
    def argument(reg: int, mem: bytes = b"abc", **arguments: int) -> int:
        return Program(f"mov %r0, %r{reg}\nexit").run(mem, engine=engine, **arguments)

    assert argument(2) == 3
    assert argument(3) == 3
    assert argument(3, wirelen=1500) == 1500
    assert argument(4) == 0
    assert argument(4, meta=0xFEDC_BA98_7654_3210) == 0xFEDC_BA98_7654_3210


@pytest.mark.parametrize("engine", ENGINES)
def test_writable_memory_is_not_copied(engine: str) -> None:
    program = Program("ldxb %r0, [%r1+1]\nstb [%r1+1], 9\nexit", kind="memory", mem_size=2)
    memory = bytearray(b"\x01\x02")
    assert program.run(memory, engine=engine) == 2
    assert memory == b"\x01\x09"
    assert program.run(memoryview(memory), engine=engine) == 9


def test_memory_of_the_wrong_kind() -> None:
    program = Program("mov %r0, 0\nexit", kind="memory", mem_size=2)
    with pytest.raises(TypeError, match="pass a bytearray"):
        program.run(b"12")
    with pytest.raises(TypeError, match="pass a bytearray"):
        program.run(memoryview(b"12"))
    with pytest.raises(ValueError, match="takes 2 bytes of memory, not 3"):
        program.run(bytearray(3))
    with pytest.raises(ValueError, match="mem_size is for programs of kind memory"):
        Program("exit", mem_size=3)
    with pytest.raises(ValueError, match="mem_size is for programs of kind memory"):
        Program("exit", kind="memory")
    with pytest.raises(ValueError, match="no such kind of program: xdp"):
        Program("exit", kind="xdp")


@pytest.mark.parametrize("engine", ENGINES)
def test_read_only_table(engine: str) -> None:
    program = Program(
        "lddw %r1, map_val(map_by_idx(0))+4\nldxw %r0, [%r1]\nexit", rodata=b"\0\0\0\0\x78\x56\x34\x12"
    )
    assert program.run(b"", engine=engine) == 0x12345678


@pytest.mark.parametrize("engine", ENGINES)
def test_helpers(engine: str) -> None:
    seen = []

    def helper(a: int, b: int) -> int:
        seen.append((a, b))
        return a - b

    program = Program(
        "mov %r1, 5\nmov %r2, 7\ncall 1000\nexit",
        helpers=[Helper(1000, "minus", ("scalar", "scalar"), helper)],
    )
    assert program.run(b"", engine=engine) == (1 << 64) - 2
    assert seen == [(5, 7)]


def test_helper_signatures_are_checked() -> None:
    with pytest.raises(ValueError, match="helper f: no such argument type: int"):
        Program("exit", helpers=[Helper(1, "f", ("int",), lambda _: 0)])
    with pytest.raises(ValueError, match="helper f: 6 arguments, at most 5 exist"):
        Program("exit", helpers=[Helper(1, "f", ("scalar",) * 6, lambda *_: 0)])


@pytest.mark.parametrize("engine", ENGINES)
@given(st.lists(st.binary(max_size=20), max_size=150))
def test_burst_is_many_runs(engine: str, packets: list[bytes]) -> None:
    program = Program("mov %r0, 0\njlt %r2, 2, exit\nldxb %r0, [%r1+1]\nand %r0, 1\nxor %r0, %r3\nexit")
    wirelens = [len(packet) + index % 3 for index, packet in enumerate(packets)]
    expected = [
        program.run(packet, wirelen=wirelen, engine="interp") != 0
        for packet, wirelen in zip(packets, wirelens, strict=True)
    ]
    assert program.run_burst(packets, wirelens=wirelens, engine=engine) == expected


def test_burst_limits() -> None:
    program = Program("mov %r0, %r4\nexit")
    assert program.run_burst([b"x"] * 3, meta=1, engine="interp") == [True] * 3
    assert program.run_burst([bytes(65535)], engine="interp") == [False]
    with pytest.raises(ValueError, match="packet 1 has 65536 bytes, at most 65535 fit in a burst"):
        program.run_burst([b"", bytes(65536)], engine="interp")
    assert program.run_burst([], engine="interp") == []
    for wirelens in ([1], [1, 2, 3], [1, -1], [1, 1 << 32]):
        with pytest.raises(ValueError, match="wirelens has a number of 32 bits for each packet"):
            program.run_burst([b"1", b"2"], wirelens=wirelens)
    with pytest.raises(ValueError, match="bursts are for programs of kind packet"):
        Program("mov %r0, 0\nexit", kind="memory", mem_size=1).run_burst([b"x"])
    with pytest.raises(EngineError, match="ubpf has no bursts: jit and interp have"):
        program.run_burst([b""], engine="ubpf")


@pytest.mark.parametrize(
    "code",
    [
        "mov %r0, %r6\nexit",  # never written
        "ldxb %r0, [%r1]\nexit",  # not compared with the length
        "stb [%r1], 1\nmov %r0, 0\nexit",  # packets are read-only
        "ja -1",
        "ldxdw %r0, [%r10-516]\nexit",
        "call 1\nexit",
        "mov %r0, 0",
        ".quad 0xff",
        "",
    ],
)
def test_refused_programs(code: str) -> None:
    with pytest.raises(VerifierError) as error:
        Program(code)
    message = str(error.value)
    assert message
    assert "\n" not in message
    assert message in error.value.log


def test_message_is_the_reason_and_the_log_has_the_registers() -> None:
    with pytest.raises(VerifierError) as error:
        Program("mov %r3, 77\nldxb %r0, [%r1]\nexit")
    assert "r0 = *(u8 *)(r1 +0)" in str(error.value)
    assert "r3=77" not in str(error.value)
    assert "r3=77" in error.value.log


def test_unreadable_programs() -> None:
    with pytest.raises(AsmError, match="line 1, column 1: no such instruction: frob"):
        Program("frob")
    with pytest.raises(ValueError, match="7 bytes: a program is a multiple of 8 bytes long"):
        Program(bytes(7))


def test_disassemble() -> None:
    assert Program(ETHERTYPE).disassemble().splitlines()[:2] == ["mov %r0, 0", "jlt %r2, 14, L4"]


@NEEDS_JIT
def test_native_code() -> None:
    pytest.importorskip("capstone")
    program = Program("mov %r0, 7\nexit")
    text = program.disassemble_native()
    assert "ret" in text
    assert bytes.fromhex("".join(line[8:32].strip() for line in text.splitlines())) == program.native_code


def test_unknown_engine() -> None:
    with pytest.raises(EngineError, match=r"no such engine: warp \(jit, interp, ubpf, rte_bpf exist\)"):
        Program("mov %r0, 0\nexit").run(b"", engine="warp")
