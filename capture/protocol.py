# SPDX-License-Identifier: BSD-3-Clause
"""Messages of the control protocol, as declared in shim/dpdk/proto.h.

Requests are made and replies are read through the C structures themselves, so that there is no second
description of the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dpcap.capture._proto import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERSION: str = ffi.string(lib.DPCAP_VERSION).decode()  # of dpcap
PROTO_VERSION: int = lib.DPCAP_PROTO_VERSION
MAX_PORTS: int = lib.DPCAP_MAX_PORTS
FORM_ALIGNMENT: int = lib.DPCAP_FORM_ALIGNMENT
DIRECTION_IN: int = lib.DPCAP_DIRECTION_IN
DIRECTION_OUT: int = lib.DPCAP_DIRECTION_OUT
DIRECTIONS = {"in": DIRECTION_IN, "out": DIRECTION_OUT, "inout": DIRECTION_IN | DIRECTION_OUT}
# A session that counts: compiled expressions accept the whole packet or nothing.
COUNT_FLAGS: int = lib.DPCAP_ATTACH_COUNT | lib.DPCAP_ATTACH_WHOLE
ENGINES: dict[str, int] = {"jit": lib.DPCAP_ENGINE_JIT, "interp": lib.DPCAP_ENGINE_INTERP}

# The largest message; a longer one is cut by recv and then refused by its size field.
MAX_MESSAGE = max(ffi.sizeof(f"struct dpcap_msg_{name}") for name in ("attach", "error", "port", "queue"))


class ProtocolError(Exception):
    """The peer does not speak this protocol, or another version of it."""


class Info(NamedTuple):
    """Who the application is: the answer to HELLO."""

    pid: int  # as the application sees itself
    primary: bool
    jit: bool  # the JIT works on that machine
    dpdk_version: str
    shim_version: str
    app_name: str
    parked: bool = False  # no captures until it is woken


class Port(NamedTuple):
    """One ethdev port of the application."""

    port: int
    name: str  # device name: net_pcap0, 0000:03:00.0
    driver: str
    mac: bytes
    mtu: int
    speed: int  # bit/s, 0: unknown
    rx_queues: int
    tx_queues: int
    started: bool

    @property
    def label(self) -> str:
        """The name that users give to -i."""
        return f"port{self.port}"


class Ring(NamedTuple):
    """One capture ring: of one queue and direction. Its memfd comes along with the message."""

    port: int
    queue: int
    direction: int
    interface_id: int
    memfd_size: int


class QueueForm(NamedTuple):
    """What a queue knows of one form of the filter."""

    form: int  # its place in the request
    cycles: float  # TSC cycles a packet, a moving average; 0: not measured yet
    bursts: int  # that it has run


class Queue(NamedTuple):
    """What one ring's hook has done so far."""

    port: int
    queue: int
    direction: int
    received: int  # packets that the hook saw
    forms: list[QueueForm]  # that the verifier accepted; none: packets are run one by one
    best: QueueForm | None  # the form that runs


class Counters(NamedTuple):
    """The table of counters. Its memfd comes along with the message."""

    memfd_size: int


class End(NamedTuple):
    """The end of a list of PORT, RING or QUEUE messages, or of what was asked for."""

    n: int  # messages before it, or captures that were ended


class Error(NamedTuple):
    """A request was refused."""

    code: int  # errno
    text: str  # one line, then where it helps a log


Message = Info | Port | Ring | Counters | Queue | End | Error

_CYCLE = 256  # struct dpcap_queue_form.cycles counts fractions


def _text(field: Any) -> str:
    """Read a char array that is NUL-terminated unless it is full."""
    return bytes(ffi.buffer(field)).split(b"\0", 1)[0].decode(errors="replace")


def _info(m: Any) -> Info:
    return Info(
        pid=m.pid,
        primary=bool(m.primary),
        jit=bool(m.jit),
        dpdk_version=_text(m.dpdk_version),
        shim_version=_text(m.shim_version),
        app_name=_text(m.app_name),
        parked=bool(m.parked),
    )


def _port(m: Any) -> Port:
    return Port(
        port=m.port,
        name=_text(m.name),
        driver=_text(m.driver),
        mac=bytes(m.mac),
        mtu=m.mtu,
        speed=m.speed,
        rx_queues=m.n_rx_queues,
        tx_queues=m.n_tx_queues,
        started=bool(m.started),
    )


def _ring(m: Any) -> Ring:
    return Ring(m.port, m.queue, m.direction, m.interface_id, m.memfd_size)


def _counters(m: Any) -> Counters:
    return Counters(m.memfd_size)


def _queue(m: Any) -> Queue:
    if m.n_forms > lib.DPCAP_MAX_FORMS or m.best >= max(1, m.n_forms):
        raise ProtocolError(f"a queue with form {m.best} of {m.n_forms}")
    forms = [QueueForm(f.form, f.cycles / _CYCLE, f.bursts) for f in m.forms[0 : m.n_forms]]
    return Queue(m.port, m.queue, m.direction, m.received, forms, forms[m.best] if forms else None)


