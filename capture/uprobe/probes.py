# SPDX-License-Identifier: BSD-3-Clause
"""Uprobes on the functions of an application's ports, which are followed as they start, stop and appear."""

from __future__ import annotations

import os
import select
import struct
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import features, instruction, ladder, named, program, telemetry
from dpcap.capture.uprobe.attachment import DIRECTIONS, Attachment
from dpcap.capture.uprobe.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from dpcap.capture.discovery import Application
    from dpcap.capture.uprobe.layout import Port as LivePort
    from dpcap.capture.uprobe.layout import Table
    from dpcap.capture.uprobe.libbpf import Object

# Between two looks at the application's ports: one that starts has been seen by then.
_LOOK_AGAIN = 0.1  # seconds
MAX_RINGS = 256  # UPROBE_MAX_RINGS
_LONGEST_LOOK = 32  # bytes of a function

# struct uprobe_queue_key and struct uprobe_queue of shim/uprobe/records.h
_KEY = struct.Struct("=QQ")
_VALUE = struct.Struct("=QII")


class Queue(NamedTuple):
    """A queue of a port in one direction."""

    port: int
    direction: int
    queue: int


class Probes:
    """Uprobes on one application. A context manager: leaving it detaches them.

    They go with this process, too, whatever ends it.
    """

    def __init__(self, application: Application, functions: Sequence[str] = ()) -> None:
        """Find out where to probe, or take the functions that are named (see named.py).

        Raises AccessError, NotFoundError, UsageError or KernelError.
        """
        features.check(application.who, "load the shim into it (dpcap attach)")
        self.who = application.who
        self._application = application
        self._process = Process(application.pid, application.who)
        self.kernel = Attachment(application.pid, application.who)
        self._attached: set[tuple[str, int, int]] = set()  # file, offset and direction of functions
        #: The number that the kernel side counts a queue under.
        self.queues: dict[Queue, int] = {}
        self._pointers: dict[Queue, int] = {}  # what the kernel side knows a queue by
        self._looked = 0.0
        self._snapshot = b""  # of the table, when its functions were last looked up
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(application.pid)
            self._table = self._find(functions)
        except ProcessLookupError as error:
            self.close()
            raise DpcapError(f"{self.who}: it has ended") from error
        except BaseException:
            self.close()
            raise
        self._told = telemetry.ask(application)

    def _find(self, functions: Sequence[str]) -> Table | named.Functions:
        if functions:
            return named.Functions([named.function(self._process, text) for text in functions])
        try:
            return ladder.climb(self._process).table
        except ladder.NotFoundError:
            known = named.wrappers(self._process)
            if not known:
                raise
            return named.Functions(known)

    @property
    def config(self) -> program.Config:
        """What the program has to know of the functions."""
        if isinstance(self._table, named.Functions):
            return program.Config(any_queue=True, arguments=self._table.arguments)
        return program.Config()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Detach."""
        self.close()

    def close(self) -> None:
        """Detach, and let go of the application."""
        self.kernel.close()
        self._process.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def hello(self) -> protocol.Info:
        """Return what is known of the application."""
        return protocol.Info(
            pid=self._application.inner_pid,
            primary=True,
            jit=True,
            dpdk_version=self._told.version,
            shim_version="",
            app_name=self._application.name,
        )

    def ports(self) -> list[protocol.Port]:
        """List the application's ports: those that its telemetry tells, and those that run."""
        live = {port.port: port for port in self._live_ports()}
        return [self._port(number, live) for number in sorted(live.keys() | self._told.devices.keys())]

    def _port(self, number: int, live: dict[int, LivePort]) -> protocol.Port:
        device = self._told.devices.get(number)
        running = live.get(number)
        return protocol.Port(
            port=number,
            name=device.name if device else "",
            driver="",
            mac=device.mac if device else b"",
            mtu=device.mtu if device else 0,
            speed=device.speed if device else 0,
            rx_queues=device.rx_queues if device else len(running.rx_queues) if running else 0,
            tx_queues=device.tx_queues if device else len(running.tx_queues) if running else 0,
            started=running is not None,
        )

    def _live_ports(self) -> list[LivePort]:
        """Return the running ports, with no more queues than the application has told of."""
        found = []
        for port in self._table.ports(self._process):
            device = self._told.devices.get(port.port)
            if device:
                rx_queues, tx_queues = port.rx_queues[: device.rx_queues], port.tx_queues[: device.tx_queues]
                port = port._replace(rx_queues=rx_queues, tx_queues=tx_queues)  # noqa: PLW2901
            found.append(port)
        return found

    def is_gone(self) -> bool:
        """Tell whether the application has ended."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def follow(self, ports: Iterable[int], directions: int) -> None:
        """Attach to functions and learn of queues that are new, of some ports."""
        self._looked = time.monotonic()
        snapshot = self._table.snapshot(self._process)
        if snapshot != self._snapshot:
            # There may be a driver that was loaded meanwhile.
            self._process.mappings(again=True)
            self._snapshot = snapshot
        live = [port for port in self._live_ports() if port.port in ports]
        wanted = {d: name for d, name in DIRECTIONS.items() if directions & d}
        for direction, name in wanted.items():
            self._attach_functions(direction, sorted({getattr(port, name) for port in live} - {0}))
        pointers = {
            Queue(port.port, direction, number): pointer
            for port in live
            for direction, name in wanted.items()
            for number, pointer in enumerate(getattr(port, f"{name}_queues"))
        }
        for queue in sorted(pointers.keys() - self.queues.keys()):
            if len(self.queues) == MAX_RINGS:
                raise DpcapError(f"{self.who}: more than {MAX_RINGS} queues: name some ports with -i")
            self.welcome(queue)
            self.queues[queue] = len(self.queues)
        # Last, and all at once: what is above takes milliseconds, and one direction should not come first.
        for queue, pointer in pointers.items():
            self._learn(queue, pointer)

    def follow_if_due(self, ports: Iterable[int], directions: int) -> None:
        """Follow unless that was done an instant ago."""
        if time.monotonic() >= self._looked + _LOOK_AGAIN:
            self.follow(ports, directions)

    def welcome(self, queue: Queue) -> None:
        """Do what a new queue needs."""

    def _attach_functions(self, direction: int, addresses: Iterable[int]) -> None:
        by_file: dict[str, list[int]] = {}
        for address in addresses:
            location = self._process.location(address)
            key = (location.name, location.offset, direction)
            if key not in self._attached:
                self._attached.add(key)
                where = instruction.place(self._process.read(address, _LONGEST_LOOK))
                by_file.setdefault(location.file, []).append(location.offset + where.offset)
        for file, offsets in by_file.items():
            self.kernel.attach(direction, file, offsets)

    def _learn(self, queue: Queue, pointer: int) -> None:
        """Tell the kernel side whose a queue is."""
        known = self._pointers.get(queue)
        if known == pointer:
            return
        if known is not None:
            self.kernel.object.delete("queues", _KEY.pack(known, queue.direction))
        tell_queue(self.kernel.object, queue, pointer=pointer, number=self.queues[queue])
        self._pointers[queue] = pointer


def tell_queue(object_: Object, queue: Queue, *, pointer: int, number: int) -> None:
    """Tell the kernel side whose a queue is, and what number it is counted under."""
    meta = queue.direction | queue.queue << 16 | queue.port << 32
    object_.update("queues", _KEY.pack(pointer, queue.direction), _VALUE.pack(meta, number, 0))
