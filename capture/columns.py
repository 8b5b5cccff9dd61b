# SPDX-License-Identifier: BSD-3-Clause
"""Blocks of text side by side, as many as a terminal is wide enough for."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

_GAP = "   "
# Longer lines are wrapped where blocks stand side by side: one of them must not take all the room.
_WIDEST = 72
_HANGING = 6


class Block(NamedTuple):
    """A title and the lines below it."""

    title: str
    lines: list[str]

    @property
    def width(self) -> int:
        """Columns that it takes."""
        return max(map(len, (self.title, *self.lines)))

    def wrapped(self, width: int) -> Block:
        """Return it with no line longer than width."""
        lines = []
        for line in self.lines:
            indent = " " * (len(line) - len(line.lstrip()) + _HANGING)
            lines += textwrap.wrap(
                line, width, subsequent_indent=indent, drop_whitespace=False, tabsize=8
            ) or [""]
        return Block(self.title, [line.rstrip() for line in lines])


def rows(blocks: list[Block], width: int) -> list[list[Block]]:
    """Put blocks into rows of at most width columns, in order; width 0 puts each in a row of its own."""
    if not width:
        return [[block] for block in blocks]
    found: list[list[Block]] = []
    left = 0
    for block in (b.wrapped(min(width, _WIDEST)) for b in blocks):
        needed = len(_GAP) + block.width
        if found and needed <= left:
            found[-1].append(block)
            left -= needed
        else:
            found.append([block])
            left = width - block.width
    return found


def side_by_side(blocks: list[Block]) -> list[str]:
    """Return the lines of a row; the first one holds the titles."""
    widths = [block.width for block in blocks]
    height = max(len(block.lines) for block in blocks)
    columns = [[block.title, *block.lines, *[""] * (height - len(block.lines))] for block in blocks]
    return [
        _GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]
