# SPDX-License-Identifier: BSD-3-Clause
"""Memory that ends where it is not allowed to read: an access behind a packet ends the test run."""

from __future__ import annotations

import ctypes
import mmap

_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)


class GuardedMemory:
    """Places for packets of up to ``size`` bytes, each before a page of its own without access."""

    def __init__(self, places: int, size: int = _PAGE) -> None:
        self._pages = -(-size // _PAGE) + 1
        self._map = mmap.mmap(-1, self._pages * _PAGE * places)
        self._view = memoryview(self._map)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for place in range(places):
            page = ctypes.c_void_p(self._start + self._end(place))
            if _LIBC.mprotect(page, ctypes.c_size_t(_PAGE), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.places = places

    def put(self, place: int, data: bytes) -> memoryview:
        """Copy data so that it ends before the guard page of that place."""
        end = self._end(place)
        self._view[end - len(data) : end] = data
        return self._view[end - len(data) : end]

    def _end(self, place: int) -> int:
        return ((place + 1) * self._pages - 1) * _PAGE

    def address(self, place: int, length: int) -> int:
        """Where data of that length begins."""
        return self._start + self._end(place) - length

    def truncations(self, packet: bytes, longest: int) -> list[memoryview]:
        """The packet cut to 0, 1, ... ``longest`` bytes, and whole."""
        lengths = [*range(min(len(packet), longest) + 1)]
        if longest < len(packet) <= _PAGE:
            lengths.append(len(packet))
        return [self.put(place, packet[:length]) for place, length in enumerate(lengths)]
