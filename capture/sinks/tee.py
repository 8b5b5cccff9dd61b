# SPDX-License-Identifier: BSD-3-Clause
"""A file and text at once: ``-w FILE --print``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.capture.ring import Drain, Limits, Result
    from dpcap.capture.sinks.compressed import CompressedSink
    from dpcap.capture.sinks.file import FileSink
    from dpcap.capture.sinks.text import TextSink


class TeeSink:
    """Prints what it writes. Packets pass through memory once, as printing needs them there anyway."""

    def __init__(self, file: FileSink | CompressedSink, text: TextSink) -> None:
        self._file = file
        self._text = text

    @property
    def done(self) -> bool:
        """Whether nobody reads the text any more."""
        return self._text.done

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fileno()

    def start(self, header: bytes, trailer: Callable[[], bytes]) -> None:
        """Begin both."""
        self._file.start(header, trailer)
        self._text.start(header, trailer)

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Take what the rings hold. Raises OutputError, ToolError or BrokenPipeError."""
        result, blocks = self._text.take(drain, limits, flush=flush)
        if blocks:
            self._file.write(blocks)
            self._text.write(blocks)
        return result

    def insert(self, blocks: bytes) -> None:
        """Put blocks that are no packets into the file."""
        self._file.insert(blocks)

    def finish(self) -> None:
        """End both."""
        try:
            self._file.finish()
        finally:
            self._text.finish()

    def discard(self) -> None:
        """End without having started."""
        self._file.discard()
