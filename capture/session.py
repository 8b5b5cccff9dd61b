# SPDX-License-Identifier: BSD-3-Clause
"""A running capture: connections to applications, their rings, and the loop that carries packets to the sink.

    attach ──► loop: drain rings into the sink ──► finish
               │     nothing there: sleep, look at the sockets
               ├── enough packets (-c), a signal: disconnect, so that the hooks go; drain what is left
               └── the application is gone: its memory is still ours, drain what is left

While a ring fills within milliseconds at line rate, a capture that matches nothing must cost nothing: so the
rings are looked at every millisecond, in C, which takes a few microseconds, and all else less often.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from dpcap.capture import ring
from dpcap.capture.errors import DpcapError
from dpcap.capture.pcapng import Statistics
from dpcap.capture.ring import Drain, Limits, Result, RingStats
from dpcap.capture.stop import EndSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dpcap.capture.protocol import AttachRequest, Queue, Ring

_NAP_NS = 1_000_000  # between two looks at the rings
_NAPS = 20  # between two looks at the sockets
# After a run that found so many bytes more are there already, or will be before a nap is over.
_BUSY_BYTES = 128 << 10
# After the last moment of a capture its packets may still be on their way through the rings.
_SLACK_NS = 5_000_000
# How long the applications may take to let go of the rings at the end.
_DETACH_PATIENCE = 2.0  # seconds
_STATISTICS_SECONDS = 60.0


class Sink(Protocol):
    """Where packets go: see sinks/."""

    def start(self, header: bytes, trailer: Callable[[], bytes]) -> None:
        """Begin with section header and interface blocks; trailer will make the statistics blocks."""

    def finish(self) -> None:
        """End with the statistics."""

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Take what the rings hold; raises BrokenPipeError when nobody wants more."""

    def insert(self, blocks: bytes) -> None:
        """Take blocks that are no packets; called between packets only."""

    def fileno(self) -> int:
        """Return the descriptor written to."""

    @property
    def done(self) -> bool:
        """Whether it wants no more packets."""


class Source(Protocol):
    """What packets come from: an application by way of its shim (client.py), or by uprobes."""

    who: str

    def attach(self, request: AttachRequest, program: int) -> Iterable[tuple[Ring, int]]:
        """Start; tells the rings there are, with a memfd each that the caller closes."""

    def next_ring(self) -> tuple[Ring, int] | None:
        """Take a ring that appeared, if any; raises EOFError when the application is gone."""

    def stats(self) -> list[Queue]:
        """Tell what the hooks of the queues have done; nothing where there are none."""

    def fileno(self) -> int:
        """Return the descriptor to poll: readable when next_ring() may have something to say."""

    def close(self) -> None:
        """Stop."""


class Totals(NamedTuple):
    """What a capture came to, in packets."""

    captured: int
    accepted: int  # by the filter
    dropped: int


