# SPDX-License-Identifier: BSD-3-Clause
"""A capture by uprobes, with the face of a connection to the shim (capture/client.py)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dpcap.capture._uprobe import ffi, lib

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import features, libbpf, program
from dpcap.capture.uprobe.attachment import checked
from dpcap.capture.uprobe.probes import Probes, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.discovery import Application
    from dpcap.capture.protocol import AttachRequest
    from dpcap.filters.filter import Filter

_COST = (
    "{who} {why}: capturing by kernel uprobes, which take it about 1 us a burst and 0.3 us a packet "
    "(docs/choosing.md)"
)
# Filters whose code the pump runs. It ends by itself, some time after the capture.
_running: list[Filter | None] = []


class Connection(Probes):
    """A capture from one application."""

    #: How long a packet may take from the time it is stamped to its ring: the pump's nap, and its own way.
    slack_ns = 20_000_000

    def __init__(
        self, application: Application, functions: Sequence[str] = (), *, why: str = "has no shim"
    ) -> None:
        """Find out where to capture; why is why not by the shim. Raises as Probes does."""
        self._alarm = os.eventfd(1, os.EFD_CLOEXEC)  # always readable: one looks as often as one is asked
        self._pump: Any = None
        self._early: list[tuple[protocol.Ring, int]] = []
        self._request: AttachRequest | None = None
        self._interfaces: dict[int, int] = {}  # pcapng interface ids of ports
        self._filter: Filter | None = None
        self._sample = 1
        #: Lines that a user should read.
        self.notes = [_COST.format(who=application.who, why=why)]
        super().__init__(application, functions)
        if self.config.any_queue:
            self.notes.append(f"captured at {self._table.description}: all packets count as port0's")

    def close(self) -> None:
        """Detach. What the kernel holds still comes through the rings, which are then closed."""
        self.kernel.detach()
        for _, fd in self._early:
            os.close(fd)
        self._early.clear()
        if self._pump is not None:
            lib.dpcap_pump_stop(self._pump)
            self._pump = None
        super().close()
        if self._alarm >= 0:
            os.close(self._alarm)
            self._alarm = -1

    def fileno(self) -> int:
        """Return the descriptor to poll; next_ring() has to be asked each time."""
        return self._alarm

    def stats(self) -> list[protocol.Queue]:
        """Tell nothing: there is no hook that would choose among the forms of a filter."""
        return []

    def prepare(self, tap: Filter, *, sample: int = 1) -> None:
        """Say what attach() will look for: what a filter accepts of one packet in so many."""
        self._filter = None if tap.accepts_all else tap
        self._sample = sample

    def attach(self, request: AttachRequest, program_fd: int = -1) -> list[tuple[protocol.Ring, int]]:
        """Start the capture of what prepare() has said; the program of the shim is not used.

        Returns the rings of the queues that run now with a memfd each, which the caller closes.
        """
        del program_fd
        self._request = request
        self._interfaces = dict(request.ports)
        try:
            in_pump = self._load_best(request)
            self._start_pump(in_pump)
            self.follow(self._interfaces, request.directions)
        except DpcapError as error:
            raise features.explain(self.who, error) from error
        rings, self._early = self._early, []
        return rings

    def next_ring(self) -> tuple[protocol.Ring, int] | None:
        """Take the ring of a queue that appeared while the capture runs.

        Raises EOFError when the application is gone. Returns None when there is nothing.
        """
        if self._early:
            return self._early.pop(0)
        if self.is_gone():
            raise EOFError
        if self._request is not None:
            self.follow_if_due(self._interfaces, self._request.directions)
        return self._early.pop(0) if self._early else None

    def _load_best(self, request: AttachRequest) -> Filter | None:
        """Load the best program that the kernel takes. Returns the filter if the pump has to run it."""
        config = self.config._replace(sample=self._sample, snaplen=min(request.snaplen, program.MAX_DATA))
        if self._filter is None:
            self.kernel.load(program.image(config))
            return None
        from dpcap.filters.kernel import kernel_forms  # noqa: PLC0415 - with the filter

        reason = "it is too long"
        for form in kernel_forms(self._filter):
            if len(form.code) > program.filter_room():
                continue
            reach = program.MAX_DATA if form.reach is None else min(max(form.reach, 1), program.MAX_DATA)
            try:
                self.kernel.load(program.image(config._replace(filter_bytes=reach), form.code))
            except libbpf.LoadError as error:
                reason = str(error).splitlines()[-1].strip()
                continue
            return None
        self.notes.append(
            f"the kernel does not take this filter ({reason}): it runs in dpcap, on copies of all packets"
        )
        self.kernel.load(program.image(config._replace(snaplen=program.MAX_DATA)))
        return self._filter

    def _start_pump(self, tap: Filter | None) -> None:
        maps = ffi.new("struct dpcap_pump_maps *")
        for name in ("packets", "refusals", "counters", "threads"):
            setattr(maps, name, self.kernel.object.map_fd(name))
        pump = ffi.new("struct dpcap_pump **")
        entry = ffi.NULL if tap is None else ffi.cast("void *", tap.program().jit_entry())
        _running.append(tap)
        checked(lib.dpcap_pump_start(pump, maps, entry), "cannot start to capture")
        self._pump = pump[0]

    def welcome(self, queue: Queue) -> None:
        """Make a ring for a new queue."""
        assert self._request is not None  # noqa: S101 - attached
        device = self._told.devices.get(queue.port)
        params = ffi.new("struct dpcap_pump_ring *")
        params.port, params.queue, params.direction = queue.port, queue.queue, queue.direction
        params.interface_id, params.snaplen = self._interfaces[queue.port], self._request.snaplen
        params.mac = int.from_bytes(device.mac, "little") if device else 0
        fd = checked(
            lib.dpcap_pump_add(self._pump, params),
            f"{self.who}: no ring for port{queue.port} queue {queue.queue}",
        )
        size = os.fstat(fd).st_size
        ring = protocol.Ring(queue.port, queue.queue, queue.direction, params.interface_id, size)
        self._early.append((ring, fd))
