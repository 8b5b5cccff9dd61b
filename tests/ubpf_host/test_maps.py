# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest
from dpcap.ubpf_host._vm import lib
from hypothesis import given
from hypothesis import strategies as st

from dpcap.ubpf_host.helpers import Helper
from dpcap.ubpf_host.maps import Map, MapError
from dpcap.ubpf_host.program import Program
from support.vm import ENGINES

# Counts packets by their first byte, in a hash.
COUNT = """
    mov %r0, 0
    jlt %r2, 1, exit
    ldxb %r3, [%r1]
    stxw [%r10-4], %r3
    lddw %r1, map_by_idx(0)
    mov %r2, %r10
    add %r2, -4
    call 1
    jeq %r0, 0, new
    mov %r1, 1
    lock fetch add [%r0], %r1
    mov %r0, %r1
    exit
new:
    stdw [%r10-16], 1
    lddw %r1, map_by_idx(0)
    mov %r2, %r10
    add %r2, -4
    mov %r3, %r10
    add %r3, -16
    mov %r4, 0
    call 2
    exit
"""


def test_dict_of_an_array() -> None:
    array = Map("array", value_size=4, max_entries=3, name="numbers")
    array[1] = 0x01020304
    array[b"\x02\0\0\0"] = b"abcd"
    assert [value for _, value in array.items()] == [bytes(4), b"\x04\x03\x02\x01", b"abcd"]
    assert (len(array), 2 in array, 3 in array) == (3, True, False)
    with pytest.raises(KeyError):
        array[3] = 0
    with pytest.raises(MapError, match="maps of this type cannot do that"):
        del array[0]
    assert repr(array) == "<Map numbers: array of 3>"


@pytest.mark.parametrize("type_", ["hash", "lru_hash"])
@given(commands=st.lists(st.tuples(st.sampled_from("sdg"), st.integers(0, 9), st.integers(0, 255))))
def test_hash_is_a_dict(type_: str, commands: list[tuple[str, int, int]]) -> None:
    hash_ = Map(type_, key_size=3, value_size=1, max_entries=10)
    model: dict[bytes, bytes] = {}
    for command, number, value in commands:
        key = number.to_bytes(3, "little")
        if command == "s":
            hash_[number] = value
            model[key] = bytes([value])
        elif command == "d" and key in model:
            del hash_[key]
            del model[key]
        else:
            assert hash_.get(key) == model.get(key)
    assert dict(hash_.items()) == model
    assert len(hash_) == len(model)


def test_errors() -> None:
    hash_ = Map("hash", key_size=2, max_entries=1)
    hash_[1] = -1
    assert hash_[1] == b"\xff" * 8
    with pytest.raises(MapError, match="the map is full"):
        hash_[2] = 0
    for action in (lambda: hash_[2], lambda: hash_.__delitem__(2)):
        with pytest.raises(KeyError):
            action()
    with pytest.raises(ValueError, match="a key of this map has 2 bytes, not 3"):
        hash_.get(b"123")
    with pytest.raises(ValueError, match="65536 does not fit in a key of 2 bytes"):
        hash_.get(65536)
    with pytest.raises(ValueError, match="no such type of map: tree"):
        Map("tree", max_entries=1)
    with pytest.raises(ValueError, match="no array with keys of 8 bytes"):
        Map("array", key_size=8, max_entries=1)
    with pytest.raises(MapError, match="maps of this type cannot do that"):
        hash_.output(b"")


def test_ring() -> None:
    ring = Map("ringbuf", max_entries=128)
    assert ring.output(b"one")
    assert ring.output(bytes(range(40)))
    assert list(ring.records()) == [b"one", bytes(range(40))]
    assert [ring.output(bytes(56)) for _ in range(3)] == [True, True, False]
    assert ring.dropped == 1
    with pytest.raises(MapError, match="a record of 121 bytes never fits"):
        ring.output(bytes(121))


def test_reader_in_another_process() -> None:
    hash_ = Map("hash", max_entries=4, value_size=4, name="shared")
    hash_[7] = b"here"
    code = """
import sys
from dpcap.ubpf_host.maps import Map, MapError
reader = Map.open(int(sys.argv[1]))
assert reader[7] == b"here", reader[7]
assert dict(reader.items()) == {bytes([7, 0, 0, 0]): b"here"}
try:
    reader[7] = b"mine"
except MapError as error:
    print(reader.name, error)
"""
    output = subprocess.run(
        [sys.executable, "-c", code, str(hash_.fd)],
        pass_fds=[hash_.fd],
        check=True,
        capture_output=True,
        text=True,
    )
    assert output.stdout == "shared the map was opened to read\n"
    assert hash_[7] == b"here"


