# SPDX-License-Identifier: BSD-3-Clause
"""Watch an application: a connection to its shim that counts, looked at in intervals."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from dpcap import filters
from dpcap.capture import discovery, protocol
from dpcap.capture.client import Connection, seal_forms
from dpcap.capture.errors import DpcapError, UsageError
from dpcap.capture.expression import compiled
from dpcap.capture.selection import choose_application, choose_ports
from dpcap.capture.stats.counters import Counters, Key, Table
from dpcap.ubpf_host import isa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from dpcap.capture.protocol import Port
    from dpcap.capture.session import Stop
    from dpcap.filters.filter import Filter
    from dpcap.filters.forms import Form

_NAP = 0.05  # seconds between two looks at signals and at the application


class Queue(NamedTuple):
    """One queue and direction, in one interval."""

    port: Port
    queue: int
    direction: int
    now: Counters  # in the interval
    total: Counters  # since the watching began


class Sample(NamedTuple):
    """What happened in one interval."""

    time: float  # of its end, in seconds since 1970
    seconds: float  # that it lasted
    queues: list[Queue]


class Watch:
    """An application that is watched. A context manager: leaving it takes the hooks out."""

    def __init__(
        self,
        *,
        interfaces: Sequence[str] = (),
        pid: int | None = None,
        file_prefix: str | None = None,
        directions: int = protocol.DIRECTION_IN | protocol.DIRECTION_OUT,
        filter_text: str = "",
    ) -> None:
        """Begin to count, on all ports unless some are named. Raises DpcapError's kinds."""
        program = compiled(lambda: filters.compile(filter_text)) if filter_text else None
        application = choose_application(
            discovery.applications(), pid=pid, file_prefix=file_prefix, source="shim"
        )
        self.filter = filter_text
        self.name = application.name
        self.pid = application.pid
        self.who = application.who
        self.ended = False  # the application
        self._last: dict[Key, Counters] = {}
        self._last_time = time.monotonic()
        with ExitStack() as undo:
            assert application.socket is not None  # noqa: S101 - that is what source="shim" asks for
            self._connection = undo.enter_context(Connection.open(application.socket, application.who))
            self._connection.hello()
            self.ports = choose_ports(self._connection.ports(), interfaces or ["any"], application.who)
            if len(self.ports) > protocol.MAX_PORTS:
                raise UsageError(f"{protocol.MAX_PORTS} ports at most: name them with -i")
            self._table = _start(self._connection, self.ports, directions, program)
            undo.callback(self._table.close)
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        """Return the watch itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._undo.close()

    def samples(self, stop: Stop, interval: float, count: int | None = None) -> Iterator[Sample]:
        """Yield a sample each interval (seconds), count at most.

        When a signal comes or the application ends, the interval that has begun is the last one.
        """
        due = time.monotonic() + interval
        made = 0
        while count is None or made < count:
            while (left := due - time.monotonic()) > 0 and not stop.asked and not self._look():
                time.sleep(min(_NAP, left))
            yield self._sample()
            made += 1
            due += interval
            if stop.asked or self.ended:
                return

    def _look(self) -> bool:
        """Tell whether the application has ended."""
        try:
            self._connection.next_ring()
        except EOFError:
            self.ended = True
        return self.ended

    def _sample(self) -> Sample:
        by_number = {port.port: port for port in self.ports}
        now = time.monotonic()
        counters = self._table.read()
        queues = [
            Queue(by_number[key.port], key.queue, key.direction, total.since(self._last.get(key)), total)
            for key, total in sorted(counters.items())
            if key.port in by_number
        ]
        sample = Sample(time.time(), now - self._last_time, queues)
        self._last, self._last_time = counters, now
        return sample


def _forms(program: Filter) -> list[Form]:
    assert program.default_form in program.forms  # noqa: S101 - asking makes the plain one, if need be
    return list(program.forms.values())


def _start(connection: Connection, ports: Sequence[Port], directions: int, program: Filter | None) -> Table:
    forms = _forms(program) if program else []
    request = protocol.AttachRequest(
        ports=[(port.port, 0) for port in ports],
        snaplen=1,
        directions=directions,
        engine=protocol.ENGINES["jit"],
        forms=[(len(form.code) // isa.SLOT_SIZE, len(form.rodata)) for form in forms],
        flags=protocol.COUNT_FLAGS,
    )
    memory = seal_forms(forms) if forms else None
    try:
        return Table(connection.watch(request, memory))
    except protocol.ProtocolError as error:
        raise DpcapError(f"{connection.who}: {error}: use the dpcap and the shim of one release") from error
    finally:
        if memory is not None:
            os.close(memory)
