# SPDX-License-Identifier: BSD-3-Clause
"""Messages of the control protocol, and a client whose peer misbehaves."""

from __future__ import annotations

import array
import fcntl
import os
import socket
from pathlib import Path

import pytest
from dpcap.capture._proto import ffi, lib

from dpcap.capture import protocol
from dpcap.capture.client import Connection, seal_forms
from dpcap.capture.errors import DpcapError, NoShimError, RefusedError


def message(struct, kind, seq=1, **fields):
    m = ffi.new(f"struct dpcap_msg_{struct} *")
    for field, value in fields.items():
        setattr(m, field, value)
    m.hdr.magic = lib.DPCAP_PROTO_MAGIC
    m.hdr.version = lib.DPCAP_PROTO_VERSION
    m.hdr.type = kind
    m.hdr.size = ffi.sizeof(m[0])
    m.hdr.seq = seq
    return bytes(ffi.buffer(m))


INFO = message("info", lib.DPCAP_MSG_INFO, pid=7, primary=1, jit=1, app_name=b"testpmd")
END = message("end", lib.DPCAP_MSG_END, count=0)
RING = {"port": 1, "queue": 2, "direction": lib.DPCAP_DIRECTION_OUT, "interface_id": 3, "memfd_size": 4096}


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Connection(ours, "testpmd (pid 7)") as connection:
        yield connection, theirs


def open_fds():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reply_is_read_through_the_c_structure():
    seq, info = protocol.parse(INFO)
    assert seq == 1
    assert (info.pid, info.primary, info.jit, info.app_name) == (7, True, True, "testpmd")


def test_a_text_that_fills_its_field_has_no_terminator():
    full = b"x" * lib.DPCAP_NAME_SIZE
    assert protocol.parse(message("info", lib.DPCAP_MSG_INFO, app_name=full))[1].app_name == full.decode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (INFO[:8], "8 bytes"),
        (b"\0" * len(INFO), "not a dpcap shim"),
        (INFO + b"\0", "says that it has"),
        (INFO[:4] + b"\x63\x00" + INFO[6:], "protocol version 99"),
        (message("end", 99), "unknown type 99"),
        (message("end", lib.DPCAP_MSG_INFO), "bytes only"),
    ],
)
def test_what_is_no_message_is_refused(data, said):
    with pytest.raises(protocol.ProtocolError, match=said):
        protocol.parse(data)


def test_hello(pair):
    connection, shim = pair
    shim.send(INFO)
    assert connection.hello().pid == 7
    assert shim.recv(4096)[6:8] == lib.DPCAP_MSG_HELLO.to_bytes(2, "little")


def test_ports_come_until_the_end(pair):
    connection, shim = pair
    for number in (0, 1):
        shim.send(
            message("port", lib.DPCAP_MSG_PORT, port=number, name=b"net_null0", mac=[2, 0, 0, 0, 0, number])
        )
    shim.send(END)
    ports = connection.ports()
    assert [p.label for p in ports] == ["port0", "port1"]
    assert ports[1].mac.hex(":") == "02:00:00:00:00:01"


def send_with_fd(sock, data, fd):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


def request():
    return protocol.AttachRequest([(1, 3)], 128, protocol.DIRECTION_OUT, protocol.ENGINES["jit"], [(2, 5)])


