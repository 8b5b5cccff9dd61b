# SPDX-License-Identifier: BSD-3-Clause
"""What the shim makes of clients that are wrong, slow or hostile."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.shim_client import (
    ACCEPT,
    ATTACH,
    END,
    HEADER,
    HELLO,
    PORTS,
    REJECT,
    STATS,
    WHOLE,
    Client,
    SessionEndedError,
    ShimError,
    attach_message,
    connect,
    header,
    keep_if_byte,
    memfd,
)
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SESSIONS = 16


@pytest.fixture(scope="module")
def app() -> Iterator[Testpmd]:
    """A testpmd that forwards, and must go on doing so."""
    with Testpmd(["net_null0"]) as app:
        app.start()
        yield app
        app.wait_forwarded(1000)


@pytest.fixture(scope="module")
def idle_descriptors(app: Testpmd) -> list[str]:
    """Return what is open when nobody is connected."""
    wait_until(app.sockets, "the control socket")
    return descriptors(app)


@pytest.fixture(autouse=True)
def _lives_on(app: Testpmd, idle_descriptors: list[str]) -> Iterator[None]:
    """Whatever a test does, the shim serves the next client."""
    yield
    with connect(app) as client:
        assert client.ports()
    wait_until(lambda: descriptors(app) == idle_descriptors, "all descriptors closed")


def descriptors(app: Testpmd) -> list[str]:
    """Return what the application's descriptors point at."""
    found = []
    for fd in Path(f"/proc/{app.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(fd.readlink()))
    return sorted(found)


BAD_MESSAGES = {
    "one byte": b"x",
    "shorter than a header": header(HELLO)[:-1],
    "magic": header(HELLO, magic=1),
    "version": header(HELLO, version=1),
    "size too large": header(HELLO, size=17),
    "size too small": header(HELLO, size=15),
    "surplus bytes": header(HELLO, size=17) + b"x",
    "type 0": header(0),
    "a reply's type": header(END),
    "unknown type": header(99),
    "attach without body": header(ATTACH),
    "attach without memfd": attach_message([0]),
    "stats with a body": header(STATS, size=HEADER.size + 8) + bytes(8),
    "a long one": header(HELLO, size=4096).ljust(4096, b"x"),
    "the longest": header(HELLO, size=100_000).ljust(100_000, b"x"),
}


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_nonsense_ends_the_session(app, message):
    with connect(app) as client:
        client.send(message)
        with pytest.raises(ShimError) as error:
            client.receive()
        assert error.value.code in (errno.EPROTO, errno.EMSGSIZE)
        with pytest.raises(SessionEndedError):
            client.receive()


def test_the_error_names_the_request(app):
    with connect(app) as client:
        client.send(header(99, seq=4711))
        reply = client.socket.recv(65536)
        assert HEADER.unpack_from(reply)[4] == 4711


def test_hello_comes_first(app):
    with connect(app, greet=False) as client:
        client.send(header(PORTS))
        with pytest.raises(ShimError, match="HELLO"):
            client.receive()
        with pytest.raises(SessionEndedError):
            client.receive()


BAD_FIELDS = {
    "flags": {"flags": 4},
    "snaplen 0": {"snaplen": 0},
    "snaplen too large": {"snaplen": 262145},
    "no direction": {"directions": 0},
    "a third direction": {"directions": 4},
    "engine": {"engine": 2},
    "no form": {"n_forms": 0},
    "too many forms": {"n_forms": 9, "flags": WHOLE},
    "forms that give lengths": {"forms": [(1, 0), (1, 0)]},
    "no instruction": {"forms": [(0, 0)]},
    "no instruction in a later form": {"forms": [(2, 0), (0, 0)], "flags": WHOLE},
    "too many instructions": {"forms": [(65537, 0)]},
    "rodata": {"forms": [(2, (16 << 20) + 1)]},
    "rodata of all forms": {"forms": [(2, 8 << 20), (2, (8 << 20) + 1)], "flags": WHOLE},
    "rodata that overflows": {"forms": [(2, 0x80000000), (2, 0x80000000)], "flags": WHOLE},
    "ring": {"ring_size": (256 << 20) + 1},
    "no port": {"n_ports": 0},
    "too many ports": {"n_ports": 33},
    "reserved": {"reserved": 1},
}


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_bad_fields_are_refused_and_the_session_goes_on(app, fields):
    fd = memfd(ACCEPT)
    with connect(app) as client:
        client.send(attach_message([0], **fields), fd)
        os.close(fd)
        with pytest.raises(ShimError) as error:
            client.receive()
        assert error.value.code == errno.EINVAL
        assert error.value.text.startswith("attach: ")
        assert client.attach([0])


def test_a_port_given_twice(app):
    with connect(app) as client, pytest.raises(ShimError, match="twice"):
        client.attach([0, 0])


def test_descriptors_that_nobody_asked_for_are_closed(app):
    with connect(app) as client:
        fds = [memfd(b"") for _ in range(3)]
        client.send(header(HELLO), *fds)
        with pytest.raises(ShimError):
            client.receive()
        many = fds * 60  # more than any receive buffer: the kernel drops the rest
        with connect(app) as other:
            other.send(header(HELLO), *many)
            with pytest.raises(ShimError):
                other.receive()
        for fd in fds:
            os.close(fd)


def refused(app: Testpmd, fd: int, match: str, n_insns: int = 2) -> None:
    with connect(app) as client:
        client.send(attach_message([0], forms=[(n_insns, 0)]), fd)
        with pytest.raises(ShimError, match=match):
            client.receive()


def test_a_program_has_to_be_in_a_memfd(app, tmp_path):
    read_end, write_end = os.pipe()  # reading it would block for ever
    refused(app, read_end, "not in a memfd")
    os.close(read_end)
    os.close(write_end)
    with (tmp_path / "program").open("wb+") as file:
        file.write(ACCEPT)
        file.flush()
        refused(app, file.fileno(), "not in a memfd")


def test_a_memfd_that_is_too_short(app):
    fd = memfd(ACCEPT[:-1])
    refused(app, fd, "shorter than the program")
    os.ftruncate(fd, 0)
    refused(app, fd, "shorter than the program", n_insns=65536)
    os.close(fd)


def test_the_verifier_has_the_last_word(app):
    for program in (bytes(8), ACCEPT[:8], struct.pack("<BBhi", 0x05, 0, -1, 0)):
        with connect(app) as client, pytest.raises(ShimError) as error:
            client.attach([0], program)
        assert error.value.code == errno.EINVAL
        assert error.value.text


def test_refused_forms_are_left_out(app):
    """And the others keep their numbers."""
    loop = struct.pack("<BBhi", 0x05, 0, -1, 0)
    with connect(app) as client:
        client.attach([0], loop, ACCEPT, bytes(8), REJECT, flags=WHOLE)
        for queue in client.stats():
            assert [number for number, _, _ in queue.forms] == [1, 3]


def test_when_all_forms_are_refused_the_first_one_tells_why(app):
    with connect(app) as client:
        with pytest.raises(ShimError) as alone:
            client.attach([0], ACCEPT[:8])
        with pytest.raises(ShimError) as first:
            client.attach([0], ACCEPT[:8], bytes(8), flags=WHOLE)
        assert first.value.text == alone.value.text
        assert client.stats() == []


def test_statistics_of_queues(app):
    with connect(app) as client:
        rings = client.attach([0], keep_if_byte(0, 1), REJECT, rodata=b"odd", flags=WHOLE)
        wait_until(lambda: all(cost for q in client.stats() for _, cost, _ in q.forms), "both forms tried")
        for queue, ring in zip(client.stats(), reversed(rings), strict=True):
            assert (queue.port, queue.queue, queue.direction) == (ring.port, ring.queue, ring.direction)
            assert 0 < sum(bursts for _, _, bursts in queue.forms) <= queue.received
            assert queue.best in (0, 1)
    with connect(app) as client:  # what is run packet by packet has no choice
        client.attach([0], ACCEPT)
        assert [queue.forms for queue in client.stats()] == [[], []]


def test_rings_beyond_the_limit():
    many = Testpmd(["net_null0"], app_args=("--rxq=8", "--txq=8"), megabytes=128, mbufs=4096)
    with many, connect(many) as client:
        with pytest.raises(ShimError, match="cannot make the rings") as error:
            client.attach([0], ring_size=256 << 20)
        assert error.value.code == errno.ENOSPC
        assert len(client.attach([0], ring_size=1 << 20)) == 16


def test_too_many_sessions(app):
    clients = [connect(app) for _ in range(MAX_SESSIONS)]
    with connect(app, greet=False) as late, pytest.raises((SessionEndedError, BrokenPipeError)):
        late.request(header(HELLO))
    for client in clients:
        assert client.ports()
        client.close()


def test_a_client_that_does_not_read_is_put_out(app):
    """Its requests pile up answers; the others are served meanwhile."""

    def ask_on_and_on() -> None:
        for _ in range(1_000_000):
            try:
                deaf.send(header(PORTS))
            except BlockingIOError:
                other.ports()

    with connect(app) as deaf, connect(app) as other:
        deaf.socket.setblocking(False)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            ask_on_and_on()


def test_ring_headers_are_not_believed(app):
    """A client may write what it likes into its ring: the application goes on."""
    with connect(app) as client:
        rings = client.attach([0], ring_size=65536)
        for garbage in (b"\xff", b"\x7f", b"\x00", b"\x80", b"\x01"):
            for ring in rings:
                ring.map[:4096] = garbage * 4096
            app.wait_forwarded(10000)
            for ring in rings:
                with pytest.raises(OSError, match="not permitted"):
                    ring.map.resize(4096)
                struct.pack_into("=Q", ring.map, ring.TAIL, 1 << 63)
            app.wait_forwarded(10000)


def test_requests_of_random_bytes(app):
    """Real traffic for the socket; the parser alone is fuzzed in C."""
    rng = random.Random(1)
    whole = attach_message([0])
    for _ in range(300):
        message = bytearray(rng.choice((whole, header(HELLO), header(PORTS))))
        for _ in range(rng.randrange(1, 4)):
            message[rng.randrange(len(message))] = rng.randrange(256)
        with connect(app) as client:
            client.send(bytes(message), *([fd := memfd(ACCEPT)] if len(message) > HEADER.size else []))
            if len(message) > HEADER.size:
                os.close(fd)
            with contextlib.suppress(ShimError, SessionEndedError):
                client.receive()


def as_nobody(action: Callable[[], object]) -> int:
    """Run in a child with another user's rights; its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            action()
            os._exit(0)
        except (SessionEndedError, BrokenPipeError):
            os._exit(10)
        except PermissionError:
            os._exit(11)
        except BaseException:  # noqa: BLE001
            os._exit(12)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_other_users_are_turned_away(app, monkeypatch):
    path = app.sockets()[0]
    assert path.stat().st_mode & 0o777 == 0o600
    assert as_nobody(lambda: Client(path)) == 11
    # Even where the file system would let them in.
    modes = [p.stat().st_mode & 0o7777 for p in (app.runtime_dir, path)]
    app.runtime_dir.chmod(0o777)
    path.chmod(0o777)
    monkeypatch.chdir(app.runtime_dir)  # /var/run/dpdk is closed to others too
    try:
        assert as_nobody(lambda: Client(path.name)) == 10
    finally:
        app.runtime_dir.chmod(modes[0])
        path.chmod(modes[1])


def test_killed_clients_leave_nothing(app):
    program = f"""
import signal, os, sys
sys.path[:0] = {sys.path!r}
from support.shim_client import Client
client = Client({str(app.sockets()[0])!r})
client.attach([0], ring_size=65536)
print("attached", flush=True)
signal.pause()
"""
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            assert child.stdout.readline() == "attached\n"
            child.kill()
    app.wait_forwarded(10000)


def test_the_socket_goes_with_the_application():
    with Testpmd(["net_null0"]) as app, connect(app) as client:
        (path,) = app.sockets()
        app._write("quit")
        wait_until(lambda: not path.exists(), "the socket removed")
        with pytest.raises(SessionEndedError):
            client.receive()


def test_sockets_of_the_dead_are_removed(app):
    """And those of the living stay."""
    stale = app.runtime_dir / "dpcap.1.sock"
    alive = app.runtime_dir / "dpcap.2.sock"
    other = app.runtime_dir / "dpcap.x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.bind(str(stale))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(alive))
        listening.listen()
        other.touch()
        try:
            # A second application in the same runtime directory.
            with Testpmd(["net_null0"], eal_args=("--no-shconf", "--no-huge", f"--file-prefix={app.prefix}")):
                wait_until(lambda: not stale.exists(), "the dead one's socket removed")
            assert alive.exists()
            assert other.exists()
        finally:
            for path in (alive, other):
                path.unlink()
