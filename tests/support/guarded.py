# SPDX-License-Identifier: BSD-3-Clause
"""Memory that ends where it is not allowed to read: an access behind a packet ends the test run."""

from __future__ import annotations

import ctypes
import mmap

_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)


class GuardedMemory:
    """Places for packets of up to one page, each before a page of its own without access."""

    def __init__(self, places: int) -> None:
        self._map = mmap.mmap(-1, 2 * _PAGE * places)
        self._view = memoryview(self._map)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for place in range(places):
            page = ctypes.c_void_p(start + (2 * place + 1) * _PAGE)
            if _LIBC.mprotect(page, ctypes.c_size_t(_PAGE), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.places = places

    def put(self, place: int, data: bytes) -> memoryview:
        """Copy data so that it ends before the guard page of that place."""
        end = (2 * place + 1) * _PAGE
        self._view[end - len(data) : end] = data
        return self._view[end - len(data) : end]

    def truncations(self, packet: bytes, longest: int) -> list[memoryview]:
        """The packet cut to 0, 1, ... ``longest`` bytes, and whole."""
        lengths = [*range(min(len(packet), longest) + 1)]
        if longest < len(packet) <= _PAGE:
            lengths.append(len(packet))
        return [self.put(place, packet[:length]) for place, length in enumerate(lengths)]
