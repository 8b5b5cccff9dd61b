# SPDX-License-Identifier: BSD-3-Clause
"""Signals that end a program in order."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import TypeVar

    T = TypeVar("T")

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndSignals:
    """A context in which signals that ask for the end come to _ask()."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in END_SIGNALS:
            # nohup: a hangup that was ignored at the start stays ignored, as for tcpdump. An interrupt does
            # not: a script's shell ignores it for what it starts with &, and ends it by kill -INT.
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
        self.asked = True


class _Interrupted(Exception):  # noqa: N818 - no error
    """A signal came while reading."""


class Interruptible(EndSignals):
    """A context in which a signal ends iterate() after the item at hand, or while it waits for the next."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = False

    def _ask(self, number: int, frame: object) -> None:
        super()._ask(number, frame)
        if self._waiting:
            raise _Interrupted

    def iterate(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items until a signal comes."""
        try:
            while not self.asked:
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
