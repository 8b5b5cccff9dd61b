# SPDX-License-Identifier: BSD-3-Clause
"""Why an expression or a program is no filter."""

from __future__ import annotations

# Columns of the expression shown with an error: one terminal line.
_SHOWN = 76


class FilterError(ValueError):
    """An expression or a cBPF program that cannot be made into a filter.

    ``message`` is one line. ``expression`` is what was compiled and ``place`` the
    (start, end) of the wrong part in it, where they are known; ``str()`` then adds
    two lines that show it::

        can't parse filter expression: syntax error
          udp prot 3
              ^~~~
    """

    def __init__(
        self, message: str, expression: str | None = None, place: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expression = expression
        self.place = place

    def __str__(self) -> str:
        if self.expression is None or self.place is None:
            return self.message
        return f"{self.message}\n{mark(self.expression, *self.place)}"


def mark(expression: str, start: int, end: int) -> str:
    """Two lines: the part of the expression around [start, end), and a caret under it."""
    # A -F file has line breaks and tabs; the caret needs one column a character.
    line = "".join(c if c.isprintable() else " " for c in expression)
    first = max(0, start - _SHOWN // 2)
    last = min(len(line), first + _SHOWN)
    left = "..." if first else ""
    right = "..." if last < len(line) else ""
    under = "^" + "~" * (min(end, last) - start - 1)
    return f"  {left}{line[first:last]}{right}\n  {' ' * (len(left) + start - first)}{under}"
