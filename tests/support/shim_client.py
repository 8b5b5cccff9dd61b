# SPDX-License-Identifier: BSD-3-Clause
"""
A bare client of the shim's control protocol: struct, socket and mmap, none of dpcap's own client code.

It reads rings packet by packet in Python, which is slow and exactly what a test wants to see.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from support.testpmd import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.testpmd import Testpmd

MAGIC = 0x70616364
VERSION = 2
HELLO, INFO, PORTS, PORT, ATTACH, RING, END, ERROR, PARK, WAKE, STATS, QUEUE, COUNTERS = range(1, 14)
IN, OUT = 1, 2
JIT, INTERP = 0, 1
WHOLE, COUNT = 1, 2
PATIENCE = 30.0

HEADER = struct.Struct("=IHHII")
PORT_BODY = struct.Struct("=HHHH6sHQ64s64s")
ATTACH_BODY = struct.Struct("=IIIIIIQ")
ATTACH_FORM = struct.Struct("=II")
ATTACH_PORT = struct.Struct("=HHI")
RING_BODY = struct.Struct("=HHIIIQ")
QUEUE_BODY = struct.Struct("=HHIQII")
QUEUE_FORM = struct.Struct("=IIQ")
MAX_PORTS = 32
MAX_FORMS = 8
FORM_ALIGNMENT = 8

# Programs as RFC 9669 instructions.
ACCEPT = bytes.fromhex("b700000000000400 9500000000000000")  # r0 = 262144; exit
REJECT = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit


class ShimError(Exception):
    """An ERROR reply."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{os.strerror(code)}: {text}")
        self.code = code
        self.text = text


class SessionEndedError(Exception):
    """The shim closed the connection."""


def keep_if_byte(offset: int, value: int, keep: int = 262144) -> bytes:
    """Return a program that keeps `keep` bytes of packets with this byte at `offset`."""
    return b"".join(
        (
            struct.pack("<BBhi", 0xB7, 0x00, 0, 0),  # r0 = 0
            struct.pack("<BBhi", 0xA5, 0x02, 3, offset + 1),  # if r2 < offset + 1 goto exit
            struct.pack("<BBhi", 0x71, 0x13, offset, 0),  # r3 = *(u8 *)(r1 + offset)
            struct.pack("<BBhi", 0x55, 0x03, 1, value),  # if r3 != value goto exit
            struct.pack("<BBhi", 0xB7, 0x00, 0, keep),  # r0 = keep
            struct.pack("<BBhi", 0x95, 0x00, 0, 0),  # exit
        )
    )


def memfd(content: bytes) -> int:
    """Return a memfd with this content."""
    fd = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    return fd


def header(
    kind: int, size: int = HEADER.size, seq: int = 1, magic: int = MAGIC, version: int = VERSION
) -> bytes:
    """Return a message header."""
    return HEADER.pack(magic, version, kind, size, seq)


def attach_message(
    ports: list[int],
    *,
    forms: Sequence[tuple[int, int]] = ((2, 0),),
    snaplen: int = 262144,
    directions: int = IN | OUT,
    engine: int = JIT,
    flags: int = 0,
    ring_size: int = 0,
    n_forms: int | None = None,
    n_ports: int | None = None,
    reserved: int = 0,
) -> bytes:
    """Return an ATTACH request; forms are (instructions, bytes of tables), interface ids 10 + the port."""
    body = ATTACH_BODY.pack(
        flags,
        snaplen,
        directions,
        engine,
        len(forms) if n_forms is None else n_forms,
        len(ports) if n_ports is None else n_ports,
        ring_size,
    )
    table = b"".join(ATTACH_FORM.pack(*form) for form in forms)
    body += table.ljust(MAX_FORMS * ATTACH_FORM.size, b"\0")
    table = b"".join(ATTACH_PORT.pack(port, reserved, 10 + port) for port in ports)
    body += table.ljust(MAX_PORTS * ATTACH_PORT.size, b"\0")
    return header(ATTACH, HEADER.size + len(body)) + body


@dataclass(frozen=True)
class Packet:
    """One Enhanced Packet Block."""

    interface: int
    time_ns: int
    data: bytes
    wirelen: int
    options: dict[int, bytes]

    @property
    def flags(self) -> int:
        return int.from_bytes(self.options[2], "little")

    @property
    def direction(self) -> int:
        return self.flags & 3

    @property
    def queue(self) -> int:
        return int.from_bytes(self.options[6], "little")

    @property
    def dropcount(self) -> int:
        return int.from_bytes(self.options.get(4, b""), "little")


