# SPDX-License-Identifier: BSD-3-Clause
"""Functions that may be the ones through which an application's packets pass, and trying them.

Beside what the ladder finds there are last resorts: functions that wrap DPDK's, by their symbol, and places
that the user names. A wrapper's symbol may exist and never be called, because the compiler has put its code
into its caller: so each candidate is counted for a while.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError, UsageError
from dpcap.capture.uprobe import instruction, program
from dpcap.capture.uprobe.attachment import DIRECTIONS, Attachment
from dpcap.capture.uprobe.counters import Shared
from dpcap.capture.uprobe.elf import Image
from dpcap.capture.uprobe.ladder import RUNGS
from dpcap.capture.uprobe.probes import Queue, tell_queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpcap.capture.uprobe.counters import Count
    from dpcap.capture.uprobe.process import Location, Process

_MOST_BYTES = 32  # of a function that are looked at
_DPDK_ARGUMENTS = (0, 1, 2)  # queue, packets, their number
# BESS: int PMDPort::RecvPackets(queue_t qid, bess::Packet **pkts, int cnt), and "this" before them.
_WRAPPERS = (
    ("_ZN7PMDPort11RecvPacketsEhPPN4bess6PacketEi", protocol.DIRECTION_IN, (1, 2, 3)),
    ("_ZN7PMDPort11SendPacketsEhPPN4bess6PacketEi", protocol.DIRECTION_OUT, (1, 2, 3)),
)
_NAMED = re.compile(
    r"(?P<direction>rx|tx)=(?:(?P<offset>0x[0-9a-fA-F]+)|(?P<symbol>[A-Za-z_$.][\w$.@]*))"
    r"(?::(?P<queue>[0-5]),(?P<packets>[0-5]),(?P<number>[0-5]))?"
)
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
    arguments: tuple[int, int, int]  # positions of queue, packets and their number

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
    for symbol, direction, arguments in _WRAPPERS:
        candidates += [
            _candidate(process, "wrapper", symbol, direction, address)._replace(arguments=arguments)
            for address in _addresses(process, symbol)
        ]
    return candidates + [_named(process, text) for text in asked]


def _candidate(process: Process, rung: str, what: str, direction: int, address: int) -> Candidate:
    location, code = process.location(address), process.read(address, _MOST_BYTES)
    return Candidate(rung, what, direction, location, code, _DPDK_ARGUMENTS)


def _addresses(process: Process, symbol: str) -> Iterator[int]:
    """Yield where the program has a symbol."""
    module = process.modules()[0]
    with contextlib.suppress(OSError, ValueError), Image(process.file_of(module[0])) as image:
        bias = image.bias(module[0].start, module[0].offset)
        found = {s.value for table in (".dynsym", ".symtab") for s in image.symbols(symbol, table)}
        yield from sorted(value + bias for value in found)


def _named(process: Process, text: str) -> Candidate:
    """Return what a user names: rx=SYMBOL or tx=0xOFFSET, then perhaps :QUEUE,PACKETS,NUMBER."""
    match = _NAMED.fullmatch(text)
    if not match:
        raise UsageError(
            f"{text}: a function is named rx=SYMBOL or tx=0xOFFSET (in the program's file), and where its "
            "arguments differ from DPDK's, their positions: rx=SYMBOL:1,2,3"
        )
    direction = protocol.DIRECTION_IN if match["direction"] == "rx" else protocol.DIRECTION_OUT
    positions = (match["queue"], match["packets"], match["number"])
    queue, packets, number = map(int, positions) if match["queue"] else _DPDK_ARGUMENTS
    if match["offset"]:
        offset = int(match["offset"], 16)
        addresses = [
            m.start + offset - m.offset
            for m in process.modules()[0]
            if m.is_text and m.offset <= offset < m.offset + m.end - m.start
        ]
    else:
        addresses = list(_addresses(process, match["symbol"]))
    if not addresses:
        raise UsageError(f"{text}: {process.who} has no such function")
    rung = "offset" if match["offset"] else "symbol"
    candidate = _candidate(process, rung, text, direction, addresses[0])
    return candidate._replace(arguments=(queue, packets, number))


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
                        queue_argument=candidate.arguments[0],
                        pkts_argument=candidate.arguments[1],
                        n_argument=candidate.arguments[2],
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
