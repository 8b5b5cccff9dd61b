# SPDX-License-Identifier: BSD-3-Clause
"""One line on a terminal that tells how a capture into a file goes on, as dumpcap and tcpdump -v have it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.capture.session import Totals

_INTERVAL = 1.0  # seconds
_CLEAR = "\r\x1b[K"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Progress:
    """Packets, their rate, drops and the size of the file, written over and over into the same line."""

    def __init__(self, totals: Callable[[], Totals], size: Callable[[], int], out: TextIO) -> None:
        self._totals = totals
        self._size = size
        self._out = out
        self._captured = 0
        self._before = time.monotonic()

    def tick(self) -> None:
        """Write the line anew when it is time to."""
        now = time.monotonic()
        if now - self._before < _INTERVAL:
            return
        captured, _, dropped = self._totals()
        rate = (captured - self._captured) / (now - self._before)
        self._captured, self._before = captured, now
        line = f"{captured} packets captured, {rate:.0f}/s, {dropped} dropped, {human(self._size())}"
        print(f"{_CLEAR}{line}", end="", file=self._out, flush=True)

    def clear(self) -> None:
        """Make room for other lines."""
        print(_CLEAR, end="", file=self._out, flush=True)


def human(size: int) -> str:
    """Return a number of bytes in the unit that leaves at most three digits before the point."""
    value, unit = float(size), 0
    while value >= 999.5 and unit + 1 < len(_UNITS):
        value /= 1000
        unit += 1
    return f"{value:.{1 if unit and value < 99.5 else 0}f} {_UNITS[unit]}"
