# SPDX-License-Identifier: BSD-3-Clause
"""The table of counters that the shim shares (shim/dpdk/counters.h): read without asking anybody."""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

from dpcap.capture._proto import ffi, lib

from dpcap.capture.protocol import ProtocolError


class Key(NamedTuple):
    """What is counted apart."""

    port: int
    queue: int
    direction: int  # DIRECTION_IN or DIRECTION_OUT


class Counters(NamedTuple):
    """What happened to one queue since the watching began, or between two looks."""

    packets: int
    bytes: int  # of frames, without FCS and stripped tags
    matched: int  # packets that the filter accepts; 0 without one
    matched_bytes: int
    empty_polls: int  # receive calls that found nothing
    missed: int  # packets of threads that found the queue taken: in no other counter
    captured: int  # packets that all captures of the queue accepted
    dropped: int  # of these: that found the ring full
    bursts: tuple[int, ...]  # [i]: of 2^i to 2^(i + 1) - 1 packets

    def since(self, before: Counters | None) -> Counters:
        """Return the difference."""
        if before is None:
            return self
        bursts = tuple(mine - theirs for mine, theirs in zip(self.bursts, before.bursts, strict=True))
        return Counters._make([*(getattr(self, name) - getattr(before, name) for name in _NUMBERS), bursts])

    @property
    def n_bursts(self) -> int:
        """Calls that moved packets."""
        return sum(self.bursts)

    @property
    def polls(self) -> int:
        """All calls, as far as they are counted: empty ones of receive queues only."""
        return self.n_bursts + self.empty_polls

    @property
    def mean_burst(self) -> float | None:
        """Packets of a burst; None without any."""
        return self.packets / self.n_bursts if self.n_bursts else None

    @property
    def busy(self) -> float | None:
        """The share of polls that found packets, 0..1; None without any."""
        return self.n_bursts / self.polls if self.polls else None


_NUMBERS = Counters._fields[:-1]


class Table:
    """The mapped table. A context manager's work is done by close()."""

    def __init__(self, fd: int) -> None:
        """Map the memfd, which is closed in any case. Raises ProtocolError when it is no such table."""
        try:
            size = ffi.sizeof("struct dpcap_counter_table")
            if os.fstat(fd).st_size < size:
                raise ProtocolError("a table of counters that is too short")
            self._memory = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        self._table = ffi.from_buffer("struct dpcap_counter_table *", self._memory)
        if (self._table.magic, self._table.version) != (
            lib.DPCAP_COUNTERS_MAGIC,
            lib.DPCAP_COUNTERS_VERSION,
        ):
            raise ProtocolError("a table of counters of another version")

    def close(self) -> None:
        """Unmap."""
        ffi.release(self._table)
        self._memory.close()

    def read(self) -> dict[Key, Counters]:
        """Return all counters since the watching began."""
        slots = self._table.slots
        used = min(self._table.n_slots, lib.DPCAP_COUNTERS_SLOTS)
        return {
            Key(slot.port, slot.queue, slot.direction): Counters._make(
                [*(getattr(slot, name) for name in _NUMBERS), tuple(slot.bursts)]
            )
            for slot in (slots[i] for i in range(used))
        }
