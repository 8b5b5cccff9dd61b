# SPDX-License-Identifier: BSD-3-Clause
"""The BPF object file: its constants and its filter are written in before libbpf sees it.

Both have a place of their own in the file (shim/uprobe/probe.bpf.c), so that no relocation and no compiler is
needed.
"""

from __future__ import annotations

import functools
import io
import os
import struct
import sys
from typing import Any, NamedTuple

from dpcap.capture.errors import ToolError
from dpcap.ubpf_host import isa

NAME = "dpcap_uprobe.bpf.o"
#: Why it may be missing.
NEEDS = "clang or libbpf's headers were not there (Debian: clang libbpf-dev), or the machine is not x86-64"

# struct uprobe_config of shim/uprobe/records.h
_CONFIG = struct.Struct("=9I")
MAX_DATA = 65535  # UPROBE_MAX_DATA: bytes of a packet
_SKIP = 2  # instructions that jump over the padding
_NO_OP = isa.encode([isa.ja(0)])


class Place(NamedTuple):
    """Where in the file something is."""

    offset: int
    size: int


class Config(NamedTuple):
    """The constants of a loaded program, in the order of struct uprobe_config."""

    capture: bool = True
    sample: int = 1  # one packet in so many
    snaplen: int = MAX_DATA
    filter_bytes: int = 0  # of a packet that the filter may look at; 0: no filter in the kernel
    candidate: bool = False  # count all calls, whatever the queue
    any_queue: bool = False  # everything belongs to one
    arguments: tuple[int, int, int] = (0, 1, 2)  # positions of queue, packets and their number


def path() -> str:
    """Return where the object file is, if it was built."""
    return os.path.join(os.path.dirname(sys.modules["dpcap"].__file__ or ""), "_native", NAME)


@functools.cache
def _read() -> tuple[bytes, Place, Place]:
    """Return the file, and the places of filter and constants."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - takes 50 ms to import

    try:
        with open(path(), "rb") as file:
            image = file.read()
    except OSError as error:
        raise ToolError(f"this dpcap was built without {NAME}: {NEEDS}") from error
    elf: Any = ELFFile(io.BytesIO(image))
    symbols = elf.get_section_by_name(".symtab")

    def place(name: str) -> Place:
        symbol = symbols.get_symbol_by_name(name)[0]
        return Place(elf.get_section(symbol["st_shndx"])["sh_offset"] + symbol["st_value"], symbol["st_size"])

    return image, place("dp_filter"), place("config")


def filter_room() -> int:
    """Return the most bytes that a filter may have."""
    return _read()[1].size - _SKIP * isa.SLOT_SIZE


def image(config: Config, filter_code: bytes = b"") -> bytes:
    """Return the object with its constants, and with a filter unless it is empty."""
    original, filter_place, config_place = _read()
    made = bytearray(original)
    made[config_place.offset : config_place.offset + _CONFIG.size] = _CONFIG.pack(
        *config[:-1], *config.arguments
    )
    if filter_code:
        made[filter_place.offset : filter_place.offset + filter_place.size] = _fill(
            filter_code, filter_place.size
        )
    return bytes(made)


def _fill(code: bytes, size: int) -> bytes:
    """Return a filter with what makes it as long as its place.

    The verifier wants every instruction to be reachable; what it knows never to be reached it drops.
    """
    padding = (size - len(code)) // isa.SLOT_SIZE - _SKIP
    return isa.encode([isa.mov(isa.R0, 0), isa.jump("==", isa.R0, 0, padding)]) + _NO_OP * padding + code
