# SPDX-License-Identifier: BSD-3-Clause
"""Symbols of an ELF file, and where they are in a process."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, section, value, size
_UNDEFINED = 0
_PAGE = 4096
_DEBUG_FOLDERS = ("/usr/lib/debug",)


class Symbol(NamedTuple):
    """Where a symbol is, as the file was linked."""

    name: str
    value: int
    size: int


class Image:
    """An ELF file of 64 bits. A context manager: leaving it closes the file. Raises ValueError for others."""

    def __init__(self, path: str) -> None:
        from elftools.common.exceptions import ELFError  # noqa: PLC0415 - takes 50 ms to import
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415

        self._file = open(path, "rb")  # noqa: SIM115 - closed with the image
        try:
            self._elf: Any = ELFFile(self._file)
        except ELFError as error:
            self._file.close()
            raise ValueError(f"{path}: {error}") from error

    def __enter__(self) -> Self:
        """Return the image itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def symbol(self, name: str, table: str) -> Symbol | None:
        """Return a defined symbol of .dynsym or .symtab."""
        return next(iter(self.symbols(name, table)), None)

    def symbols(self, name: str, table: str) -> list[Symbol]:
        """Return the defined symbols of that name, of .dynsym or .symtab.

        A static program has tens of thousands of symbols: their names are not looked at one by one.
        """
        section = self._elf.get_section_by_name(table)
        if section is None or section["sh_type"] == "SHT_NOBITS":
            return []
        # A name may be kept as the tail of a longer one.
        names = self._elf.get_section(section["sh_link"]).data()
        wanted = {match.start() for match in re.finditer(re.escape(name.encode()) + b"\0", names)}
        return [
            Symbol(name, value, size)
            for offset, _, _, where, value, size in _SYMBOL.iter_unpack(section.data())
            if offset in wanted and where != _UNDEFINED
        ]

    def build_id(self) -> str | None:
        """Return the build id in hexadecimal."""
        section = self._elf.get_section_by_name(".note.gnu.build-id")
        if section is None:
            return None
        return next((str(note["n_desc"]) for note in section.iter_notes()), None)

    def address_of(self, offset: int) -> int:
        """Return the address, as linked, of what is at an offset of the file."""
        for segment in self._elf.iter_segments("PT_LOAD"):
            if segment["p_offset"] <= offset < segment["p_offset"] + segment["p_filesz"]:
                return int(segment["p_vaddr"] + offset - segment["p_offset"])
        raise ValueError(f"offset {offset:#x} is not loaded")

    def offset_of(self, address: int) -> int:
        """Return the offset in the file of an address as linked. ValueError when it has none."""
        for segment in self._elf.iter_segments("PT_LOAD"):
            if segment["p_vaddr"] <= address < segment["p_vaddr"] + segment["p_filesz"]:
                return int(segment["p_offset"] + address - segment["p_vaddr"])
        raise ValueError(f"{address:#x} is not in the file")

    def bias(self, start: int, offset: int) -> int:
        """Return what was added to addresses when the file's offset was mapped at start."""
        for segment in self._elf.iter_segments("PT_LOAD"):
            if segment["p_offset"] // _PAGE * _PAGE == offset:
                return start - int(segment["p_vaddr"]) // _PAGE * _PAGE
        raise ValueError(f"no segment begins at offset {offset:#x}")


def debug_file(build_id: str, root: str = "") -> str | None:
    """Return the separate debug file of a build id, where distributions put it, if it is there."""
    for folder in _DEBUG_FOLDERS:
        path = f"{root}{folder}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
        if os.path.exists(path):
            return path
    return None
