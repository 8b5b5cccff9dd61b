# SPDX-License-Identifier: BSD-3-Clause
"""Packets as people paste them: hexadecimal digits, or the dump of some program.

Digits may be grouped by spaces, colons, dashes, dots and line breaks, with or without ``0x``. Dumps are those
of tcpdump -xx and -XX, tshark -x, Wireshark (what text2pcap reads), xxd, hexdump -C, and our own: lines of
an offset, bytes, and perhaps text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_OFFSET: Final = re.compile(r"\s*(0x)?([0-9a-fA-F]{4,8})(:(?=\s)|(?=\s|\[|$))")
_BYTES: Final = re.compile(r"(?:[0-9a-fA-F]{2})+(?![^\s\]\[])")
_GAP: Final = re.compile(r"[\s\[\]]*")
_SEPARATORS: Final = re.compile(r"0[xX](?=[0-9a-fA-F])|[\s:.\-]")
# Bytes of a line after which hexdump -C leaves two spaces.
_MIDDLE: Final = 8


def parse(text: str) -> bytes:
    """The bytes of one packet. Raises ValueError, in one line, for what is no packet in hexadecimal."""
    rows = list(_rows(text))
    return _from_rows(rows) if rows else _from_digits(text)


def _from_digits(text: str) -> bytes:
    digits = _SEPARATORS.sub("", text)
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise ValueError(f"not a packet in hexadecimal: {wrong[0]!r} is no digit of it")
    if len(digits) % 2:
        raise ValueError("the packet has half a byte too many: two hexadecimal digits make one")
    return bytes.fromhex(digits)


class _Row(NamedTuple):
    offset: int
    rest: str
    repeats: bool  # lines like the one before were left out: xxd -a, hexdump and od write *


def _rows(text: str) -> Iterator[_Row]:
    """The lines of a dump; nothing where the text is not one."""
    found = repeats = False
    for line in text.splitlines():
        match = _OFFSET.match(line)
        if match and (found or _is_first(match, line)):
            yield _Row(int(match[2], 16), line[match.end() :], repeats)
            found = True
        repeats = found and line.strip() == "*"


def _is_first(match: re.Match[str], line: str) -> bool:
    """Whether a line begins a dump: its offset is 0, and looks different from the bytes."""
    rest = line[match.end() :]
    is_apart = match[3] or rest[:2].isspace() or rest.lstrip()[:1] == "["
    return int(match[2], 16) == 0 and bool(is_apart or re.match(r"\s[0-9a-fA-F]{2}(\s|$)", rest))


def _from_rows(rows: list[_Row]) -> bytes:
    data = row = b""
    width = rows[1].offset if len(rows) > 1 and not rows[1].repeats else 16
    for number, (offset, rest, repeats) in enumerate(rows):
        if repeats and row and offset > len(data):
            data += (row * (1 + (offset - len(data)) // len(row)))[: offset - len(data)]
        if offset != len(data):
            raise ValueError(
                f"after {len(data):#06x} bytes the dump goes on at {offset:#06x}: lines are missing"
            )
        following = rows[number + 1] if number + 1 < len(rows) else None
        row = _bytes_of(rest, following.offset - offset if following and not following.repeats else width)
        data += row
    return data


def _bytes_of(rest: str, size: int) -> bytes:
    """Up to ``size`` bytes, which end where the text beside them begins."""
    data, at = b"", 0
    while len(data) < size:
        gap = _GAP.match(rest, at)
        start = gap.end() if gap else at
        if data and start - at > 1 and (start - at > 2 or len(data) != _MIDDLE):
            break
        found = _BYTES.match(rest, start)
        if found is None:
            break
        data, at = data + bytes.fromhex(found[0]), found.end()
    return data[:size]
