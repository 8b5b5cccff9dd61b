# SPDX-License-Identifier: BSD-3-Clause
"""A capture by uprobes, with the face of a connection to the shim (capture/client.py).

Closing it detaches everything, and so does the end of this process, whatever ended it.
"""

from __future__ import annotations

import os
import select
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dpcap.capture._uprobe import ffi, lib

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import features, instruction, ladder, libbpf, program, telemetry
from dpcap.capture.uprobe.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from dpcap.capture.discovery import Application
    from dpcap.capture.protocol import AttachRequest
    from dpcap.capture.uprobe.ladder import Found
    from dpcap.capture.uprobe.layout import Port as LivePort
    from dpcap.filters.filter import Filter

# Between two looks at the application's ports: one that starts has been seen by then.
_LOOK_AGAIN = 0.1  # seconds
_SPARE_THREADS = 16  # that the application may start while it is captured from
_MAX_THREADS = 128  # UPROBE_MAX_THREADS
_DIRECTIONS = {protocol.DIRECTION_IN: "rx", protocol.DIRECTION_OUT: "tx"}
# Returns first: whoever is seen to enter is seen to return.
_PROGRAMS = (("return", True), ("enter", False))

# struct uprobe_queue_key and struct uprobe_queue of shim/uprobe/records.h
_KEY = struct.Struct("=QQ")
_VALUE = struct.Struct("=QII")


_COST = (
    "{who} has no shim: capturing by kernel uprobes, which take it about 1 us a burst and 0.3 us a packet "
    "(docs/choosing.md)"
)
# Filters whose code the pump runs. It ends by itself, some time after the capture.
_running: list[Filter | None] = []


class _Queue(NamedTuple):
    port: int
    direction: int
    queue: int


