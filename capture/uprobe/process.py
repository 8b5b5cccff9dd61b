# SPDX-License-Identifier: BSD-3-Clause
"""Another process's memory and the files that are mapped into it, read from /proc."""

from __future__ import annotations

import bisect
import os
import re
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from dpcap.capture.errors import AccessError, NoApplicationError

if TYPE_CHECKING:
    from types import TracebackType

_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ (\d+) *(.*)")


class Mapping(NamedTuple):
    """A line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str  # rwxp
    offset: int  # in the file
    inode: int  # 0: anonymous
    path: str  # as the process sees it; "" for anonymous memory

    @property
    def is_text(self) -> bool:
        """Whether it is executable, and a file's."""
        return "x" in self.permissions and self.inode != 0


class Location(NamedTuple):
    """A place in a file that is mapped into a process."""

    file: str  # to open it, from here, whatever became of its name
    offset: int
    name: str  # to show it


class Process:
    """A running process. A context manager: leaving it closes its memory."""

    def __init__(self, pid: int, who: str) -> None:
        """Open the memory of a process. Raises AccessError or NoApplicationError."""
        self.pid = pid
        self.who = who
        try:
            self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise AccessError(
                f"{who}: not permitted to read its memory: run dpcap as root (CAP_SYS_PTRACE)"
            ) from error
        except OSError as error:
            raise NoApplicationError(f"{who}: {error.strerror}") from error
        self._mappings: list[Mapping] = []
        self._text: list[Mapping] = []
        self._text_starts: list[int] = []

    def __enter__(self) -> Self:
        """Return the process itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its memory."""
        self.close()

    def close(self) -> None:
        """Close its memory."""
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def mappings(self, *, again: bool = False) -> list[Mapping]:
        """Return what is mapped, by address; as it was when first asked, unless asked again."""
        if again or not self._mappings:
            with open(f"/proc/{self.pid}/maps", errors="surrogateescape") as file:
                matches = (_LINE.match(line) for line in file)
                self._mappings = [
                    Mapping(int(m[1], 16), int(m[2], 16), m[3], int(m[4], 16), int(m[5]), m[6])
                    for m in matches
                    if m
                ]
            self._text = [mapping for mapping in self._mappings if mapping.is_text]
            self._text_starts = [mapping.start for mapping in self._text]
        return self._mappings

    def read(self, address: int, size: int) -> bytes:
        """Return up to size bytes at an address, as many as are mapped; none at a wrong one."""
        try:
            return os.pread(self._memory, size, address)
        except (OSError, OverflowError):
            return b""

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """Return up to count 64-bit words at an address."""
        data = self.read(address, 8 * count)
        return struct.unpack_from(f"={len(data) // 8}Q", data)

    def mapping_at(self, address: int) -> Mapping | None:
        """Return what an address belongs to."""
        return next((m for m in self.mappings() if m.start <= address < m.end), None)

    def is_text(self, address: int) -> bool:
        """Tell whether there may be a function at an address."""
        self.mappings()
        at = bisect.bisect_right(self._text_starts, address) - 1
        return at >= 0 and address < self._text[at].end

    def file_of(self, mapping: Mapping) -> str:
        """Return a path that opens a mapped file, also one that is deleted or in a container."""
        return f"/proc/{self.pid}/map_files/{mapping.start:x}-{mapping.end:x}"

    def location(self, address: int) -> Location:
        """Return where in a file an address is. ValueError when it is in none."""
        mapping = self.mapping_at(address)
        if mapping is None or not mapping.inode:
            raise ValueError(f"{address:#x} is in no file")
        return Location(self.file_of(mapping), address - mapping.start + mapping.offset, mapping.path)

    def modules(self) -> list[list[Mapping]]:
        """Return the mappings of each file that has text in the process, the program itself first."""
        files: dict[tuple[int, str], list[Mapping]] = {}
        for mapping in self.mappings():
            if mapping.inode:
                files.setdefault((mapping.inode, mapping.path), []).append(mapping)
        with_text = [m for m in files.values() if any(x.is_text for x in m)]
        program = os.readlink(f"/proc/{self.pid}/exe")
        return sorted(with_text, key=lambda m: m[0].path != program)
