# SPDX-License-Identifier: BSD-3-Clause
"""A pcapng file, or standard output. The kernel copies from the rings: no packet passes through Python."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from typing import TYPE_CHECKING

from dpcap.capture.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.capture.ring import Drain, Limits, Result

STDOUT = "-"


_PATIENCE = 2.0  # seconds, with a reader that does not read


def wait_writable(fd: int, seconds: float) -> None:
    """Wait until a pipe takes more. Raises BrokenPipeError when it does not."""
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    if not poller.poll(seconds * 1000):
        raise BrokenPipeError


class FileSink:
    """Writes to a path, or to standard output for ``-``.

    Opening checks that the path can be written; an existing file keeps its content until start().
    """

    def __init__(self, path: str, *, group_read: bool = False) -> None:
        """Open a file; group_read makes it one that its group may read, and nobody else (dumpcap's -g)."""
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
        if group_read and self._created:
            os.fchmod(self._fd, 0o640)
        # What was written halfway can be taken back, or it cannot.
        mode = os.fstat(self._fd).st_mode
        self._is_regular = stat.S_ISREG(mode) and path != STDOUT
        # Never block on a reader that has stopped reading: a signal must end the capture all the same.
        self._is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._partial = 0  # bytes of an unfinished block at the end

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
            if self._is_pipe:
                os.set_blocking(self._fd, False)
            if self._is_regular:
                os.ftruncate(self._fd, 0)
            self._write_all(header)
        except OSError as error:
            raise self._failure(error.errno) from error

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Write what the rings hold. Raises OutputError, or BrokenPipeError when nobody reads any more."""
        result = drain.write(self._fd, limits, flush=flush)
        self._size += result.bytes
        self._partial = result.partial
        if result.error and result.error not in (errno.EINTR, errno.EAGAIN):
            self._cut(drain)
            raise self._failure(result.error)
        return result

    def write(self, blocks: bytes | memoryview) -> None:
        """Write whole blocks. Raises as drain() does."""
        try:
            self._write_all(blocks)
        except OSError as error:
            if self._is_regular:
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, 0, os.SEEK_END)
            raise self._failure(error.errno) from error

    insert = write

    def _cut(self, drain: Drain) -> None:
        """Take back a block that was written in part, so that the file ends with a whole one."""
        if self._is_regular:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, 0, os.SEEK_END)
            drain.cut()
            self._partial = 0

    def finish(self) -> None:
        """End the file with its statistics, and close it."""
        try:
            if not (self._is_pipe and self._partial):
                self._write_all(self._trailer())
        except OSError as error:
            if self._is_regular:
                os.ftruncate(self._fd, self._size)
            raise self._failure(error.errno) from error
        finally:
            if self._is_pipe:  # it may be shared with other programs
                os.set_blocking(self._fd, True)
            os.close(self._fd)

    def discard(self) -> None:
        """Close, and remove a file that this sink created and that nothing was written to."""
        os.close(self._fd)
        if self._created and self._size == 0:
            os.unlink(self._path)

    def _write_all(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                wait_writable(self._fd, _PATIENCE)
        self._size += len(data)

    def _failure(self, number: int | None) -> OSError | OutputError:
        if number == errno.EPIPE:
            return BrokenPipeError()
        name = "standard output" if self._path == STDOUT else self._path
        return OutputError(f"{name}: {os.strerror(number or 0)} (what was written before is complete)")
