# SPDX-License-Identifier: BSD-3-Clause
"""Sets of numbers as perfect hash tables in the program's read-only data.

A number v is in the set exactly when table[hash(v)] ^ v is zero: members are each alone
in their slot, and a free slot holds a member that hashes elsewhere, which no v that
hashes to it can equal.

Up to some size hash(v) is the top bits of v * M. Above, a first hash picks a bucket, whose
displacement is XORed to a second one: tables stay within three times the set's size.
("Hash, displace, and compress", Belazzougui, Botelho, Dietzfelbinger, ESA 2009.)
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Final

from dpcap.filters.ir import U32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.filters.ir import Node
    from dpcap.filters.machine import Value
    from dpcap.filters.select import Selector

# Up to so many numbers one multiplication finds a table that fits the first-level cache.
_ONE_LEVEL: Final = 100
# A random multiplier separates n numbers in 2**b slots with probability exp(-n**2 / 2**(b+1)):
# b is chosen so that some hundred tries suffice.
_EXPONENT: Final = 5.0
_TRIES: Final = 500
# Numbers a bucket, on average.
_BUCKET: Final = 4


class Tables:
    """The read-only data of a program, as its sets are added."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._made: dict[tuple[int, ...], tuple[int, ...]] = {}

    def difference(self, selector: Selector, node: Node, numbers: Sequence[int]) -> Value:
        """Zero exactly when the value is one of the numbers."""
        if node.op in ("load", "clamped"):
            size = node.args[0]
            value = selector.raw(node)
            numbers = [
                int.from_bytes(k.to_bytes(size, "big"), "little") for k in numbers if not k >> 8 * size
            ]
        else:
            value = selector.value(node)
        keys = tuple(sorted(set(numbers)))
        shape = self._made.get(keys)
        if shape is None:
            shape = self._made[keys] = (
                self._one_level(keys) if len(keys) <= _ONE_LEVEL else self._two_level(keys)
            )
        m = selector.machine
        slot = m.alu("rsh32", m.alu("mul32", value, shape[1]), shape[2])
        if len(shape) > 3:
            bucket = m.alu("rsh32", m.alu("mul32", value, shape[4]), shape[5])
            base = m.alu("add", m.value("rodata", shape[3]), m.alu("lsh", bucket, 2))
            slot = m.alu("xor", slot, m.load(4, 0, base))
            # What the verifier cannot know of the displacements.
            slot = m.alu("and", slot, (1 << 32 - shape[2]) - 1)
        base = m.alu("add", m.value("rodata", shape[0]), m.alu("lsh", slot, 2))
        return m.alu("xor", m.load(4, 0, base), value)

    def _append(self, words: Sequence[int]) -> int:
        offset = len(self.data)
        self.data += struct.pack(f"<{len(words)}I", *words)
        return offset

    def _one_level(self, keys: tuple[int, ...]) -> tuple[int, ...]:
        """(table, multiplier, shift)."""
        numbers = random.Random(len(keys))  # noqa: S311 - the same program each time
        bits = max(1, (2 * len(keys) - 1).bit_length())
        while len(keys) ** 2 > _EXPONENT * (2 << bits):
            bits += 1
        while True:
            for _ in range(_TRIES):
                multiplier = numbers.randrange(1, 1 << 31, 2)
                slots = {(k * multiplier & U32) >> 32 - bits: k for k in keys}
                if len(slots) == len(keys):
                    return self._append(_filled(slots, 1 << bits)), multiplier, 32 - bits
            bits += 1

    def _two_level(self, keys: tuple[int, ...]) -> tuple[int, ...]:
        """(table, multiplier, shift, displacements, their multiplier, their shift)."""
        numbers = random.Random(len(keys))  # noqa: S311 - the same program each time
        bits = (len(keys) * 5 // 4).bit_length()
        bucket_bits = max(1, (len(keys) // _BUCKET).bit_length())
        while True:
            first, second = (numbers.randrange(1, 1 << 31, 2) for _ in range(2))
            buckets: dict[int, list[int]] = {}
            for k in keys:
                buckets.setdefault((k * second & U32) >> 32 - bucket_bits, []).append(k)
            placed = _displace(buckets, first, bits)
            if placed is not None:
                slots, displacements = placed
                words = [displacements.get(b, 0) for b in range(1 << bucket_bits)]
                table = self._append(_filled(slots, 1 << bits))
                return table, first, 32 - bits, self._append(words), second, 32 - bucket_bits


def _displace(
    buckets: dict[int, list[int]], multiplier: int, bits: int
) -> tuple[dict[int, int], dict[int, int]] | None:
    """Slots of all keys and displacements of all buckets, the fullest bucket first."""
    slots: dict[int, int] = {}
    displacements: dict[int, int] = {}
    for bucket, keys in sorted(buckets.items(), key=lambda item: -len(item[1])):
        hashes = [(k * multiplier & U32) >> 32 - bits for k in keys]
        if len(set(hashes)) < len(keys):
            return None
        for displacement in range(1 << bits):
            if not any(h ^ displacement in slots for h in hashes):
                break
        else:
            return None
        displacements[bucket] = displacement
        for h, k in zip(hashes, keys, strict=True):
            slots[h ^ displacement] = k
    return slots, displacements


def _filled(slots: dict[int, int], size: int) -> list[int]:
    """The table, with a member of another slot in each free one."""
    members = iter(slots.values())
    one = next(members)
    return [slots.get(i, one) for i in range(size)]
