# SPDX-License-Identifier: BSD-3-Clause
"""Rings that another process writes (ring_producer.c), and a session that reads them into a file."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading

from dpcap.capture import pcapng, protocol
from dpcap.capture.client import Connection, seal_program
from dpcap.capture.errors import DpcapError
from dpcap.capture.session import Session, Stop
from dpcap.capture.sinks.file import FileSink
from support.captures import read_pcapng

HEADER = pcapng.section() + pcapng.Interface("port0").block(262144)
MB = 1 << 20


def numbers(*paths):
    """Return the numbers that the producer put into the packets of some files."""
    return [struct.unpack_from("=I", p.data)[0] for path in paths for p in read_pcapng(path)]


class Producer:
    """A writer of rings in another process."""

    def __init__(self, program):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [program, str(theirs.fileno())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno()], text=True,
        )  # fmt: skip
        theirs.close()
        self.pid = self._process.pid
        self.connection = Connection(ours, "producer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        self.connection.close()

    def tell(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def kill(self):
        self._process.kill()
        self._process.wait()

    def attach(self, session, *rings):
        """Announce rings, each as (queue, direction, bytes), in answer to the session's request."""
        for ring in rings or [(0, 1, MB)]:
            self.tell("ring {} {} {}".format(*ring))
        self.tell("end")
        attach(session, self.connection)


def attach(session, connection):
    program = seal_program(bytes(8), b"")
    try:
        session.attach(connection, protocol.AttachRequest([(0, 0)], 262144, 3, 0, 1, 0), program)
    finally:
        os.close(program)


class Running:
    """A session that runs in a thread into a file."""

    def __init__(self, path, *, sink=None, **limits):
        self.path = path
        self.sink = sink or FileSink(str(path))
        self.stop = Stop()
        self.session = Session(self.sink, self.stop, **limits)
        self.error = None
        self._thread = threading.Thread(target=self._run)

    def trailer(self):
        counters = self.session.statistics(1, 2)
        return b"".join(s.block(number) for number, s in counters.items())

    def start(self):
        self.sink.start(HEADER, self.trailer)
        self._thread.start()
        return self

    def _run(self):
        try:
            self.session.run()
        except DpcapError as error:
            self.error = error

    def wait(self):
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.sink.finish()

    def end(self):
        self.stop.asked = True
        self.wait()
