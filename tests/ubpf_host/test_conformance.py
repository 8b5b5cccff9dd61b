# SPDX-License-Identifier: BSD-3-Clause
"""The vectors of the bpf_conformance suite, and our own, in every engine of the VM."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dpcap.ubpf_host.conformance import HELPERS
from dpcap.ubpf_host.program import Program
from dpcap.ubpf_host.vectors import read_vector
from support.shared import shared
from support.vm import ENGINES, NEEDS_JIT

OWN = sorted((Path(__file__).parent / "data").glob("*.data"))


def shared_vectors() -> list[object]:
    try:
        return sorted(shared("conformance").glob("*.data"))
    except pytest.skip.Exception as missing:
        return [pytest.param(Path("conformance"), marks=pytest.mark.skip(reason=str(missing)))]


def run_vector(path: Path, engine: str) -> None:
    vector = read_vector(path)
    assert vector.code is not None
    program = Program(vector.code, kind="memory", mem_size=len(vector.mem), helpers=HELPERS)
    assert f"{program.run(bytearray(vector.mem), engine=engine):#x}" == f"{vector.result:#x}"


def plugin(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dpcap.ubpf_host.conformance", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_vector(path: Path, engine: str) -> None:
    run_vector(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", shared_vectors(), ids=lambda path: path.stem)
def test_shared_vector(path: Path, engine: str) -> None:
    run_vector(path, engine)


@pytest.mark.parametrize("name", ["memory", "helper-calls", "atomics"])
@pytest.mark.parametrize(
    "options", [pytest.param([], marks=NEEDS_JIT), ["--engine", "interp"], ["--interpret", "--debug"]]
)
def test_plugin(name: str, options: list[str]) -> None:
    vector = read_vector(Path(__file__).parent / "data" / f"{name}.data")
    assert vector.code is not None
    # The runner separates bytes by two spaces.
    memory = [vector.mem.hex("+").replace("+", "  ")] if vector.mem else []
    result = plugin(*memory, *options, stdin=vector.code.hex(" ") + "\n")
    assert (result.returncode, int(result.stdout, 16)) == (0, vector.result)
    assert bool(result.stderr) == ("--debug" in options)


def test_plugin_takes_the_program_as_an_option() -> None:
    result = plugin("", "--program", "b700000007000000 9500000000000000", "--engine=interp")
    assert (result.returncode, result.stdout, result.stderr) == (0, "7\n", "")


def test_plugin_takes_spaces_anywhere_between_bytes() -> None:
    result = plugin(" 05\t06\n", stdin=" 71 10 01 00\n00000000\n\n9500000000000000 \n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "6\n", "")


def test_plugin_takes_objects(tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    source, target = tmp_path / "main.c", tmp_path / "main.o"
    source.write_text("unsigned long last(unsigned char *p, unsigned long n) { return p[n - 1] * 3; }")
    subprocess.run(
        ["clang", "-target", "bpf", "-O2", "-Wno-everything", "-c", source, "-o", target], check=True
    )
    result = plugin("01 07", "--elf", "--interpret", stdin=target.read_bytes().hex())
    assert (result.returncode, result.stdout, result.stderr) == (0, "15\n", "")


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["0x"], "", "the memory is not hexadecimal bytes"),
        ([], "9500", "2 bytes: a program is a multiple of 8 bytes long"),
        ([], "zz", "the program is not hexadecimal bytes"),
        (["--engine"], "", "--engine needs a value"),
        (["--frob"], "", "no such option: --frob (--help shows them)"),
        (["--engine", "frob"], "b700000007000000 9500000000000000", "no such engine: frob"),
        ([], "ff00000000000000", "instruction 0: unknown opcode 0xff"),
        ([], "0xb7", "the program is not hexadecimal bytes"),
        (["01"], "950", "the program is not hexadecimal bytes"),
        (["012"], "", "the memory is not hexadecimal bytes"),
        (["01", "02"], "", "no such option: 02"),
        (["01", "--program", ""], "", "the program is empty"),
        (["--elf"], "9500000000000000", "this is no ELF object"),
        ([], " \n", "the program is empty"),
    ],
)
def test_plugin_errors_are_one_line(arguments: list[str], stdin: str, message: str) -> None:
    result = plugin(*arguments, stdin=stdin)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
