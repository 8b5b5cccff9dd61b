# SPDX-License-Identifier: BSD-3-Clause
"""Clients that mean harm: at worst they lose their own session. The application forwards, others capture."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import random
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from support.shim_client import (
    ACCEPT,
    HELLO,
    PORTS,
    Client,
    SessionEndedError,
    ShimError,
    attach_message,
    connect,
    header,
    memfd,
)
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shim_client import Ring

MAX_SESSIONS = 16
RING = 65536
FALLOC_PUNCH_HOLE = 0x02 | 0x01  # with FALLOC_FL_KEEP_SIZE, as it has to be

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def app() -> Iterator[Testpmd]:
    with Testpmd(["net_null0"], megabytes=128) as app:
        app.start()
        yield app
        app.wait_forwarded(1000)


@pytest.fixture
def victim(app: Testpmd) -> Iterator[Ring]:
    """The ring of somebody else's capture, which must get packets before and after."""
    with connect(app) as client:
        (ring, _) = client.attach([0], ring_size=RING)
        wait_until(ring.read, "packets")
        yield ring
        ring.read()
        wait_until(ring.read, "packets again")
        assert client.ports()


def test_connections_that_say_nothing(app, victim):
    """All places are taken; a client that has something to say gets one after a while."""
    path = app.sockets()[0]
    with contextlib.ExitStack() as stack:
        for _ in range(4 * MAX_SESSIONS):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            silent.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # the queue of connections is full
                silent.connect(str(path))

        def is_served() -> bool:
            try:
                with Client(path) as client:
                    return bool(client.attach([0], ring_size=RING))
            except (SessionEndedError, BrokenPipeError, ConnectionResetError, BlockingIOError):
                return False

        wait_until(is_served, "a place for a client that speaks")
        assert victim.read()


def test_captures_keep_their_places(app, victim):
    """However long they are silent, and whoever else wants one."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(app)) for _ in range(MAX_SESSIONS - 1)]
        rings = [client.attach([0], directions=1, ring_size=RING)[0] for client in clients]
        for _ in range(50):
            with connect(app, greet=False) as late, pytest.raises((SessionEndedError, OSError)):  # noqa: PT012
                late.send(header(HELLO))
                late.receive()
        for ring in rings:
            ring.read()
            wait_until(ring.read, "packets for everyone")
            assert not ring.closed
    wait_until(lambda: not victim.closed, "the first capture goes on")


@pytest.mark.usefixtures("victim")
def test_memory_of_all_sessions_is_limited(app):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(app)) for _ in range(4)]
        with pytest.raises(ShimError) as error:  # noqa: PT012
            for client in clients:
                client.attach([0], ring_size=256 << 20)
        assert error.value.code == errno.ENOSPC
        # There is room for others again when those are gone.
    with connect(app) as client:

        def fits() -> bool:
            with contextlib.suppress(ShimError):
                return bool(client.attach([0], ring_size=128 << 20))
            return False

        wait_until(fits, "the memory given back")


@pytest.mark.usefixtures("victim")
def test_a_flood_of_descriptors(app):
    fds = [memfd(ACCEPT) for _ in range(8)]
    try:
        for _ in range(50):
            with connect(app) as client, contextlib.suppress(ShimError, OSError):
                client.socket.setblocking(False)
                for _ in range(100):
                    client.send(header(PORTS), *fds)
    finally:
        for fd in fds:
            os.close(fd)
    held = [os.readlink(f"/proc/{app.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{app.pid}/fd")]  # noqa: PTH115, PTH208
    assert not [target for target in held if "memfd:program" in target]


@pytest.mark.usefixtures("victim")
def test_a_program_that_shrinks_while_it_is_read(app):
    """Reading it may fail; mapping it would have been the application's death by SIGBUS."""
    fd = memfd(ACCEPT)
    done = threading.Event()

    def shrink_and_grow() -> None:
        while not done.is_set():
            os.ftruncate(fd, 0)
            os.pwrite(fd, ACCEPT, 0)

    thread = threading.Thread(target=shrink_and_grow)
    thread.start()
    try:
        answers = set()
        for _ in range(200):
            with connect(app) as client:
                client.send(attach_message([0], ring_size=RING), fd)
                try:
                    client.receive()
                    answers.add("attached")
                except ShimError as error:
                    answers.add(error.text.splitlines()[0])
        assert answers
    finally:
        done.set()
        thread.join()
        os.close(fd)


@pytest.mark.usefixtures("victim")
def test_a_ring_with_holes(app):
    """Its owner may give pages back to the kernel; the hook writes into new ones."""
    with connect(app) as client:
        client.send(attach_message([0], directions=1, ring_size=RING), (fd := memfd(ACCEPT)))
        os.close(fd)
        message, fds, _, _ = socket.recv_fds(client.socket, 65536, 4)
        (ring_fd,) = fds
        try:
            for seal in (fcntl.F_SEAL_WRITE, fcntl.F_SEAL_GROW):
                with pytest.raises(PermissionError):
                    fcntl.fcntl(ring_fd, fcntl.F_ADD_SEALS, seal)
            for size in (0, 4096, 1 << 30):
                with pytest.raises(PermissionError):
                    os.ftruncate(ring_fd, size)
            for _ in range(100):
                size = ctypes.c_long(os.fstat(ring_fd).st_size)
                assert _libc.fallocate(ring_fd, FALLOC_PUNCH_HOLE, ctypes.c_long(0), size) == 0
                app.wait_forwarded(100)
        finally:
            os.close(ring_fd)
        assert message


@pytest.mark.usefixtures("victim")
def test_random_conversations(app):
    """Requests in any order, damaged or whole, with and without descriptors."""
    rng = random.Random(3)
    whole = attach_message([0], ring_size=RING)
    for _ in range(150):
        with (
            connect(app, greet=rng.random() < 0.9) as client,
            contextlib.suppress(ShimError, SessionEndedError, OSError),
        ):
            client.socket.settimeout(0.2)
            for _ in range(rng.randrange(1, 8)):
                message = bytearray(
                    rng.choice((whole, header(HELLO), header(PORTS), header(rng.randrange(20))))
                )
                if rng.random() < 0.7:
                    at = rng.randrange(len(message) // 4) * 4
                    struct.pack_into("=I", message, at, rng.choice((0, 1, 0xFFFFFFFF, rng.getrandbits(32))))
                fds = [memfd(ACCEPT) for _ in range(rng.randrange(3))]
                client.send(bytes(message[: rng.choice((len(message), rng.randrange(len(message))))]), *fds)
                for fd in fds:
                    os.close(fd)
            while True:
                client.receive()
