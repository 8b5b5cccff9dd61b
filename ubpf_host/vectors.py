# SPDX-License-Identifier: BSD-3-Clause
"""Test vectors (``*.data``) of bpf_conformance and of uBPF: a program, its memory, what it returns.

A file has sections, each begun by a line ``-- name``; ``#`` starts a comment:

``-- asm``      the program as text, or
``-- raw``      as one 64-bit number a slot, or as the bytes in hex
``-- mem``      the memory, in hex
``-- result``   r0 at the end
``-- error``    the message of the reference implementation, when it refuses the program

``-- asm @ FILE`` means the contents of a file beside it. Other sections (the C source, notes)
mean nothing here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dpcap.ubpf_host.asm import AsmError, assemble

if TYPE_CHECKING:
    from pathlib import Path


class Vector(NamedTuple):
    """One test vector; ``code`` is None when it tests something else than a program (an ELF loader)."""

    name: str
    code: bytes | None
    mem: bytes
    result: int | None
    error: str | None


class _Section(NamedTuple):
    path: Path  # which file the lines are of
    lines: list[tuple[int, str]]  # without comments, with their numbers


def _lines(path: Path) -> list[tuple[int, str]]:
    return [
        (number, line.partition("#")[0].rstrip())
        for number, line in enumerate(path.read_text().splitlines(), 1)
    ]


def _sections(path: Path) -> dict[str, _Section]:
    sections: dict[str, _Section] = {}
    current = _Section(path, [])
    for number, content in _lines(path):
        if content.startswith("--"):
            name, at, link = (part.strip() for part in content.removeprefix("--").partition("@"))
            current = sections[name] = _Section(path, [])
            if at:
                linked = path.parent / link
                sections[name] = _Section(linked, [line for line in _lines(linked) if line[1]])
        elif content:
            current.lines.append((number, content))
    return sections


def _assemble(section: _Section) -> bytes:
    # Blank lines stand for what was taken out, so that errors count the file's lines.
    text = [""] * (section.lines[-1][0] if section.lines else 0)
    for number, content in section.lines:
        text[number - 1] = content
    try:
        return assemble("\n".join(text))
    except AsmError as error:
        raise ValueError(f"{section.path}: {error}") from None


def _raw(path: Path, number: int, line: str) -> bytes:
    """A line of 64-bit numbers, one a slot, or of the 8 bytes of one slot."""
    words = line.split()
    try:
        if all(re.fullmatch("[0-9A-Fa-f]{2}", word) for word in words):
            return bytes.fromhex(line)
        return b"".join(int(word, 0).to_bytes(8, "little") for word in words)
    except (ValueError, OverflowError):
        raise ValueError(f"{path}: line {number}: no 64-bit numbers: {line}") from None


def read_vector(path: Path) -> Vector:
    """Read one file. ValueError names the file and the line that is wrong."""
    sections = _sections(path)
    code = None
    if "asm" in sections:
        code = _assemble(sections["asm"])
    elif "raw" in sections:
        code = b"".join(_raw(path, number, line) for number, line in sections["raw"].lines)
    text = {name: [line for _, line in section.lines] for name, section in sections.items()}
    mem = "".join(line.rpartition(":")[2] for line in text.get("mem", []))  # "0000: 00 01" as hexdump does
    result, error = text.get("result"), text.get("error")
    return Vector(
        name=path.stem,
        code=code,
        mem=bytes(int(byte, 16) for byte in re.findall("[0-9A-Fa-f]{2}", mem)),
        result=int(result[0], 0) if result else None,
        error="\n".join(error) if error else None,
    )
