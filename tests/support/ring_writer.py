# SPDX-License-Identifier: BSD-3-Clause
"""The shim's ring writer in the hands of a test: what a hook would write, without an application."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from cffi import FFI

from support.shared import ROOT

if TYPE_CHECKING:
    from types import TracebackType

_LIBRARY = ROOT / "build" / "cmake" / "tests" / "shim" / "ring" / "libring_feed.so"
_ffi = FFI()
_ffi.cdef("""
    void *feed_create(uint64_t size, uint32_t interface_id, uint16_t port, uint16_t queue, uint32_t direction,
                      uint32_t snaplen);
    int feed_fd(void *w);
    void feed_begin(void *w);
    int feed_put(void *w, uint64_t ts_ns, uint32_t flags, int64_t hash, const void *packet, uint32_t len,
                 uint32_t wirelen);
    void feed_publish(void *w, uint32_t received);
    void feed_close(void *w);
    void feed_destroy(void *w);
""")
_lib = _ffi.dlopen(str(_LIBRARY))


class RingWriter:
    """One ring. A context manager: leaving it frees the writer's side."""

    def __init__(
        self,
        *,
        size: int = 1 << 16,
        interface_id: int = 0,
        port: int = 0,
        queue: int = 0,
        direction: int = 1,
        snaplen: int = 262144,
    ) -> None:
        self._w = _lib.feed_create(size, interface_id, port, queue, direction, snaplen)
        if self._w == _ffi.NULL:
            raise OSError(_ffi.errno, os.strerror(_ffi.errno))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _lib.feed_destroy(self._w)

    def fileno(self) -> int:
        """Return the ring's memfd."""
        return int(_lib.feed_fd(self._w))

    def begin(self) -> None:
        """Open a burst."""
        _lib.feed_begin(self._w)

    def add(
        self, ns: int, packet: bytes, *, wirelen: int | None = None, flags: int = 0, rss: int | None = None
    ) -> bool:
        """Write one packet of the burst; False: there was no room."""
        length = len(packet) if wirelen is None else wirelen
        return bool(
            _lib.feed_put(self._w, ns, flags, -1 if rss is None else rss, packet, len(packet), length)
        )

    def publish(self, received: int = 0) -> None:
        """Close the burst and count the packets that the hook saw."""
        _lib.feed_publish(self._w, received)

    def put(self, ns: int, packet: bytes, *, wirelen: int | None = None) -> bool:
        """Write a burst of one packet."""
        self.begin()
        written = self.add(ns, packet, wirelen=wirelen)
        self.publish(1)
        return written

    def close(self) -> None:
        """Say that nothing more will come."""
        _lib.feed_close(self._w)
