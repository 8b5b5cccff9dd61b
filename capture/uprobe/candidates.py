# SPDX-License-Identifier: BSD-3-Clause
"""Functions that may be the ones through which an application's packets pass, and trying them.

Beside what the ladder finds there are last resorts: functions that wrap DPDK's, by their symbol, and places
that the user names. A wrapper's symbol may exist and never be called, because the compiler has put its code
into its caller: so each candidate is counted for a while.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import instruction, named, program
from dpcap.capture.uprobe.attachment import DIRECTIONS, Attachment
from dpcap.capture.uprobe.counters import Shared
from dpcap.capture.uprobe.ladder import RUNGS
from dpcap.capture.uprobe.probes import Queue, tell_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.uprobe.counters import Count
    from dpcap.capture.uprobe.process import Location, Process

_MOST_BYTES = 32  # of a function that are looked at
#: The verdict on a function through which packets pass.
PACKETS = "packets"
_SOUND = 0.9  # share of the bursts whose first packet has to look like one


class Candidate(NamedTuple):
    """A function to try."""

    rung: str
    what: str  # rte_eth_fp_ops[0].rx, a symbol, an offset
    direction: int
    location: Location
    code: bytes  # its first bytes
    arguments: named.Arguments

    @property
    def place(self) -> instruction.Place:
        """Where it would be probed."""
        return instruction.place(self.code)


class Outcome(NamedTuple):
    """What was seen while a candidate was tried."""

    seconds: float
    attach_seconds: float
    polls: int  # calls, the empty ones too
    bursts: int  # that were not empty
    packets: int
    sound: int  # bursts whose first packet looks like one
    threads: tuple[int, ...]
    problem: str  # why it could not be tried

    @property
    def verdict(self) -> str:
        """What to make of it."""
        if self.problem:
            return "failed"
        if self.polls == 0:
            return "never called"
        if self.packets == 0:
            return "called, no packets"
        return PACKETS if self.sound >= _SOUND * self.bursts else "called, but these are no packets"


def find(process: Process, asked: Sequence[str] = ()) -> list[Candidate]:
    """Return what every rung leads to, one after the other; asked are places that the user names."""
    candidates = []
    for name, rung in RUNGS.items():
        for found in rung(process):
            for port in found.table.ports(process):
                for direction, function in DIRECTIONS.items():
                    what = f"port{port.port} {function} of {found.table.description} in {found.where}"
                    address = getattr(port, function)
                    candidates.append(_candidate(process, name, what, direction, address))
    more = named.wrappers(process) + [named.function(process, text) for text in asked]
    return candidates + [
        _candidate(process, f.rung, f.what, f.direction, f.address)._replace(arguments=f.arguments)
        for f in more
    ]


def _candidate(process: Process, rung: str, what: str, direction: int, address: int) -> Candidate:
    location, code = process.location(address), process.read(address, _MOST_BYTES)
    return Candidate(rung, what, direction, location, code, named.DPDK_ARGUMENTS)


class Trial:
    """A candidate that is counted."""

    def __init__(self, process: Process, candidate: Candidate) -> None:
        """Attach. What goes wrong is in the outcome."""
        self._kernel = Attachment(process.pid, process.who)
        self._shared: Shared | None = None
        self._problem = ""
        self._start = time.monotonic()
        queue = Queue(0, candidate.direction, 0)
        try:
            self._kernel.load(
                program.image(
                    program.Config(
                        capture=False,
                        candidate=True,
                        any_queue=True,
                        arguments=candidate.arguments,
                    )
                )
            )
            self._shared = Shared(self._kernel, {queue: 0})
            tell_queue(self._kernel.object, queue, pointer=0, number=0)
            place = candidate.location.offset + candidate.place.offset
            self._kernel.attach(candidate.direction, candidate.location.file, [place])
        except DpcapError as error:
            self._problem = str(error)
        self._attached = time.monotonic()

    def outcome(self) -> Outcome:
        """Return what was seen so far."""
        counts: list[Count] = list(self._shared.read()) if self._shared else []
        return Outcome(
            seconds=time.monotonic() - self._attached,
            attach_seconds=self._attached - self._start,
            polls=sum(c.polls for c in counts),
            bursts=sum(c.bursts for c in counts),
            packets=sum(c.packets for c in counts),
            sound=sum(c.sound for c in counts),
            threads=tuple(sorted(c.tid for c in counts)),
            problem=self._problem,
        )

    def close(self) -> None:
        """Detach."""
        if self._shared is not None:
            self._shared.close()
        self._kernel.close()
