# SPDX-License-Identifier: BSD-3-Clause
"""A pcapng file, or standard output. The kernel copies from the rings: no packet passes through Python."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

from dpcap.capture.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.capture.ring import Drain, Limits, Result

STDOUT = "-"


class FileSink:
    """Writes to a path, or to standard output for ``-``.

    Opening checks that the path can be written; an existing file keeps its content until start().
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._trailer: Callable[[], bytes] = bytes
        self._size = 0  # bytes of whole blocks written
        if path == STDOUT:
            if sys.stdout.isatty():
                raise UsageError(
                    "a capture is not for a terminal: redirect it (dpcap -w - ... | tshark -r -)"
                )
            self._fd = os.dup(sys.stdout.fileno())
            self._created = False
        else:
            self._created = not os.path.lexists(path)
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise OutputError(f"{path}: {error.strerror}") from error
        # What was written halfway can be taken back, or it cannot.
        self._is_regular = stat.S_ISREG(os.fstat(self._fd).st_mode) and path != STDOUT

    @property
    def done(self) -> bool:
        """Whether it wants no more packets."""
        return False

    def fileno(self) -> int:
        """Return the descriptor that is written to."""
        return self._fd

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def start(self, header: bytes, trailer: Callable[[], bytes]) -> None:
        """Begin the file with its section header block and the blocks of its interfaces.

        trailer makes the statistics blocks that will end it.
        """
        self._trailer = trailer
        try:
            if self._is_regular:
                os.ftruncate(self._fd, 0)
            self._write_all(header)
        except OSError as error:
            raise self._failure(error.errno) from error

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Write what the rings hold. Raises OutputError, or BrokenPipeError when nobody reads any more."""
        result = drain.write(self._fd, limits, flush=flush)
        self._size += result.bytes
        if result.error and result.error not in (errno.EINTR, errno.EAGAIN):
            self._cut(drain)
            raise self._failure(result.error)
        return result

    def _cut(self, drain: Drain) -> None:
        """Take back a block that was written in part, so that the file ends with a whole one."""
        if self._is_regular:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, 0, os.SEEK_END)
            drain.cut()

    def finish(self) -> None:
        """End the file with its statistics, and close it."""
        try:
            self._write_all(self._trailer())
        except OSError as error:
            if self._is_regular:
                os.ftruncate(self._fd, self._size)
            raise self._failure(error.errno) from error
        finally:
            os.close(self._fd)

    def discard(self) -> None:
        """Close, and remove a file that this sink created and that nothing was written to."""
        os.close(self._fd)
        if self._created and self._size == 0:
            os.unlink(self._path)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)

    def _failure(self, number: int | None) -> OSError | OutputError:
        if number == errno.EPIPE:
            return BrokenPipeError()
        name = "standard output" if self._path == STDOUT else self._path
        return OutputError(f"{name}: {os.strerror(number or 0)} (what was written before is complete)")