class Connection:
    """Uprobes on one application."""

    #: How long a packet may take from the time it is stamped to its ring: the pump's nap, and its own way.
    slack_ns = 20_000_000

    def __init__(self, application: Application) -> None:
        """Find out where to capture. Raises AccessError, NotFoundError or KernelError."""
        features.check(application.who, "load the shim into it (dpcap shim --help)")
        self.who = application.who
        self._application = application
        self._process = Process(application.pid, application.who)
        self._object: libbpf.Object | None = None
        self._pump: Any = None
        self._links: list[int] = []
        self._has_multi = False
        self._attached: set[tuple[str, int, int]] = set()  # file, offset and direction of functions
        self._rings: dict[_Queue, int] = {}  # number in the pump
        self._pointers: dict[_Queue, int] = {}  # what the kernel knows a queue by
        self._early: list[tuple[protocol.Ring, int]] = []
        self._request: AttachRequest | None = None
        self._looked = 0.0
        self._alarm = os.eventfd(1, os.EFD_CLOEXEC)  # always readable: it is asked as often as one looks
        try:
            self._pidfd = os.pidfd_open(application.pid)
            self._found: Found = ladder.climb(self._process)
        except ProcessLookupError as error:
            raise DpcapError(f"{self.who}: it has ended") from error
        except BaseException:
            self.close()
            raise
        self._told = telemetry.ask(application)
        #: Lines that a user should read.
        self.notes = [_COST.format(who=self.who)]
        self._filter: Filter | None = None
        self._sample = 1

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Detach. What the kernel holds still comes through the rings, which are then closed."""
        for fd in reversed(self._links):
            os.close(fd)
        self._links.clear()
        for _, fd in self._early:
            os.close(fd)
        self._early.clear()
        if self._pump is not None:
            lib.dpcap_pump_stop(self._pump)
            self._pump = None
        if self._object is not None:
            self._object.close()
            self._object = None
        self._process.close()
        for name in ("_alarm", "_pidfd"):
            fd = getattr(self, name, -1)
            if fd >= 0:
                os.close(fd)
            setattr(self, name, -1)

    def fileno(self) -> int:
        """Return the descriptor to poll; next_ring() has to be asked each time."""
        return self._alarm

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

    def stats(self) -> list[protocol.Queue]:
        """Tell nothing: there is no hook that would choose among the forms of a filter."""
        return []

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
        for port in self._found.table.ports(self._process):
            device = self._told.devices.get(port.port)
            found.append(
                port._replace(
                    rx_queues=port.rx_queues[: device.rx_queues], tx_queues=port.tx_queues[: device.tx_queues]
                )
                if device
                else port
            )
        return found

    def prepare(self, tap: Filter | None, *, sample: int = 1) -> None:
        """Say what attach() will look for: a filter, None for everything; and one packet in so many."""
        self._filter = None if tap is None or tap.accepts_all else tap
        self._sample = sample

    def attach(self, request: AttachRequest, program_fd: int = -1) -> list[tuple[protocol.Ring, int]]:
        """Start the capture of what prepare() has said; the program of the shim is not used.

        Returns the rings of the queues that run now with a memfd each, which the caller closes.
        """
        del program_fd
        self._request = request
        try:
            in_pump = self._load(request)
            self._start_pump(in_pump)
            self._look(self._live_ports())
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
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if poller.poll(0):
            raise EOFError
        if time.monotonic() < self._looked + _LOOK_AGAIN:
            return None
        self._process.mappings(again=True)
        self._look(self._live_ports())
        return self._early.pop(0) if self._early else None

    def _load(self, request: AttachRequest) -> Filter | None:
        """Load the best program that the kernel takes. Returns the filter if the pump has to run it."""
        config = program.Config(
            sample=self._sample,
            snaplen=min(request.snaplen, program.MAX_DATA),
            next_offset=64,
        )
        if self._filter is None:
            self._object = self._load_image(program.image(config))
            return None
        from dpcap.filters.kernel import kernel_forms  # noqa: PLC0415 - with the filter

        reason = "it is too long"
        for form in kernel_forms(self._filter):
            if len(form.code) > program.filter_room():
                continue
            reach = program.MAX_DATA if form.reach is None else min(max(form.reach, 1), program.MAX_DATA)
            try:
                self._object = self._load_image(program.image(config._replace(filter_bytes=reach), form.code))
            except libbpf.LoadError as error:
                reason = str(error).splitlines()[-1].strip()
                continue
            return None
        self.notes.append(
            f"the kernel does not take this filter ({reason}): it runs in dpcap, on copies of all packets"
        )
        self._object = self._load_image(program.image(config._replace(snaplen=program.MAX_DATA)))
        return self._filter

    def _load_image(self, image: bytes) -> libbpf.Object:
        threads = len(os.listdir(f"/proc/{self._application.pid}/task")) + _SPARE_THREADS
        room = {"scratches": min(threads, _MAX_THREADS)}
        loaded = libbpf.Object(image, max_entries=room, attach_type=libbpf.TRACE_UPROBE_MULTI)
        self._has_multi = features.has_multi_links(loaded.program_fd("rx_enter"))
        if self._has_multi:
            return loaded
        loaded.close()
        return libbpf.Object(image, max_entries=room, attach_type=0)

    def _start_pump(self, tap: Filter | None) -> None:
        assert self._object is not None  # noqa: S101 - loaded before
        maps = ffi.new("struct dpcap_pump_maps *")
        for name in ("packets", "refusals", "counters", "threads"):
            setattr(maps, name, self._object.map_fd(name))
        pump = ffi.new("struct dpcap_pump **")
        entry = ffi.NULL if tap is None else ffi.cast("void *", tap.program().jit_entry())
        _running.append(tap)
        _checked(lib.dpcap_pump_start(pump, maps, entry), "cannot start to capture")
        self._pump = pump[0]

    def _look(self, ports: Sequence[LivePort]) -> None:
        """Follow the application's ports: attach to functions and learn of queues that are new."""
        self._looked = time.monotonic()
        assert self._request is not None  # noqa: S101 - attached before
        wanted = dict(self._request.ports)
        ports = [port for port in ports if port.port in wanted]
        directions = {d: name for d, name in _DIRECTIONS.items() if self._request.directions & d}
        for direction, name in directions.items():
            self._attach_functions(direction, {getattr(port, name) for port in ports})
        queues = {
            _Queue(port.port, direction, number): pointer
            for port in ports
            for direction, name in directions.items()
            for number, pointer in enumerate(getattr(port, f"{name}_queues"))
        }
        for queue in sorted(queues.keys() - self._rings.keys()):
            self._make_ring(queue, wanted[queue.port], self._request.snaplen)
        # Last, and all at once: what is above takes milliseconds, and one direction should not come first.
        for queue, pointer in queues.items():
            self._learn(queue, pointer)

    def _attach_functions(self, direction: int, addresses: Iterable[int]) -> None:
        by_file: dict[str, list[int]] = {}
        for address in addresses:
            location = self._process.location(address)
            key = (location.name, location.offset, direction)
            if key not in self._attached:
                self._attached.add(key)
                where = instruction.place(self._process.read(address, 32))
                by_file.setdefault(location.file, []).append(location.offset + where.offset)
        for file, offsets in by_file.items():
            for name, on_return in _PROGRAMS:
                self._link(f"{_DIRECTIONS[direction]}_{name}", file, offsets, on_return=on_return)

    def _link(self, name: str, file: str, offsets: Sequence[int], *, on_return: bool) -> None:
        assert self._object is not None  # noqa: S101 - loaded before
        program_fd, path, pid = self._object.program_fd(name), file.encode(), self._application.pid
        if self._has_multi:
            many = (program_fd, path, list(offsets), len(offsets), pid, on_return)
            links = [lib.dpcap_uprobe_attach_multi(*many)]
        else:
            links = [lib.dpcap_uprobe_attach_perf(program_fd, path, at, pid, on_return) for at in offsets]
        self._links += [fd for fd in links if fd >= 0]
        _checked(min(links), f"{self.who}: cannot attach to its driver")

    def _make_ring(self, queue: _Queue, interface_id: int, snaplen: int) -> None:
        device = self._told.devices.get(queue.port)
        params = ffi.new("struct dpcap_pump_ring *")
        params.port, params.queue, params.direction = queue.port, queue.queue, queue.direction
        params.interface_id, params.snaplen = interface_id, snaplen
        params.mac = int.from_bytes(device.mac, "little") if device else 0
        fd = _checked(
            lib.dpcap_pump_add(self._pump, params),
            f"{self.who}: no ring for port{queue.port} queue {queue.queue}",
        )
        self._rings[queue] = len(self._rings)
        ring = protocol.Ring(queue.port, queue.queue, queue.direction, interface_id, os.fstat(fd).st_size)
        self._early.append((ring, fd))

    def _learn(self, queue: _Queue, pointer: int) -> None:
        """Tell the kernel whose a queue is."""
        assert self._object is not None  # noqa: S101 - loaded before
        known = self._pointers.get(queue)
        if known == pointer:
            return
        if known is not None:
            self._object.delete("queues", _KEY.pack(known, queue.direction))
        meta = queue.direction | queue.queue << 16 | queue.port << 32
        value = _VALUE.pack(meta, self._rings[queue], 0)
        self._object.update("queues", _KEY.pack(pointer, queue.direction), value)
        self._pointers[queue] = pointer


def _checked(status: int, what: str) -> int:
    if status < 0:
        raise DpcapError(f"{what}: {os.strerror(-status)}")
    return status
