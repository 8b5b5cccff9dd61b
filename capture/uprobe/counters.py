# SPDX-License-Identifier: BSD-3-Clause
"""Counts packets by uprobes, and captures none: the kernel side adds up, and shares its memory."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import features, program
from dpcap.capture.uprobe.attachment import MAX_THREADS
from dpcap.capture.uprobe.probes import MAX_RINGS, Probes, Queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dpcap.capture.discovery import Application
    from dpcap.capture.uprobe.attachment import Attachment

# struct uprobe_counters and struct uprobe_thread of shim/uprobe/records.h
_COUNTERS = struct.Struct("=6Q")
_THREAD = struct.Struct("=II")


class Count(NamedTuple):
    """What one thread did with one queue, since the start."""

    queue: Queue
    tid: int  # of the thread, in the first pid namespace
    bursts: int  # that were not empty
    packets: int  # received, or taken by the driver
    polls: int  # calls, the empty ones too; counted for a candidate only
    sound: int  # bursts whose first packet looked like one; counted for a candidate only


class Shared:
    """The counters of a loaded object."""

    def __init__(self, kernel: Attachment, queues: Mapping[Queue, int]) -> None:
        """Map them. queues are the numbers of queues; more may come later."""
        self._queues = queues
        self._room = kernel.room
        size = MAX_THREADS * MAX_RINGS * _COUNTERS.size
        self._counters = mmap.mmap(kernel.object.map_fd("counters"), size, prot=mmap.PROT_READ)
        size = MAX_THREADS * _THREAD.size
        self._threads = mmap.mmap(kernel.object.map_fd("threads"), size, prot=mmap.PROT_READ)

    def close(self) -> None:
        """Unmap."""
        self._counters.close()
        self._threads.close()

    def read(self) -> Iterator[Count]:
        """Yield what was counted since the start, for each thread and queue that has anything."""
        for place in range(MAX_THREADS):
            tid, _ = _THREAD.unpack_from(self._threads, place * _THREAD.size)
            if tid == 0:
                return
            for queue, number in self._queues.items():
                at = (place * MAX_RINGS + number) * _COUNTERS.size
                bursts, packets, _, _, polls, sound = _COUNTERS.unpack_from(self._counters, at)
                if bursts or polls:
                    yield Count(queue, tid, bursts, packets, polls, sound)

    def is_full(self) -> bool:
        """Tell whether there may be threads that are not counted."""
        place = min(self._room, MAX_THREADS - 1)
        return bool(_THREAD.unpack_from(self._threads, place * _THREAD.size)[0])


class Counters(Probes):
    """Counts of one application's ports."""

    def __init__(self, application: Application, functions: Sequence[str] = ()) -> None:
        """Find out where to count. Raises as Probes does."""
        self._shared: Shared | None = None
        self._ports: list[int] = []
        super().__init__(application, functions)

    def close(self) -> None:
        """Detach."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        super().close()

    def start(self, ports: Sequence[int]) -> None:
        """Count from now on."""
        self._ports = list(ports)
        try:
            self.kernel.load(program.image(self.config._replace(capture=False)))
            self._shared = Shared(self.kernel, self.queues)
            self.follow(self._ports, protocol.DIRECTION_IN | protocol.DIRECTION_OUT)
        except DpcapError as error:
            raise features.explain(self.who, error) from error

    def look(self) -> None:
        """Follow the application's ports."""
        self.follow_if_due(self._ports, protocol.DIRECTION_IN | protocol.DIRECTION_OUT)

    def read(self) -> list[Count]:
        """Return what was counted since the start."""
        assert self._shared is not None  # noqa: S101 - started
        return list(self._shared.read())

    def is_full(self) -> bool:
        """Tell whether there may be threads that are not counted."""
        return self._shared is not None and self._shared.is_full()
