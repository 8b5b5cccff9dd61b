# SPDX-License-Identifier: BSD-3-Clause
"""gzip, zstd and lz4, by the end of a file's name when writing and by its first bytes when reading.

zstd and lz4 need a package each: pip install 'dpcap[compression]'. Imported when needed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dpcap.capture.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedIOBase

_MAGIC_SIZE = 4  # bytes
_CHUNK = 1 << 16


class Compressor(Protocol):
    """Makes one compressed stream."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Return what can be written of the stream after data."""

    def flush(self) -> bytes:
        """Return what is needed to read everything that was put in so far."""

    def end(self) -> bytes:
        """Return the end of the stream."""


class _Gzip:
    def __init__(self) -> None:
        import zlib  # noqa: PLC0415

        self._sync = zlib.Z_SYNC_FLUSH
        self._stream = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # 16: as gzip

    def compress(self, data: bytes | memoryview, /) -> bytes:
        return self._stream.compress(data)

    def flush(self) -> bytes:
        return self._stream.flush(self._sync)

    def end(self) -> bytes:
        return self._stream.flush()


class _Zstd:
    def __init__(self) -> None:
        zstandard = _package("zstandard", "zstd")
        self._sync = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._stream = zstandard.ZstdCompressor(level=3).compressobj()

    def compress(self, data: bytes | memoryview, /) -> bytes:
        return bytes(self._stream.compress(data))

    def flush(self) -> bytes:
        return bytes(self._stream.flush(self._sync))

    def end(self) -> bytes:
        return bytes(self._stream.flush())


class _Lz4:
    def __init__(self) -> None:
        frame = _package("lz4.frame", "lz4")
        self._stream = frame.LZ4FrameCompressor()
        self._begin = self._stream.begin()

    def compress(self, data: bytes | memoryview, /) -> bytes:
        begin, self._begin = self._begin, b""
        return bytes(begin + self._stream.compress(data))

    def flush(self) -> bytes:
        begin, self._begin = self._begin, b""
        # flush() of the package ends the frame: a further one may follow, readers take them as one stream.
        ended = begin + self._stream.flush()
        self._begin = self._stream.begin()
        return bytes(ended)

    def end(self) -> bytes:
        return self.flush() if not self._begin else b""


class Kind(NamedTuple):
    """One way to compress."""

    suffix: str
    magic: bytes
    compressor: Callable[[], Compressor]
    decompressor: Callable[[], Any]  # of one stream: decompress(), eof, unused_data


def _gunzip() -> Any:
    import zlib  # noqa: PLC0415

    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _unzstd() -> Any:
    return _package("zstandard", "zstd").ZstdDecompressor().decompressobj()


def _unlz4() -> Any:
    return _package("lz4.frame", "lz4").LZ4FrameDecompressor()


KINDS = (
    Kind(".gz", b"\x1f\x8b", _Gzip, _gunzip),
    Kind(".zst", b"\x28\xb5\x2f\xfd", _Zstd, _unzstd),
    Kind(".lz4", b"\x04\x22\x4d\x18", _Lz4, _unlz4),
)


def _package(name: str, what: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ToolError(
            f"{what} needs the Python package {package}: pip install 'dpcap[compression]' "
            f"(or use .gz, which needs nothing)"
        ) from None


def kind_of(path: str) -> Kind | None:
    """Return how a file of this name is compressed; None: it is not."""
    return next((kind for kind in KINDS if path.endswith(kind.suffix)), None)


class Input(io.RawIOBase):
    """A stream, decompressed when its first bytes say that it is compressed.

    Where compressed data is damaged or cut, what came before is still read; `damage` then says why it ends.
    """

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._ready = b""  # read; asked for up to _at
        self._at = 0
        while len(self._ready) < _MAGIC_SIZE and (more := stream.read(_MAGIC_SIZE - len(self._ready))):
            self._ready += more
        self._kind = next((kind for kind in KINDS if self._ready.startswith(kind.magic)), None)
        if self._kind:
            self._compressed, self._ready = self._ready, b""
            self._decompressor = self._kind.decompressor()
        self.damage = ""

    def read(self, size: int | None = -1) -> bytes:
        """Return size bytes; fewer only at the end. All that is left for -1."""
        wanted = 1 << 62 if size is None or size < 0 else size
        end = self._at + wanted
        if end <= len(self._ready):  # nearly always
            data = self._ready[self._at : end]
            self._at = end
            return data
        parts = [self._ready[self._at :]]
        length = len(parts[0])
        self._ready, self._at = b"", 0
        while length < wanted and (more := self._more()):
            parts.append(more)
            length += len(more)
        data = b"".join(parts)
        self._ready, self._at = data[wanted:], 0
        return data[:wanted]

    def unread(self, data: bytes) -> None:
        """Put back what was read."""
        self._ready, self._at = data + self._ready[self._at :], 0

    def _more(self) -> bytes:
        """Return what comes next, without waiting for more than there is; empty at the end."""
        if self._kind is None:
            return self._stream.read1(_CHUNK)
        found = b""
        while not found and not self.damage:
            data, self._compressed = self._compressed, b""
            data = data or self._stream.read1(_CHUNK)
            if not data:
                if not self._decompressor.eof:
                    self.damage = f"the {self._kind.suffix[1:]} data is cut short"
                break
            found = self._decompress(data)
        return found

    def _decompress(self, data: bytes) -> bytes:
        assert self._kind is not None  # noqa: S101 - only then is it called
        try:
            if self._decompressor.eof:  # another stream follows
                self._decompressor = self._kind.decompressor()
            found = bytes(self._decompressor.decompress(data))
        except Exception as error:  # noqa: BLE001 - each library has kinds of its own
            self.damage = f"the {self._kind.suffix[1:]} data is damaged ({error})"
            return b""
        self._compressed = self._decompressor.unused_data or b"" if self._decompressor.eof else b""
        return found