def _end(m: Any) -> End:
    return End(m.count)


def _error(m: Any) -> Error:
    return Error(m.code, _text(m.text))


_REPLIES: dict[int, tuple[str, Callable[[Any], Message]]] = {
    lib.DPCAP_MSG_INFO: ("struct dpcap_msg_info", _info),
    lib.DPCAP_MSG_PORT: ("struct dpcap_msg_port", _port),
    lib.DPCAP_MSG_RING: ("struct dpcap_msg_ring", _ring),
    lib.DPCAP_MSG_COUNTERS: ("struct dpcap_msg_counters", _counters),
    lib.DPCAP_MSG_QUEUE: ("struct dpcap_msg_queue", _queue),
    lib.DPCAP_MSG_END: ("struct dpcap_msg_end", _end),
    lib.DPCAP_MSG_ERROR: ("struct dpcap_msg_error", _error),
}


def parse(data: bytes) -> tuple[int, Message]:
    """Check one datagram from the shim and return the number of the request it answers, and its content.

    Raises ProtocolError when it is not a message of this version.
    """
    header_size = ffi.sizeof("struct dpcap_msg_hdr")
    if len(data) < header_size:
        raise ProtocolError(f"a message of {len(data)} bytes")
    header = ffi.from_buffer("struct dpcap_msg_hdr *", data)
    if header.magic != lib.DPCAP_PROTO_MAGIC:
        raise ProtocolError("not a dpcap shim")
    if header.version != PROTO_VERSION:
        raise ProtocolError(f"the shim speaks protocol version {header.version}, this dpcap {PROTO_VERSION}")
    if header.size != len(data):
        raise ProtocolError(f"a message of {len(data)} bytes says that it has {header.size}")
    if header.type not in _REPLIES:
        raise ProtocolError(f"a message of unknown type {header.type}")
    ctype, read = _REPLIES[header.type]
    if len(data) < ffi.sizeof(ctype):
        raise ProtocolError(f"a message of type {header.type} has {len(data)} bytes only")
    return header.seq, read(ffi.from_buffer(f"{ctype} *", data))


def _finish(message: Any, kind: int, seq: int) -> bytes:
    message.hdr.magic = lib.DPCAP_PROTO_MAGIC
    message.hdr.version = PROTO_VERSION
    message.hdr.type = kind
    message.hdr.size = ffi.sizeof(message[0])
    message.hdr.seq = seq
    return bytes(ffi.buffer(message))


def _header_only(kind: int, seq: int) -> bytes:
    header = ffi.new("struct dpcap_msg_hdr *")
    header.magic = lib.DPCAP_PROTO_MAGIC
    header.version = PROTO_VERSION
    header.type = kind
    header.size = ffi.sizeof("struct dpcap_msg_hdr")
    header.seq = seq
    return bytes(ffi.buffer(header))


def hello(seq: int) -> bytes:
    """Make the request that is answered by Info."""
    return _header_only(lib.DPCAP_MSG_HELLO, seq)


def ports(seq: int) -> bytes:
    """Make the request that is answered by a Port each, then End."""
    return _header_only(lib.DPCAP_MSG_PORTS, seq)


def park(seq: int) -> bytes:
    """Make the request to take every hook out, answered by End."""
    return _header_only(lib.DPCAP_MSG_PARK, seq)


def wake(seq: int) -> bytes:
    """Make the request that undoes park(), answered by End."""
    return _header_only(lib.DPCAP_MSG_WAKE, seq)


def stats(seq: int) -> bytes:
    """Make the request that is answered by a Queue for each ring, then End."""
    return _header_only(lib.DPCAP_MSG_STATS, seq)


class AttachRequest(NamedTuple):
    """What to capture. The programs travel beside it, in a memfd."""

    ports: Sequence[tuple[int, int]]  # port id and pcapng interface id of each, at most MAX_PORTS
    snaplen: int  # bytes kept of a packet, 1..262144
    directions: int  # DIRECTION_IN | DIRECTION_OUT
    engine: int  # a value of ENGINES
    forms: Sequence[tuple[int, int]]  # of each program: eBPF instructions, and bytes of tables after them
    ring_size: int = 0  # bytes of data for each ring; 0: the shim's default
    flags: int = lib.DPCAP_ATTACH_WHOLE  # a compiled expression accepts the whole packet or nothing


def attach(seq: int, request: AttachRequest) -> bytes:
    """Make the request that is answered by a Ring each, then End."""
    message = ffi.new("struct dpcap_msg_attach *")
    message.flags = request.flags
    message.snaplen = request.snaplen
    message.directions = request.directions
    message.engine = request.engine
    message.n_forms = len(request.forms)
    for form, (n_insns, rodata_size) in zip(message.forms, request.forms, strict=False):
        form.n_insns = n_insns
        form.rodata_size = rodata_size
    message.ring_size = request.ring_size
    message.n_ports = len(request.ports)
    for slot, (port, interface_id) in zip(message.ports, request.ports, strict=False):
        slot.port = port
        slot.interface_id = interface_id
    return _finish(message, lib.DPCAP_MSG_ATTACH, seq)