class Stop(EndSignals):
    """Whether a signal asked for the end. A context manager: inside, signals end the capture in order.

    The second signal ends the program at once, for a sink that blocks for ever. SIGUSR1 asks for statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.report_asked = False

    def __enter__(self) -> Self:
        """Take the signals over."""
        super().__enter__()
        self._previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._ask_report)
        return self

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        super()._ask(number, frame)

    def _ask_report(self, _number: int, _frame: object) -> None:
        self.report_asked = True


class Session:
    """Captures from one or more applications into one sink."""

    def __init__(
        self,
        sink: Sink,
        stop: Stop,
        *,
        count: int | None = None,
        until_ns: int = 0,
        slack_ns: int = ring.SLACK_NS,
    ) -> None:
        """Prepare a capture of at most count packets, of times before until_ns (since 1970; 0: no limit).

        slack_ns is how long a packet may take to the rings without getting out of order.
        """
        self._sink = sink
        self._stop = stop
        self._count = count
        self._until_ns = until_ns
        # Makes statistics blocks that are written while a capture runs, for who reads along or loses the end.
        self.statistics_blocks: Callable[[], bytes] = bytes
        self.statistics_seconds = _STATISTICS_SECONDS
        self._statistics_due = time.monotonic() + self.statistics_seconds
        self.report: Callable[[], None] = lambda: None  # called when a signal asks for statistics
        self.tick: Callable[[], None] = lambda: None  # called all the time, some ten times a second at least
        self._drain = Drain(slack_ns=slack_ns)
        self._connections: dict[int, Source] = {}  # by file descriptor
        self._rings: dict[int, list[int]] = {}  # indices in the drain, of a connection
        self._poller = select.poll()
        if stat.S_ISFIFO(os.fstat(sink.fileno()).st_mode):
            self._poller.register(sink.fileno(), 0)  # errors alone: the reader has left
        self._reader_gone = False
        self._is_late = False  # everything before until_ns is written
        self.captured = 0
        self.ended: list[str] = []  # applications that went away
        self.keeps_queues = False  # ask the applications for queues before the end
        self.queues: list[Queue] = []

    def attach(self, connection: Source, request: AttachRequest, program: int) -> None:
        """Start to capture from an application; the session owns the connection from now on."""
        self._connections[connection.fileno()] = connection
        self._rings[connection.fileno()] = []
        for announced in connection.attach(request, program):
            self._add(connection, announced)
        self._poller.register(connection.fileno(), select.POLLIN)
        self._listen(connection)  # for what came along with the reply

    def _add(self, connection: Source, announced: tuple[Ring, int]) -> None:
        info, fd = announced
        try:
            self._rings[connection.fileno()].append(self._drain.add(fd))
        except OSError as error:
            raise DpcapError(
                f"{connection.who}: cannot read port{info.port} queue {info.queue}: {error.strerror}"
            ) from error
        finally:
            os.close(fd)

    def run(self) -> None:
        """Carry packets until one of the ends. Raises what the sink raises, except for a reader that left."""
        try:
            while not self._is_over():
                result = self._pump()
                if result.error == errno.EAGAIN:
                    self._wait_writable()
                elif result.stop == ring.IDLE and result.bytes < _BUSY_BYTES:
                    self._sleep()
                self._look_at_sockets()
                if not result.partial and time.monotonic() >= self._statistics_due:
                    self._statistics_due = time.monotonic() + self.statistics_seconds
                    self._sink.insert(self.statistics_blocks())
                if self._stop.report_asked:
                    self._stop.report_asked = False
                    self.report()
                self.tick()
            self._finish()
        except BrokenPipeError:
            self._reader_gone = True
        finally:
            self._disconnect()

    def _is_over(self) -> bool:
        return self._stop.asked or self._reader_gone or not self._connections or self._has_enough()

    def _has_enough(self) -> bool:
        return self._sink.done or self._is_late or (self._count is not None and self.captured >= self._count)

    def _pump(self, *, flush: bool = False) -> Result:
        left = 0 if self._count is None else self._count - self.captured
        limits = Limits(max_packets=left, until_ns=self._until_ns)
        result = self._sink.drain(self._drain, limits, flush=flush)
        self.captured += result.packets
        if self._until_ns and result.stop in (ring.IDLE, ring.TIME):
            self._is_late = time.time_ns() > self._until_ns + _SLACK_NS
        return result

    def _sleep(self) -> None:
        """Sleep until there is something in the rings, or it is time to look at the sockets."""
        self._drain.wait(_NAP_NS, _NAPS)

    def _wait_writable(self) -> None:
        poller = select.poll()
        poller.register(self._sink.fileno(), select.POLLOUT)
        poller.poll(100)

    def _look_at_sockets(self) -> None:
        for fd, _ in self._poller.poll(0):
            connection = self._connections.get(fd)
            if connection is None:
                self._reader_gone = True
                continue
            self._listen(connection)

    def _listen(self, connection: Source) -> None:
        """Take what an application announces: new rings, or its own end."""
        try:
            while (announced := connection.next_ring()) is not None:
                self._add(connection, announced)
        except EOFError:
            self.ended.append(connection.who)
            self._forget(connection.fileno())

    def _forget(self, fd: int) -> None:
        """The application is gone: what its rings hold is all that comes."""
        for index in self._rings[fd]:
            self._drain.end(index)
        self._poller.unregister(fd)
        self._connections.pop(fd).close()

    def _disconnect(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _finish(self) -> None:
        """Drain what was captured before the hooks went."""
        if self.keeps_queues:
            self.queues = self.ask_queues()
        self._disconnect()
        deadline = time.monotonic() + _DETACH_PATIENCE
        while not self._has_enough() and not self._drain.done():
            if time.monotonic() > deadline:  # it is stopped, or hangs: what it published is whole
                self._drain.end()
            result = self._pump(flush=True)
            if result.error == errno.EAGAIN:
                if time.monotonic() > deadline:
                    raise BrokenPipeError  # there is a reader, but it does not read
                self._wait_writable()
            elif result.stop == ring.IDLE:
                self._drain.wait(_NAP_NS, 1)

    def ask_queues(self) -> list[Queue]:
        """Ask the applications what their hooks have done; those that do not answer are left out."""
        found: list[Queue] = []
        for connection in list(self._connections.values()):
            with contextlib.suppress(DpcapError):
                found += connection.stats()
            self._listen(connection)  # for what came along with the reply
        return sorted(found, key=lambda queue: (queue.port, queue.queue, queue.direction))

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the capture."""
        return self._stop.asked

    def _counters(self) -> list[RingStats]:
        """Return the counters of all rings, up to the last packet written when more packets were not wanted.

        The hooks go on until the shim has let go of them: what they meet then was never to be captured, and
        what found a ring full then was not lost.
        """
        rings = self._drain.stats()
        if not self._has_enough():
            return rings
        return [r._replace(accepted=r.packets + r.announced, dropped=r.announced) for r in rings]

    def totals(self) -> Totals:
        """Return the sums over all rings."""
        rings = self._counters()
        return Totals(self.captured, sum(r.accepted for r in rings), sum(r.dropped for r in rings))

    def statistics(self, start_ns: int, end_ns: int) -> dict[int, Statistics]:
        """Return the counters by interface."""
        found: dict[int, Statistics] = {}
        for r in self._counters():
            s = found.get(r.interface_id, Statistics(start_ns, end_ns, 0, 0, 0, 0))
            found[r.interface_id] = s._replace(
                # An application that was killed had no time to tell the last packets it saw.
                received=s.received + max(r.received, r.accepted),
                accepted=s.accepted + r.accepted,
                dropped=s.dropped + r.dropped,
                delivered=s.delivered + r.packets,
            )
        return found

    def corrupt_rings(self) -> int:
        """Return how many rings were given up because their content made no sense."""
        return sum(r.corrupt for r in self._drain.stats())
