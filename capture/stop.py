# SPDX-License-Identifier: BSD-3-Clause
"""Signals that end a program in order while it reads a file."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Self

from dpcap.capture.session import END_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import TypeVar

    T = TypeVar("T")


class _Interrupted(Exception):  # noqa: N818 - no error
    """A signal came while reading."""


class Interruptible:
    """A context in which a signal ends iterate() after the item at hand, or while it waits for the next."""

    def __init__(self) -> None:
        self._asked = False
        self._waiting = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over, except a hangup that is ignored (nohup)."""
        for number in END_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked = True
        if self._waiting:
            raise _Interrupted

    def iterate(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items until a signal comes."""
        try:
            while not self._asked:
                self._waiting = True
                item = next(items, None)
                self._waiting = False
                if item is None:
                    return
                yield item
        except _Interrupted:
            return
        finally:
            self._waiting = False
