# SPDX-License-Identifier: BSD-3-Clause
"""A file that is compressed while it is written, and the choice between it and a plain one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dpcap.capture.compression import kind_of
from dpcap.capture.ring import BYTES
from dpcap.capture.sinks.file import FileSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.capture.compression import Compressor
    from dpcap.capture.ring import Drain, Limits, Result

_BUFFER = 1 << 20  # bytes taken from the rings at once
# What was captured longer ago can be read back, whatever happens to us: often costs compression.
_FLUSH_SECONDS = 1.0


def open_file(path: str, *, group_read: bool = False) -> FileSink | CompressedSink:
    """Open a file to write to: compressed when its name ends with .gz, .zst or .lz4.

    Raises OutputError, UsageError, or ToolError when a package is missing.
    """
    kind = kind_of(path)
    stream = kind.compressor() if kind else None  # says what is missing before a file is made
    file = FileSink(path, group_read=group_read)
    return CompressedSink(file, stream) if stream else file


class CompressedSink:
    """As FileSink; sizes are those before compression."""

    def __init__(self, file: FileSink, stream: Compressor) -> None:
        self._file = file
        self._stream = stream
        self._trailer: Callable[[], bytes] = bytes
        self._buffer = bytearray(_BUFFER)
        self._flushed = time.monotonic()
        self._is_dirty = False  # something is in the compressor
        self._size = 0

    @property
    def done(self) -> bool:
        """Whether it wants no more packets."""
        return False

    def fileno(self) -> int:
        """Return the descriptor that is written to."""
        return self._file.fileno()

    @property
    def size(self) -> int:
        """Bytes that went in so far."""
        return self._size

    def start(self, header: bytes, trailer: Callable[[], bytes]) -> None:
        """Begin the file; trailer makes the statistics blocks that will end it."""
        self._trailer = trailer
        self._file.start(b"", bytes)
        self.write(header)

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Write what the rings hold. Raises OutputError, or BrokenPipeError when nobody reads any more."""
        result = drain.read(self._buffer, limits, flush=flush)
        if not result.bytes and result.stop == BYTES:  # a packet larger than the buffer
            self._buffer = bytearray(2 * len(self._buffer))
        if result.bytes:
            self.write(memoryview(self._buffer)[: result.bytes])
        if self._is_dirty and time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()
        return result

    def write(self, blocks: bytes | memoryview) -> None:
        """Write whole blocks. Raises as drain() does."""
        self._size += len(blocks)
        self._is_dirty = True
        self._file.write(self._stream.compress(blocks))

    insert = write

    def flush(self) -> None:
        """Write all that is needed to read what went in so far."""
        self._file.write(self._stream.flush())
        self._flushed = time.monotonic()
        self._is_dirty = False

    def finish(self) -> None:
        """End the file with its statistics, and close it."""
        try:
            self.write(self._trailer())
            self._file.write(self._stream.end())
        finally:
            self._file.finish()

    def discard(self) -> None:
        """Close, and remove a file that this sink created and that nothing was written to."""
        self._file.discard()