class Ring:
    """A mapped ring. Field places are those of struct dpcap_ring_shm."""

    HEAD, ACCEPTED, DROPPED, CLOSED, RECEIVED, TAIL = 64, 72, 80, 88, 128, 192

    def __init__(self, message: bytes, fd: int) -> None:
        body = RING_BODY.unpack_from(message, HEADER.size)
        self.port, self.queue, self.direction, self.interface, _, self.memfd_size = body
        self.seq = HEADER.unpack_from(message)[4]
        try:
            self.map = mmap.mmap(fd, self.memfd_size)
        finally:
            os.close(fd)
        self.data_offset, self.data_size = struct.unpack_from("=IQ", self.map, 12)
        self.tail = 0

    def _u64(self, at: int) -> int:
        return int(struct.unpack_from("=Q", self.map, at)[0])

    @property
    def received(self) -> int:
        return self._u64(self.RECEIVED)

    @property
    def accepted(self) -> int:
        return self._u64(self.ACCEPTED)

    @property
    def dropped(self) -> int:
        return self._u64(self.DROPPED)

    @property
    def closed(self) -> bool:
        return self.map[self.CLOSED] == 1

    def read(self) -> list[Packet]:
        """Return what is new, and give the room back."""
        return list(self._read())

    def _bytes(self, start: int, size: int) -> bytes:
        at = start % self.data_size
        first = self.map[self.data_offset + at : self.data_offset + min(at + size, self.data_size)]
        return first + self.map[self.data_offset : self.data_offset + size - len(first)]

    def _read(self) -> Iterator[Packet]:
        head = self._u64(self.HEAD) & ~3
        while self.tail != head:
            _, size = struct.unpack("=II", self._bytes(self.tail, 8))
            block = self._bytes(self.tail, size)
            self.tail += size
            yield parse_epb(block)
        struct.pack_into("=Q", self.map, self.TAIL, self.tail)

    def close(self) -> None:
        self.map.close()


def parse_epb(block: bytes) -> Packet:
    """Take a block apart and check that it is whole."""
    kind, size, interface, high, low, caplen, wirelen = struct.unpack_from("=7I", block)
    assert kind == 6
    assert size == len(block) == struct.unpack_from("=I", block, len(block) - 4)[0]
    assert size % 4 == 0
    assert caplen <= wirelen
    options = {}
    at = 28 + (caplen + 3 & ~3)
    while (code := struct.unpack_from("=HH", block, at)) != (0, 0):
        options[code[0]] = block[at + 4 : at + 4 + code[1]]
        at += 4 + (code[1] + 3 & ~3)
    assert at == size - 8
    return Packet(interface, high << 32 | low, block[28 : 28 + caplen], wirelen, options)


@dataclass(frozen=True)
class Queue:
    """A QUEUE message."""

    port: int
    queue: int
    direction: int
    received: int
    best: int
    forms: list[tuple[int, int, int]]  # number, cycles a packet / 256, bursts

    @classmethod
    def parse(cls, message: bytes) -> Self:
        port, queue, direction, received, best, n_forms = QUEUE_BODY.unpack_from(message, HEADER.size)
        at = HEADER.size + QUEUE_BODY.size
        assert len(message) == at + MAX_FORMS * QUEUE_FORM.size
        forms = list(QUEUE_FORM.iter_unpack(message[at:]))
        assert not any(map(any, forms[n_forms:]))
        return cls(port, queue, direction, received, best, forms[:n_forms])


@dataclass(frozen=True)
class Counters:
    """One slot of a table of counters."""

    port: int
    queue: int
    direction: int
    captured: int
    dropped: int
    packets: int
    bytes: int
    matched: int
    matched_bytes: int
    empty_polls: int
    missed: int
    bursts: tuple[int, ...]


class Table:
    """A mapped table of counters. Field places are those of struct dpcap_counter_table."""

    HEADER, SLOT = 64, 256

    def __init__(self, message: bytes, fd: int) -> None:
        (self.size,) = struct.unpack_from("=Q", message, HEADER.size)
        self.fd = fd
        self.map = mmap.mmap(fd, self.size, access=mmap.ACCESS_READ)

    def read(self) -> dict[tuple[int, int, int], Counters]:
        """Return the counters by port, queue and direction."""
        magic, version, n_slots = struct.unpack_from("=8sII", self.map)
        assert (magic, version) == (b"DPCACNT1", 1)
        found = {}
        for at in range(self.HEADER, self.HEADER + n_slots * self.SLOT, self.SLOT):
            fields: list[Any] = list(struct.unpack_from("=HHI2Q40x6Q", self.map, at))
            fields.append(struct.unpack_from("=16Q", self.map, at + 128))
            counters = Counters(*fields)
            place = (counters.port, counters.queue, counters.direction)
            assert place not in found
            found[place] = counters
        return found

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


