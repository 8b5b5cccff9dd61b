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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from dpcap.filters.ir import U32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.filters.ir import Node
    from dpcap.filters.machine import Machine, Value
    from dpcap.filters.select import Selector

# Up to so many numbers one multiplication finds a table that fits the first-level cache.
_ONE_LEVEL: Final = 100
# Keys take more room than numbers.
_ONE_LEVEL_KEYS: Final = 16
# A random multiplier separates n numbers in 2**b slots with probability exp(-n**2 / 2**(b+1)):
# b is chosen so that some hundred tries suffice.
_EXPONENT: Final = 5.0
_TRIES: Final = 500
# Numbers a bucket, on average.
_BUCKET: Final = 4
# Of more numbers of two bytes, a bit for each value there is takes less room and time.
_HASHED: Final = 100
_U64: Final = (1 << 64) - 1


class Tables:
    """The read-only data of a program, as its sets are added."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._made: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._keyed: dict[tuple[tuple[tuple[int, ...], int], ...], _Keyed] = {}
        self._bitmaps: dict[bytes, int] = {}

    def difference(self, selector: Selector, node: Node, numbers: Sequence[int]) -> Value:
        """Zero exactly when the value is one of the numbers."""
        if node.op in ("load", "clamped"):
            size = node.args[0]
            value = selector.raw(node)
            numbers = [
                int.from_bytes(k.to_bytes(size, "big"), "little") for k in numbers if not k >> 8 * size
            ]
            if size <= 2 and len(numbers) > _HASHED:
                return self.bitmap(selector.machine, value, size, numbers)
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
        bits = _one_level_bits(len(keys))
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
        bits, bucket_bits = _two_levels(len(keys))
        while True:
            first, second = (numbers.randrange(1, 1 << 31, 2) for _ in range(2))
            hashes = {
                k: ((k * second & U32) >> 32 - bucket_bits, (k * first & U32) >> 32 - bits) for k in keys
            }
            placed = _displace(hashes, bits)
            if placed is not None:
                slots, displacements = placed
                words = [displacements.get(b, 0) for b in range(1 << bucket_bits)]
                table = self._append(_filled(slots, 1 << bits))
                return table, first, 32 - bits, self._append(words), second, 32 - bucket_bits

    def find(self, machine: Machine, words: Sequence[Value], ranks: dict[tuple[int, ...], int]) -> Found:
        """Look for 64-bit words, one or two, in a table of keys with ranks."""
        m, count = machine, len(words)
        name = tuple(ranks.items())
        shape = self._keyed.get(name)
        if shape is None:
            shape = self._keyed[name] = self._keyed_table(ranks, count)
        total = m.alu("mul", words[0], m.imm(shape.multipliers[0]))
        if count > 1:
            total = m.alu("add", total, m.alu("mul", words[1], m.imm(shape.multipliers[1])))
        slot = m.alu("rsh", total, 64 - shape.bucket_bits - shape.bits)
        if shape.bucket_bits:
            slot = m.alu("and", slot, (1 << shape.bits) - 1)
            bucket = m.alu("rsh", total, 64 - shape.bucket_bits)
            at = m.alu("add", m.value("rodata", shape.displacements), m.alu("lsh", bucket, 2))
            # What the verifier cannot know of the displacements.
            slot = m.alu("and", m.alu("xor", slot, m.load(4, 0, at)), (1 << shape.bits) - 1)
        entry = m.alu("add", m.value("rodata", shape.table), m.alu("lsh", slot, 3 + count))
        difference = m.alu("xor", m.load(8, 0, entry), words[0])
        if count > 1:
            difference = m.alu("or", difference, m.alu("xor", m.load(8, 8, entry), words[1]))
        return Found(difference, m.load(4, 8 * count, entry))

    def _keyed_table(self, ranks: dict[tuple[int, ...], int], count: int) -> _Keyed:
        keys = list(ranks)
        numbers = random.Random(len(keys))  # noqa: S311 - the same program each time
        bits, bucket_bits = (
            _two_levels(len(keys)) if len(keys) > _ONE_LEVEL_KEYS else (_one_level_bits(len(keys)), 0)
        )
        tries = 0
        while True:
            multipliers = [numbers.randrange(1, 1 << 64, 2) for _ in range(count)]
            hashes = {}
            for key in keys:
                total = sum(k * m for k, m in zip(key, multipliers, strict=True)) & _U64
                slot = total >> 64 - bucket_bits - bits & (1 << bits) - 1
                hashes[key] = total >> 64 - bucket_bits if bucket_bits else 0, slot
            tries += 1
            if bucket_bits:
                placed = _displace(hashes, bits)
            else:
                slots = {slot: key for key, (_, slot) in hashes.items()}
                placed = (slots, {}) if len(slots) == len(keys) else None
                bits += tries % _TRIES == 0
            if placed is not None:
                break
        slots, displacements = placed
        table = b"".join(
            struct.pack(f"<{count}QQ", *key, ranks[key]) + bytes(8 * (count - 1))
            for key in _filled(slots, 1 << bits)
        )
        offset = self._append_bytes(table)
        words = [displacements.get(b, 0) for b in range(1 << bucket_bits)] if bucket_bits else []
        return _Keyed(offset, bits, tuple(multipliers), bucket_bits, self._append(words))

    def bitmap(self, machine: Machine, value: Value, size: int, numbers: Sequence[int]) -> Value:
        """Zero exactly when a value of 1 or 2 bytes is one of the numbers: a bit for each value there is."""
        bits = bytearray(b"\xff" * (1 << 8 * size - 3))
        for k in numbers:
            bits[k >> 3] &= ~(1 << (k & 7))
        m, name = machine, bytes(bits)
        offset = self._bitmaps.get(name)
        if offset is None:
            offset = self._bitmaps[name] = self._append_bytes(name)
        at = m.alu("add", m.value("rodata", offset), m.alu("lsh", m.alu("rsh", value, 6), 3))
        return m.alu("and", m.alu("rsh", m.load(8, 0, at), value), 1)

    def _append_bytes(self, data: bytes) -> int:
        self.data += bytes(-len(self.data) % 8)
        offset = len(self.data)
        self.data += data
        return offset


class Found(NamedTuple):
    """What a lookup gives."""

    difference: Value  # zero exactly when the key is there
    rank: Value  # which it is then


class _Keyed(NamedTuple):
    table: int
    bits: int
    multipliers: tuple[int, ...]
    bucket_bits: int  # 0: one level
    displacements: int


def _one_level_bits(count: int) -> int:
    bits = max(1, (2 * count - 1).bit_length())
    while count**2 > _EXPONENT * (2 << bits):
        bits += 1
    return bits


def _two_levels(count: int) -> tuple[int, int]:
    return (count * 5 // 4).bit_length(), max(1, (count // _BUCKET).bit_length())


Key = TypeVar("Key")


def _displace(hashes: dict[Key, tuple[int, int]], bits: int) -> tuple[dict[int, Key], dict[int, int]] | None:
    """Slots of all keys and displacements of all buckets, the fullest bucket first.

    ``hashes``: bucket and slot of each key, before displacement.
    """
    buckets: dict[int, list[tuple[int, Key]]] = {}
    for key, (bucket, slot) in hashes.items():
        buckets.setdefault(bucket, []).append((slot, key))
    slots: dict[int, Key] = {}
    displacements: dict[int, int] = {}
    for bucket, members in sorted(buckets.items(), key=lambda item: -len(item[1])):
        if len({slot for slot, _ in members}) < len(members):
            return None
        for displacement in range(1 << bits):
            if not any(slot ^ displacement in slots for slot, _ in members):
                break
        else:
            return None
        displacements[bucket] = displacement
        for slot, key in members:
            slots[slot ^ displacement] = key
    return slots, displacements


def _filled(slots: dict[int, Key], size: int) -> list[Key]:
    """The table, with a member of another slot in each free one."""
    members = iter(slots.values())
    one = next(members)
    return [slots.get(i, one) for i in range(size)]
