# SPDX-License-Identifier: BSD-3-Clause
"""Maps: memory that programs, this process and readers in other processes share."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from dpcap.ubpf_host._vm import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterator

# enum dpcap_vm_map_type, by the names that Linux gives the types.
TYPES = {
    "array": lib.DPCAP_VM_MAP_ARRAY,
    "percpu_array": lib.DPCAP_VM_MAP_PERCPU_ARRAY,
    "hash": lib.DPCAP_VM_MAP_HASH,
    "lru_hash": lib.DPCAP_VM_MAP_LRU_HASH,
    "ringbuf": lib.DPCAP_VM_MAP_RING,
}
_TYPE_NAMES = {number: name for name, number in TYPES.items()}
# Keys and values: bytes of the right size, or a number (little-endian).
Cell = bytes | bytearray | memoryview | int


class MapError(RuntimeError):
    """What a map cannot do: a full hash, a record larger than its ring."""


class Map:
    """A map. Arrays and hashes read like a dict of bytes to bytes; see :meth:`records` for rings.

    Keys and values are given as bytes of exactly ``key_size`` and ``value_size``, or as numbers.
    ``lcores`` is for how many lcores a "percpu_array" has values. ValueError for a shape that
    makes no sense.
    """

    def __init__(
        self,
        type_: str,
        *,
        key_size: int = 4,
        value_size: int = 8,
        max_entries: int,
        name: str = "",
        lcores: int = 1,
        read_only: bool = False,
    ) -> None:
        if type_ not in TYPES:
            raise ValueError(f"no such type of map: {type_} ({', '.join(TYPES)})")
        ring = type_ == "ringbuf"
        definition = ffi.new(
            "struct dpcap_vm_map_def *",
            {
                "name": name.encode()[: lib.DPCAP_VM_MAP_NAME_SIZE - 1],
                "type": TYPES[type_],
                "key_size": 0 if ring else key_size,
                "value_size": 0 if ring else value_size,
                "max_entries": max_entries,
                "read_only": read_only,
            },
        )
        handle = ffi.new("struct dpcap_vm_map **")
        error = lib.dpcap_vm_map_create(definition, lcores, handle)
        if error in (-errno.EINVAL, -errno.E2BIG):
            raise ValueError(
                f"no {type_} with keys of {key_size} bytes, values of {value_size} and {max_entries} entries"
            )
        _check(error)
        self._adopt(ffi.gc(handle[0], lib.dpcap_vm_map_free))

    @classmethod
    def open(cls, fd: int) -> Map:
        """Map the memory of another process's map, to read it. ValueError: fd holds no map."""
        handle = ffi.new("struct dpcap_vm_map **")
        error = lib.dpcap_vm_map_open(fd, handle)
        if error in (-errno.EPROTO, -errno.EINVAL):
            raise ValueError("the file holds no map of this version")
        _check(error)
        return cls.adopt(ffi.gc(handle[0], lib.dpcap_vm_map_free))

    @classmethod
    def adopt(cls, handle: Any) -> Map:
        """A map by its ``struct dpcap_vm_map *``, which has to keep alive what it needs."""
        new = cls.__new__(cls)
        new._adopt(handle)  # noqa: SLF001 # our own
        return new

    def _adopt(self, handle: Any) -> None:
        self.handle = handle
        definition = lib.dpcap_vm_map_def(handle)
        self.name: str = ffi.string(definition.name).decode(errors="replace")
        self.type: str = _TYPE_NAMES[definition.type]
        self.key_size: int = definition.key_size
        self.value_size: int = definition.value_size
        self.max_entries: int = definition.max_entries
        self.read_only: bool = bool(definition.read_only)
        self.lcores: int = lib.dpcap_vm_map_lcores(handle)

    @property
    def fd(self) -> int:
        """The descriptor of its memory, to hand to a reader. It belongs to the map."""
        fd: int = lib.dpcap_vm_map_fd(self.handle)
        return fd

    def __repr__(self) -> str:
        return f"<Map {self.name or '-'}: {self.type} of {self.max_entries}>"

    def _key(self, key: Cell) -> Any:
        return ffi.from_buffer(_cell(key, self.key_size, "key"))

    # ---- arrays and hashes

    def __getitem__(self, key: Cell) -> bytes:
        return self.read(key)

    def read(self, key: Cell, lcore: int = 0) -> bytes:
        """The value of a key, of one lcore in a "percpu_array". KeyError when there is none."""
        value = ffi.new("uint8_t[]", max(self.value_size, 1))
        error = lib.dpcap_vm_map_read(self.handle, self._key(key), lcore, value)
        if error == -errno.ENOENT:
            raise KeyError(key)
        _check(error)
        return bytes(ffi.buffer(value, self.value_size))

    def values_of(self, key: Cell) -> list[bytes]:
        """The value of each lcore."""
        return [self.read(key, lcore) for lcore in range(self.lcores)]

    def get(self, key: Cell, default: bytes | None = None) -> bytes | None:
        """The value of a key, or ``default``."""
        try:
            return self.read(key)
        except KeyError:
            return default

    def __contains__(self, key: Cell) -> bool:
        return self.get(key) is not None

    def __setitem__(self, key: Cell, value: Cell) -> None:
        data = ffi.from_buffer(_cell(value, self.value_size, "value"))
        error = lib.dpcap_vm_map_update(self.handle, self._key(key), data, lib.DPCAP_VM_MAP_ANY)
        if error == -errno.E2BIG and self.type in ("array", "percpu_array"):
            raise KeyError(key)
        _check(error)

    def __delitem__(self, key: Cell) -> None:
        error = lib.dpcap_vm_map_delete(self.handle, self._key(key))
        if error == -errno.ENOENT:
            raise KeyError(key)
        _check(error)

    def __iter__(self) -> Iterator[bytes]:
        if self.type in ("array", "percpu_array"):
            yield from (index.to_bytes(4, "little") for index in range(self.max_entries))
            return
        cursor = ffi.new("uint32_t *")
        key = ffi.new("uint8_t[]", max(self.key_size, 1))
        while True:
            error = lib.dpcap_vm_map_next_key(self.handle, cursor, key)
            if error == -errno.ENOENT:
                return
            _check(error)
            yield bytes(ffi.buffer(key, self.key_size))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys with their values; keys that go meanwhile are left out."""
        for key in self:
            value = self.get(key)
            if value is not None:
                yield key, value

    # ---- rings

    def output(self, record: bytes) -> bool:
        """Put a record into a ring. False: it is full, and the loss is counted."""
        error = lib.dpcap_vm_ring_output(self.handle, ffi.from_buffer(record), len(record))
        if error == -errno.EAGAIN:
            return False
        if error == -errno.E2BIG:
            raise MapError(f"a record of {len(record)} bytes never fits into {self}")
        _check(error)
        return True

    def records(self) -> Iterator[bytes]:
        """Take the records out of a ring that are there now, the oldest first."""
        buffer = ffi.new("uint8_t[]", self.max_entries)
        while True:
            size = lib.dpcap_vm_ring_read(self.handle, buffer, self.max_entries)
            if size == -errno.EAGAIN:
                return
            if size < 0:
                _check(size)
            yield bytes(ffi.buffer(buffer, size))

    @property
    def dropped(self) -> int:
        """Records that did not fit into a ring since it was made."""
        dropped: int = lib.dpcap_vm_ring_dropped(self.handle)
        return dropped


def _cell(value: Cell, size: int, what: str) -> bytes | bytearray | memoryview:
    if isinstance(value, int):
        try:
            return value.to_bytes(size, "little", signed=value < 0)
        except OverflowError:
            raise ValueError(f"{value} does not fit in a {what} of {size} bytes") from None
    if len(value) != size:
        raise ValueError(f"a {what} of this map has {size} bytes, not {len(value)}")
    return value


_MESSAGES = {
    -errno.E2BIG: "the map is full",
    -errno.EBUSY: "the key is changed by others all the time",
    -errno.EPERM: "the map was opened to read",
    -errno.EINVAL: "maps of this type cannot do that",
    -errno.EPROTO: "the memory of the ring is damaged",
}


def _check(error: int) -> None:
    if error == -errno.ENOMEM:
        raise MemoryError("no memory for the map")
    if error in _MESSAGES:
        raise MapError(_MESSAGES[error])
    if error < 0:
        raise OSError(-error, os.strerror(-error))
