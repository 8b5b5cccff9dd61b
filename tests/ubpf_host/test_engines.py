# SPDX-License-Identifier: BSD-3-Clause
"""Other people's engines agree with ours, where they are installed."""

from __future__ import annotations

import random

import pytest

from dpcap.ubpf_host import engines
from dpcap.ubpf_host.asm import assemble
from dpcap.ubpf_host.errors import EngineError
from dpcap.ubpf_host.liveness import arguments
from dpcap.ubpf_host.program import Program

TRIVIAL = "mov %r0, 0\nexit"
# UDP over IPv4 to a port of a table, as a compiler would write it.
UDP_PORT = """
    mov %r0, 0
    jlt %r2, 42, exit
    ldxh %r3, [%r1+12]
    jne %r3, 8, exit
    ldxb %r3, [%r1+23]
    jne %r3, 17, exit
    ldxh %r3, [%r1+36]
    be16 %r3
    lddw %r4, map_val(map_by_idx(0))+2
    ldxh %r5, [%r4]
    jne %r3, %r5, exit
    mov %r0, 1
    exit
"""
TABLE = b"\0\0" + (2152).to_bytes(2, "little")


def frames() -> list[bytes]:
    rng = random.Random(1)
    udp = bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(12) + (2152).to_bytes(2, "big") + bytes(8)
    mutated = [bytearray(udp) for _ in range(200)]
    for frame in mutated:
        frame[rng.randrange(len(frame))] ^= rng.choice([0, 1, 0xFF])
    return [udp, *(udp[:length] for length in range(len(udp))), *map(bytes, mutated)]


@pytest.mark.parametrize("engine", ["ubpf", "rte_bpf"])
def test_foreign_engines_agree(engine: str) -> None:
    program = Program(UDP_PORT, rodata=TABLE)
    try:
        program.run(b"", engine=engine)
    except EngineError as error:
        if "is not installed" not in str(error):
            raise
        pytest.skip(str(error))
    answers = [program.run(frame, engine=engine) for frame in frames()]
    assert answers == [program.run(frame, engine="interp") for frame in frames()]
    assert set(answers) == {0, 1}


@pytest.mark.parametrize(("engine", "variable"), [("ubpf", "DPCAP_LIBUBPF"), ("rte_bpf", "DPCAP_LIBRTE_BPF")])
def test_not_installed(engine: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/nonexistent/lib.so")
    monkeypatch.setattr("ctypes.CDLL", _refuse)
    foreign = pytest.importorskip("dpcap.ubpf_host.foreign")
    monkeypatch.setattr(foreign, f"_{engine}", getattr(foreign, f"_{engine}").__wrapped__)
    with pytest.raises(EngineError, match=r"/nonexistent/lib\.so is not installed"):
        Program(TRIVIAL).run(b"", engine=engine)


def _refuse(name: str) -> None:
    raise OSError(name)


def test_ubpf_has_two_arguments() -> None:
    with pytest.raises(
        EngineError, match=r"uBPF cannot run this program: it reads the length on the wire \(r3\)"
    ):
        Program("mov %r0, %r3\nexit").run(b"", engine="ubpf")


def test_table_names_every_engine() -> None:
    assert list(engines.ENGINES)[:4] == ["jit", "interp", "ubpf", "rte_bpf"]
    assert all(engine.description for engine in engines.ENGINES.values())


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        (TRIVIAL, set()),
        ("mov %r0, %r2\nexit", {2}),
        ("mov %r2, 1\nmov %r0, %r2\nexit", set()),
        ("mov %r0, 0\njeq %r1, 0, exit\nmov %r0, %r4\nexit", {1, 4}),
        ("mov %r0, 0\njeq %r1, 0, l\nmov %r3, 0\nl: mov %r0, %r3\nexit", {1, 3}),
        ("mov %r0, 0\nl: add %r0, %r2\nmov %r2, %r4\njlt %r0, 9, l\nexit", {2, 4}),
        ("mov %r0, 0\nja l\nmov %r0, %r5\nl: exit", set()),
        ("ldxb %r0, [%r1]\nstxb [%r10-1], %r3\nstb [%r10-2], 0\nexit", {1, 3, 10}),
        ("mov %r0, 0\nlock cmpxchg [%r1], %r2\nexit", {1, 2}),
        ("call 1\nexit", {1, 2, 3, 4, 5}),
        ("mov %r0, 1\nneg %r0\nbe16 %r4\nexit", {4}),
        ("lddw %r0, 1\nja32 +0\nexit", set()),
    ],
)
def test_arguments_that_a_program_reads(text: str, registers: set[int]) -> None:
    assert arguments(assemble(text)) == registers
