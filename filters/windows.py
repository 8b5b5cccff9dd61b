# SPDX-License-Identifier: BSD-3-Clause
"""Which loads compare a set of packet bytes at the least cost.

A *window* is one load of 1, 2, 4 or 8 bytes. It contributes ((load & mask) ^ value),
zero when its bytes are as asked for. Loads are in the machine's byte order: the
constants are swapped once here instead of each packet at run time. Windows may begin
before the first byte they are for and reach behind the last, as long as the packet is
known to have these bytes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters.machine import is_imm32, signed

if TYPE_CHECKING:
    from dpcap.filters.ir import Bytes

_ALL_ONES: Final = (1 << 64) - 1


class Window(NamedTuple):
    """One load and what it is compared with, little-endian."""

    size: int
    offset: int
    shift: int  # shifted right by this first, which cuts low bytes off
    mask: int | None  # None: no byte is cut off
    value: int
    bits: int  # the difference is below 2**bits
    cost: int  # instructions


@functools.lru_cache(maxsize=1024)  # the forms of a filter ask for the same again
def choose(parts: Bytes, available: int) -> list[Window]:
    """The cheapest windows for all parts, by dynamic programming over the parts in order of offset.

    ``available``: bytes that the packet has for sure, beyond all parts. Not to be changed: cached.
    """
    best: list[tuple[int, list[Window]]] = [(0, [])]  # for the first i parts
    best += [(1 << 30, [])] * len(parts)
    for i, (offset, _, _) in enumerate(parts):
        so_far, windows = best[i]
        for size in (1, 2, 4, 8):
            # It begins with the first byte that is left, or ends with some byte.
            ends = {p[0] - size + 1 for p in parts[i : i + size] if p[0] - size + 1 < offset}
            for start in sorted(ends | {offset}):
                if not 0 <= start <= available - size:
                    continue
                last = i
                while last < len(parts) and parts[last][0] < start + size:
                    last += 1
                window = _window(parts[i:last], start, size)
                cost = so_far + window.cost + (1 if windows else 0)
                if cost < best[last][0]:
                    best[last] = cost, [*windows, window]
    return best[-1][1]


def _window(parts: Bytes, start: int, size: int) -> Window:
    mask = value = 0
    for offset, m, v in parts:
        mask |= m << 8 * (offset - start)
        value |= v << 8 * (offset - start)
    full = (1 << 8 * size) - 1
    cost = 1
    shift = 0
    bits = mask.bit_length()
    cut: int | None = mask
    if mask == full:
        cut = None
    elif (
        size == 8 and not is_imm32(signed(mask)) and mask == _ALL_ONES >> (shift := _low_zeros(mask)) << shift
    ):
        cut, value, bits = None, value >> shift, bits - shift
        cost += 1
    else:
        shift = 0
        cost += 1 if size < 8 or is_imm32(signed(mask)) else 2
    if value:
        cost += 1 if size < 8 or is_imm32(signed(value)) else 2
    # Without a free top bit, telling zero from the rest takes two more.
    return Window(size, start, shift, cut, value, bits, cost + (0 if bits < 64 else 2))


def _low_zeros(k: int) -> int:
    return (k & -k).bit_length() - 1
