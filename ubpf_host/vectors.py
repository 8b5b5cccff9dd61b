# SPDX-License-Identifier: BSD-3-Clause
"""Test vectors (``*.data``) of bpf_conformance and of uBPF: a program, its memory, what it returns.

A file has sections, each begun by a line ``-- name``; ``#`` starts a comment:

``-- asm``      the program as text (``-- asm @ FILE``: in that file beside it), or
``-- raw``      as one 64-bit number a slot, or as the bytes in hex
``-- mem``      the memory, in hex
``-- result``   r0 at the end
``-- error``    the message of the reference implementation, when it refuses the program

Other sections (the C source, notes) mean nothing here.
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


def _sections(text: str) -> dict[str, list[tuple[int, str]]]:
    """The lines of each section, with their numbers."""
    sections: dict[str, list[tuple[int, str]]] = {}
    current: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].rstrip()
        if content.startswith("--"):
            current = sections.setdefault(content.removeprefix("--").strip(), [])
        elif content:
            current.append((number, content))
    return sections


def _assemble(path: Path, lines: list[tuple[int, str]]) -> bytes:
    # Blank lines stand for what was taken out, so that errors count the file's lines.
    text = [""] * (lines[-1][0] if lines else 0)
    for number, content in lines:
        text[number - 1] = content
    try:
        return assemble("\n".join(text))
    except AsmError as error:
        raise ValueError(f"{path}: {error}") from None


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
    sections = _sections(path.read_text())
    code = None
    for name, lines in sections.items():
        section, at, link = (part.strip() for part in name.partition("@"))
        if section == "asm" and at:
            code = _assemble(
                path.parent / link, list(enumerate((path.parent / link).read_text().splitlines(), 1))
            )
        elif section == "asm":
            code = _assemble(path, lines)
        elif section == "raw":
            code = b"".join(_raw(path, number, line) for number, line in lines)
    mem = "".join(
        line.rpartition(":")[2] for _, line in sections.get("mem", [])
    )  # "0000: 00 01" as hexdump does
    result = [line for _, line in sections.get("result", [])]
    error = [line for _, line in sections.get("error", [])]
    return Vector(
        name=path.stem,
        code=code,
        mem=bytes(int(byte, 16) for byte in re.findall("[0-9A-Fa-f]{2}", mem)),
        result=int(result[0], 0) if result else None,
        error="\n".join(error) if error else None,
    )
