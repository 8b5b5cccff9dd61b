# SPDX-License-Identifier: BSD-3-Clause
"""Times as tcpdump's -t options print them."""

from __future__ import annotations

import time

NS = 1_000_000_000

DEFAULT, NONE, EPOCH, DELTA, DATE, SINCE_FIRST = range(6)  # how often -t was given


class Stamper:
    """Makes the text before a packet, the space that follows included.

    form is how often -t was given; nano asks for 9 digits instead of 6. Times are nanoseconds since 1970.
    """

    def __init__(self, form: int = DEFAULT, *, nano: bool = False) -> None:
        self._form = form
        self._nano = nano
        self._reference: int | None = None  # the time that deltas start from
        self._second = -1  # whose text is kept: local time is slow to compute
        self._text = ""

    def __call__(self, ns: int) -> str:
        """Return the text for a packet of that time."""
        if self._form == NONE:
            return ""
        if not self._nano:
            ns -= ns % 1000
        if self._form in (DELTA, SINCE_FIRST):
            return self._delta(ns)
        second, fraction = divmod(ns, NS)
        if second != self._second:
            self._second = second
            self._text = self._whole(second)
        return f"{self._text}.{self._digits(fraction)} "

    def _whole(self, second: int) -> str:
        if self._form == EPOCH:
            return str(second)
        return time.strftime(
            "%Y-%m-%d %H:%M:%S" if self._form == DATE else "%H:%M:%S", time.localtime(second)
        )

    def _delta(self, ns: int) -> str:
        if self._reference is None:
            self._reference = ns
        difference = ns - self._reference
        if self._form == DELTA:
            self._reference = ns
        second, fraction = divmod(abs(difference), NS)
        hours, rest = divmod(second % 86400, 3600)
        sign = "-" if difference < 0 else " "
        return f"{sign}{hours:02}:{rest // 60:02}:{rest % 60:02}.{self._digits(fraction)} "

    def _digits(self, fraction: int) -> str:
        return f"{fraction:09}" if self._nano else f"{fraction // 1000:06}"