def test_attach_sends_a_program_and_gets_rings(pair):
    connection, shim = pair
    program = seal_forms([(b"\x95" + bytes(7), b"table")])
    memory = os.memfd_create("ring")
    # A ring of a queue that appears while the reply is on its way is not lost.
    send_with_fd(shim, message("ring", lib.DPCAP_MSG_RING, seq=0, **(RING | {"queue": 9})), memory)
    send_with_fd(shim, message("ring", lib.DPCAP_MSG_RING, **RING), memory)
    shim.send(message("end", lib.DPCAP_MSG_END, count=1))
    [(ring, fd)] = connection.attach(request(), program)
    assert ring == protocol.Ring(**RING)
    late, late_fd = connection.next_ring()
    assert late.queue == 9
    assert connection.next_ring() is None
    _, fds, _, _ = socket.recv_fds(shim, 65536, 4)
    assert os.pread(fds[0], 100, 0) == b"\x95" + bytes(7) + b"table"
    with pytest.raises(PermissionError):
        os.pwrite(fds[0], b"x", 0)
    assert fcntl.fcntl(fds[0], fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    for each in (program, memory, fd, late_fd, *fds):
        os.close(each)


def test_queues_tell_their_forms(pair):
    connection, shim = pair
    forms = [{"form": 0, "cycles": 640, "bursts": 7}, {"form": 2, "cycles": 0, "bursts": 9}]
    shim.send(message("queue", lib.DPCAP_MSG_QUEUE, port=1, queue=2, direction=1, received=99))
    shim.send(
        message("queue", lib.DPCAP_MSG_QUEUE, port=1, queue=2, direction=2, best=1, n_forms=2, forms=forms)
    )
    shim.send(END)
    plain, several = connection.stats()
    assert plain == protocol.Queue(1, 2, 1, 99, [], None)
    assert several.forms == [protocol.QueueForm(0, 2.5, 7), protocol.QueueForm(2, 0.0, 9)]
    assert several.best == several.forms[1]


@pytest.mark.parametrize("numbers", [{"n_forms": 9}, {"n_forms": 2, "best": 2}, {"best": 1}])
def test_numbers_of_forms_that_cannot_be(pair, numbers):
    connection, shim = pair
    shim.send(message("queue", lib.DPCAP_MSG_QUEUE, **numbers))
    with pytest.raises(DpcapError, match="form"):
        connection.stats()


def test_a_refusal_carries_the_reason_and_the_log(pair):
    connection, shim = pair
    text = b"program refused: 3: r1 is out of bounds\n3: (61) r0 = *(u32 *)(r1 +99)"
    shim.send(message("error", lib.DPCAP_MSG_ERROR, code=22, text=text))
    with pytest.raises(RefusedError) as caught:
        connection.hello()
    first, rest = str(caught.value).split("\n", 1)
    assert first == "testpmd (pid 7) refused: program refused: 3: r1 is out of bounds"
    assert rest.startswith("3: (61)")


def test_a_half_sent_list_of_rings_leaks_nothing(pair):
    connection, shim = pair
    before = open_fds()
    program, memory = seal_forms([(bytes(8), b"")]), os.memfd_create("ring")
    send_with_fd(shim, message("ring", lib.DPCAP_MSG_RING, **RING), memory)
    send_with_fd(shim, message("error", lib.DPCAP_MSG_ERROR, code=12, text=b"no memory"), memory)
    rings = connection.attach(request(), program)
    os.close(next(rings)[1])
    with pytest.raises(RefusedError, match="no memory"):
        next(rings)
    os.close(program)
    os.close(memory)
    assert open_fds() == before


def test_a_ring_without_memory_is_nonsense(pair):
    connection, shim = pair
    program = seal_forms([(bytes(8), b"")])
    shim.send(message("ring", lib.DPCAP_MSG_RING, **RING))
    with pytest.raises(DpcapError, match="unexpected answer"):
        list(connection.attach(request(), program))
    os.close(program)


def test_the_wrong_answer_is_nonsense(pair):
    connection, shim = pair
    shim.send(END)
    with pytest.raises(DpcapError, match="unexpected answer"):
        connection.hello()


def test_another_version_says_so(pair):
    connection, shim = pair
    shim.send(INFO[:4] + b"\x63\x00" + INFO[6:])
    with pytest.raises(DpcapError, match=r"protocol version 99.*one release"):
        connection.hello()


def test_an_application_that_ends_while_it_is_asked(pair):
    connection, shim = pair
    shim.close()
    with pytest.raises(NoShimError):
        connection.hello()


def test_an_application_that_ends_during_the_capture(pair):
    connection, shim = pair
    assert connection.next_ring() is None
    shim.close()
    with pytest.raises(EOFError):
        connection.next_ring()


def test_a_socket_that_nobody_answers(tmp_path):
    path = tmp_path / ("x" * 60) / ("y" * 60) / "dpcap.1.sock"  # longer than sun_path
    path.parent.mkdir(parents=True)
    with pytest.raises(NoShimError, match="does not answer"):
        Connection.open(str(path), "testpmd (pid 1)")