class Client:
    """One connection."""

    def __init__(self, path: Path | str, *, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.rings: list[Ring] = []
        self.table: Table | None = None
        try:
            self.socket.connect(str(path))
            self.info = self.request(header(HELLO))[0] if greet else b""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()
        for ring in self.rings:
            ring.close()
        if self.table is not None:
            self.table.close()

    def send(self, message: bytes, *fds: int) -> None:
        socket.send_fds(self.socket, [message], list(fds))

    def receive(self) -> tuple[int, bytes]:
        """Return type and bytes of one message; a ring is mapped and added to `rings`."""
        try:
            message, fds, _, _ = socket.recv_fds(self.socket, 65536, 4)
        except ConnectionResetError:
            message = b""
        if not message:
            raise SessionEndedError
        magic, version, kind, size, _ = HEADER.unpack_from(message)
        assert (magic, version, size) == (MAGIC, VERSION, len(message))
        if kind == ERROR:
            code, _ = struct.unpack_from("=iI", message, HEADER.size)
            raise ShimError(code, message[HEADER.size + 8 :].rstrip(b"\0").decode())
        assert len(fds) == (kind in (RING, COUNTERS))
        if kind == RING:
            self.rings.append(Ring(message, fds[0]))
        if kind == COUNTERS:
            self.table = Table(message, fds[0])
        return kind, message

    def request(self, message: bytes, *fds: int) -> list[bytes]:
        """Send, and return the replies up to END (or the one that is INFO)."""
        self.send(message, *fds)
        replies: list[bytes] = []
        while True:
            kind, reply = self.receive()
            if kind == END:
                assert struct.unpack_from("=I", reply, HEADER.size)[0] == len(replies)
                return replies
            if HEADER.unpack_from(reply)[4] == 0:
                continue  # not a reply but an event: a RING, and `receive` has noted it
            replies.append(reply)
            if kind == INFO:
                return replies

    def ports(self) -> list[tuple[object, ...]]:
        """Return the PORT replies: id, rx queues, tx queues, started, MAC, MTU, speed, name, driver."""
        ports = []
        for reply in self.request(header(PORTS)):
            *numbers, name, driver = PORT_BODY.unpack_from(reply, HEADER.size)
            ports.append((*numbers, name.rstrip(b"\0").decode(), driver.rstrip(b"\0").decode()))
        return ports

    def stats(self) -> list[Queue]:
        """Return what each queue's hook has done."""
        return [Queue.parse(reply) for reply in self.request(header(STATS))]

    def attach(
        self,
        ports: list[int],
        program: bytes = ACCEPT,
        *others: bytes,
        rodata: bytes = b"",
        **fields: int,
    ) -> list[Ring]:
        """Attach with a filter of one or more forms and return the rings. rodata is the first one's."""
        programs = b"".join(
            form.ljust(-(-len(form) // FORM_ALIGNMENT) * FORM_ALIGNMENT, b"\0")
            for form in (program + rodata, *others)
        )
        sizes = [(len(program) // 8, len(rodata)), *((len(form) // 8, 0) for form in others)]
        fd = memfd(programs)
        try:
            before = len(self.rings)
            message = attach_message(ports, forms=sizes, **fields)
            self.request(message, fd)
            return self.rings[before:]
        finally:
            os.close(fd)

    def watch(self, ports: list[int], program: bytes | None = None, directions: int = IN | OUT) -> Table:
        """Count, with a filter or without, and return the table."""
        if program is not None:
            self.attach(ports, program, flags=COUNT | WHOLE, directions=directions)
        else:
            self.request(attach_message(ports, forms=[], flags=COUNT, directions=directions))
        assert self.table is not None
        return self.table


def connect(app: Testpmd, *, greet: bool = True) -> Client:
    """Connect to an application's shim, waiting until it listens."""
    wait_until(app.sockets, "the control socket")
    return Client(app.sockets()[0], greet=greet)


def attach_and_be_killed(path: Path) -> None:
    """Have a child of ours attach, and kill it in the middle of its capture."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            client = Client(path)
            client.attach([0], ring_size=65536)
            os.write(writer, b"attached")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 8) == b"attached"
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
