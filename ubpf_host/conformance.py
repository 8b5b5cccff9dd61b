# SPDX-License-Identifier: BSD-3-Clause
"""``python -m dpcap.ubpf_host.conformance``: a plugin of the bpf_conformance suite.

The runner gives the program as hex text on standard input (or after ``--program``) and the memory
as hex text in the first argument; r0 comes back in hex on standard output. An error is one line on
standard error and exit code 1. (github.com/Alan-Jowett/bpf_conformance, docs of the runner.)
"""

from __future__ import annotations

import ctypes
import math
import sys

from dpcap.ubpf_host.errors import EngineError
from dpcap.ubpf_host.helpers import Helper
from dpcap.ubpf_host.objects import Object
from dpcap.ubpf_host.program import Program

USAGE = """\
usage: python -m dpcap.ubpf_host.conformance [MEM-HEX] [options] < PROGRAM-HEX
  --engine NAME     jit (default), interp, ubpf, rte_bpf
  --jit             the same as --engine jit
  --interpret       the same as --engine interp
  --program HEX     the program, instead of standard input
  --elf             the program is an ELF object (in hex, too) with one program in it
  --debug           print the program on standard error"""


def _gather_bytes(*values: int) -> int:
    return int.from_bytes(bytes(value & 0xFF for value in values), "big")


def _memfrob(address: int, size: int) -> int:
    memory = (ctypes.c_uint8 * size).from_address(address)
    for index in range(size):
        memory[index] ^= 42
    return 0


# The helpers of uBPF's plugin, which the vectors call by number. (Its strcmp takes strings without
# a size: no signature can make that safe.) "unwind" would end the program if it returned 0; the
# suite's vectors only show that any other number does not.
HELPERS = (
    Helper(0, "gather_bytes", ("scalar",) * 5, _gather_bytes),
    Helper(1, "memfrob", ("mem_writable", "size_or_zero"), _memfrob),
    Helper(2, "no_op", (), lambda: 0),
    Helper(3, "sqrti", ("scalar",), math.isqrt),
    Helper(5, "unwind", ("scalar",), lambda value: value),
)


class UsageError(Exception):
    """A command line that makes no sense."""


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"the {what} is not hexadecimal bytes") from None


class Options:
    """The command line. The runner puts the memory first, possibly as an empty string."""

    def __init__(self, arguments: list[str]) -> None:
        self.engine: str | None = None
        self.program: str | None = None
        self.mem = b""
        self.debug = False
        self.elf = False
        rest = list(arguments)
        if rest and not rest[0].startswith("--"):
            self.mem = _hex(rest.pop(0), "memory")
        while rest:
            self._option(rest.pop(0), rest)

    def _option(self, option: str, rest: list[str]) -> None:
        name, equals, value = option.partition("=")
        if name in ("--engine", "--program"):
            if not equals:
                if not rest:
                    raise UsageError(f"{name} needs a value")
                value = rest.pop(0)
            setattr(self, name.removeprefix("--"), value)
        elif option in ("--jit", "--interpret"):
            self.engine = "jit" if option == "--jit" else "interp"
        elif option in ("--debug", "--elf"):
            setattr(self, option.removeprefix("--"), True)
        elif option:
            raise UsageError(f"no such option: {option} (--help shows them)")


def main(arguments: list[str]) -> int:
    """Run one vector; the exit code."""
    if arguments in (["--help"], ["-h"]):
        print(USAGE)  # noqa: T201 # the answer of a command
        return 0
    try:
        options = Options(arguments)
        text = sys.stdin.read() if options.program is None else options.program
        code = _hex(text, "program")
        kind, size = "memory", len(options.mem)
        if options.elf:
            program = Object(code).program(kind=kind, mem_size=size, helpers=HELPERS)
        else:
            program = Program(code, kind=kind, mem_size=size, helpers=HELPERS)
        if options.debug:
            sys.stderr.write(program.disassemble())
        result = program.run(bytearray(options.mem), engine=options.engine)
    except (UsageError, EngineError, ValueError, KeyError) as error:
        sys.stderr.write(f"{error.args[0] if error.args else error}\n")
        return 1
    print(f"{result:x}")  # noqa: T201 # the answer of a command
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