def test_open_something_else() -> None:
    with tempfile.TemporaryFile() as file, pytest.raises(ValueError, match="holds no map of this version"):
        Map.open(file.fileno())
    read, write = os.pipe()
    with pytest.raises(ValueError, match="holds no map of this version"):
        Map.open(read)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("engine", ENGINES)
def test_program_with_a_hash(engine: str) -> None:
    counts = Map("hash", max_entries=16)
    program = Program(COUNT, maps=[counts])
    for packet in (b"a", b"b", b"axx", b"", b"a"):
        program.run(packet, engine=engine)
    assert {chr(key[0]): int.from_bytes(value, "little") for key, value in counts.items()} == {"a": 3, "b": 1}


@pytest.mark.parametrize("engine", ENGINES)
def test_program_with_an_array_addressed_directly(engine: str) -> None:
    array = Map("array", max_entries=2)
    program = Program(
        "lddw %r1, map_val(map_by_idx(1))+8\nldxdw %r0, [%r1]\nadd %r0, %r2\nstxdw [%r1], %r0\nexit",
        maps=[array],
    )
    assert [program.run(bytes(n), engine=engine) for n in (1, 2, 3)] == [1, 3, 6]
    assert array[1] == (6).to_bytes(8, "little")


@pytest.mark.parametrize("engine", ENGINES)
def test_per_lcore_values(engine: str) -> None:
    array = Map("percpu_array", max_entries=1, lcores=3)
    program = Program(
        "stw [%r10-4], 0\nlddw %r1, map_by_idx(0)\nmov %r2, %r10\nadd %r2, -4\ncall 1\njeq %r0, 0, exit\n"
        "mov %r1, 1\nlock add [%r0], %r1\ncall 8\nexit",
        maps=[array],
    )
    try:
        for lcore in (0, 2, 2, 3):
            lib.dpcap_vm_set_lcore(lcore)
            assert program.run(b"", engine=engine) == lcore % 3
    finally:
        lib.dpcap_vm_set_lcore(0)
    assert [int.from_bytes(value, "little") for value in array.values_of(0)] == [1, 0, 2]


@pytest.mark.parametrize(
    ("code", "maps"),
    [
        ("lddw %r1, map_by_idx(0)\nmov %r0, 0\nexit", []),
        ("lddw %r1, map_by_idx(0)\nldxb %r0, [%r1]\nexit", ["array"]),
        ("lddw %r1, map_val(map_by_idx(1))\nldxdw %r0, [%r1+9]\nexit", ["array"]),
        ("lddw %r1, map_val(map_by_idx(1))\nmov %r0, 0\nexit", ["hash"]),
        (COUNT.replace("jeq %r0, 0, new", "ja +0"), ["hash"]),  # NULL is not looked for
        (COUNT.replace("stxw [%r10-4], %r3", "stxh [%r10-4], %r3"), ["hash"]),  # half a key
        (COUNT.replace("[%r0], %r1", "[%r0+8], %r1"), ["hash"]),  # behind the value
        (COUNT.replace("map_by_idx(0)", "1"), ["hash"]),  # a number is no map
    ],
)
def test_refused(code: str, maps: list[str]) -> None:
    with pytest.raises(ValueError, match=r"insn|instruction"):
        Program(code, maps=[Map(type_, max_entries=1) for type_ in maps])


def test_read_only_values() -> None:
    table = Map("array", max_entries=1, read_only=True)
    table[0] = 99
    load = "lddw %r1, map_val(map_by_idx(1))\nldxdw %r0, [%r1]\nexit"
    assert Program(load, maps=[table]).run(b"") == 99
    with pytest.raises(ValueError, match="insn"):
        Program("lddw %r1, map_val(map_by_idx(1))\nstdw [%r1], 1\nmov %r0, 0\nexit", maps=[table])


def test_own_helper_replaces_one_of_the_vm() -> None:
    program = Program("call 5\nexit", helpers=[Helper(5, "always_7", (), lambda: 7)])
    assert program.run(b"") == 7
    assert Program("call 5\nexit").run(b"") > 7
