# SPDX-License-Identifier: BSD-3-Clause
"""Rings that another process writes (ring_producer.c), and a session that reads them into a file."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Self

from dpcap.capture import pcapng, protocol
from dpcap.capture.client import Connection, seal_forms
from dpcap.capture.errors import DpcapError
from dpcap.capture.session import Session, Stop
from dpcap.capture.sinks.file import FileSink
from support.captures import read_pcapng

if TYPE_CHECKING:
    from pathlib import Path

HEADER = pcapng.section() + pcapng.Interface("port0").block(262144)
MB = 1 << 20


def numbers(*paths: Path) -> list[int]:
    """Return the numbers that the producer put into the packets of some files."""
    return [struct.unpack_from("=I", p.data)[0] for path in paths for p in read_pcapng(path)]


class Producer:
    """A writer of rings in another process."""

    def __init__(self, program: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [program, str(theirs.fileno())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno()], text=True,
        )  # fmt: skip
        theirs.close()
        self.pid = self._process.pid
        self.connection = Connection(ours, "producer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self.connection.close()

    def tell(self, command: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def attach(self, session: Session, *rings: tuple[int, int, int]) -> None:
        """Announce rings, each as (queue, direction, bytes), in answer to the session's request."""
        for ring in rings or [(0, 1, MB)]:
            self.tell("ring {} {} {}".format(*ring))
        self.tell("end")
        attach(session, self.connection)


def attach(session: Session, connection: Connection) -> None:
    program = seal_forms([(bytes(8), b"")])
    try:
        session.attach(connection, protocol.AttachRequest([(0, 0)], 262144, 3, 0, [(1, 0)]), program)
    finally:
        os.close(program)


class Running:
    """A session that runs in a thread into a file."""

    def __init__(self, path: Path, *, sink: Any = None, **limits: Any) -> None:
        self.path = path
        self.sink = sink or FileSink(str(path))
        self.stop = Stop()
        self.session = Session(self.sink, self.stop, **limits)
        self.error: DpcapError | None = None
        self._thread = threading.Thread(target=self._run)

    def trailer(self) -> bytes:
        counters = self.session.statistics(1, 2)
        return b"".join(s.block(number) for number, s in counters.items())

    def start(self) -> Self:
        self.sink.start(HEADER, self.trailer)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.session.run()
        except DpcapError as error:
            self.error = error

    def wait(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.sink.finish()

    def end(self) -> None:
        self.stop.asked = True
        self.wait()
