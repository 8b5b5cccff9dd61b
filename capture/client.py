# SPDX-License-Identifier: BSD-3-Clause
"""The control connection to one application's shim. The connection is the capture: closing it ends it."""

from __future__ import annotations

import array
import fcntl
import os
import socket
from typing import TYPE_CHECKING, Self

from dpcap.capture import protocol
from dpcap.capture.errors import AccessError, DpcapError, NoShimError, RefusedError
from dpcap.capture.ring import SLACK_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from dpcap.capture.protocol import AttachRequest, Info, Message, Port, Queue, Ring

# The shim answers within a millisecond unless the machine is overloaded.
REPLY_TIMEOUT = 10.0  # seconds
_MAX_FDS = 4  # a message carries at most one; more are closed at once


def seal_forms(forms: Iterable[tuple[bytes, bytes]]) -> int:
    """Return a memfd with the forms of a filter: instructions and tables. Nobody can change it any more."""
    fd = os.memfd_create("dpcap-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            for code, rodata in forms:
                file.write(bytes(-file.tell() % protocol.FORM_ALIGNMENT))
                file.write(code)
                file.write(rodata)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd


class Connection:
    """A connected control socket. ``who`` names the application in messages."""

    #: Lines that a user should read: none.
    notes: Sequence[str] = ()
    #: How long a packet may take from the time it is stamped to its ring.
    slack_ns = SLACK_NS

    def __init__(self, sock: socket.socket, who: str) -> None:
        self._sock = sock
        self._sock.settimeout(REPLY_TIMEOUT)
        self._seq = 0
        self._early: list[tuple[Ring, int]] = []  # rings announced while a reply was awaited
        self.who = who

    @classmethod
    def open(cls, path: str, who: str) -> Connection:
        """Connect to the shim's socket at path. Raises AccessError or NoShimError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            # A path may be longer than sun_path when it leads through /proc/PID/root.
            folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
            try:
                sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
            finally:
                os.close(folder)
        except PermissionError as error:
            sock.close()
            raise AccessError(
                f"{who}: not permitted: run dpcap as root or as the application's user"
            ) from error
        except OSError as error:
            sock.close()
            raise NoShimError(f"{who}: its shim does not answer ({path}: {error.strerror})") from error
        return cls(sock, who)

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Disconnect: the shim takes out the hooks of this capture."""
        for _, fd in self._early:
            os.close(fd)
        self._early.clear()
        self._sock.close()

    def fileno(self) -> int:
        """Return the descriptor to poll: readable when a ring is announced or the application is gone."""
        return self._sock.fileno()

    def peer_pid(self) -> int:
        """Return the process id of the application in our pid namespace, 0 when it is not visible."""
        credentials = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return array.array("i", credentials)[0]

    def hello(self) -> Info:
        """Ask who the application is."""
        self._send(protocol.hello(self._next_seq()))
        reply, _ = self._reply()
        if not isinstance(reply, protocol.Info):
            raise self._nonsense(reply)
        return reply

    def ports(self) -> list[Port]:
        """List the application's ports."""
        self._send(protocol.ports(self._next_seq()))
        found: list[Port] = []
        while True:
            reply, _ = self._reply()
            if isinstance(reply, protocol.End):
                return found
            if not isinstance(reply, protocol.Port):
                raise self._nonsense(reply)
            found.append(reply)

    def park(self) -> int:
        """Take every hook out of the application; returns the number of captures that it ended."""
        return self._done(protocol.park(self._next_seq()))

    def wake(self) -> None:
        """Let a parked shim capture again."""
        self._done(protocol.wake(self._next_seq()))

    def _done(self, request: bytes) -> int:
        self._send(request)
        return self._end()

    def _end(self) -> int:
        reply, fd = self._reply()
        if not isinstance(reply, protocol.End):
            raise self._nonsense(reply, fd)
        return reply.n

    def stats(self) -> list[Queue]:
        """Ask what each queue's hook has done so far."""
        self._send(protocol.stats(self._next_seq()))
        found: list[Queue] = []
        while True:
            reply, _ = self._reply()
            if isinstance(reply, protocol.End):
                return found
            if not isinstance(reply, protocol.Queue):
                raise self._nonsense(reply)
            found.append(reply)

    def attach(self, request: AttachRequest, program: int) -> Iterator[tuple[Ring, int]]:
        """Start the capture; program is a memfd from seal_forms().

        Yields the rings with a memfd each, which the caller closes before the next one: there may be more
        rings than a process may have descriptors. Raises RefusedError with the shim's reason, for example
        the verifier's log.
        """
        self._send(protocol.attach(self._next_seq(), request), program)
        while not isinstance((reply := self._reply())[0], protocol.End):
            yield self._ring(*reply)

    def watch(self, request: AttachRequest, program: int | None) -> int:
        """Start to count; program is as for attach(), None without a filter.

        Returns the memfd of the table of counters, which the caller closes. Raises RefusedError.
        """
        self._send(protocol.attach(self._next_seq(), request), program)
        message, fd = self._reply()
        if not isinstance(message, protocol.Counters) or fd is None:
            raise self._nonsense(message, fd)
        try:
            self._end()
        except BaseException:
            os.close(fd)
            raise
        return fd

    def next_ring(self) -> tuple[Ring, int] | None:
        """Take the ring of a queue that appeared while the capture runs.

        Call when the descriptor is readable. Raises EOFError when the application is gone. Returns None
        when there was nothing to take after all.
        """
        if self._early:
            return self._early.pop(0)
        self._sock.setblocking(False)
        try:
            data, fd = self._receive()
        except BlockingIOError:
            return None
        finally:
            self._sock.settimeout(REPLY_TIMEOUT)
        message = self._parse(data, fd)[1]
        if isinstance(message, protocol.Error):
            raise self._refused(message)
        return self._ring(message, fd)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _send(self, data: bytes, fd: int | None = None) -> None:
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            self._sock.sendmsg([data], ancillary)
        except TimeoutError as error:
            raise self._silent() from error
        except OSError as error:
            raise self._gone() from error

    def _receive(self) -> tuple[bytes, int | None]:
        """Receive one datagram and the descriptor with it. Raises EOFError at the end of the connection."""
        room = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                protocol.MAX_MESSAGE + 1, room, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError as error:
            raise EOFError from error
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        for extra in fds[1:]:
            os.close(extra)
        fd = fds[0] if fds else None
        if not data:
            if fd is not None:
                os.close(fd)
            raise EOFError
        return data, fd

    def _parse(self, data: bytes, fd: int | None) -> tuple[int, Message]:
        try:
            return protocol.parse(data)
        except protocol.ProtocolError as error:
            if fd is not None:
                os.close(fd)
            raise DpcapError(f"{self.who}: {error}: use the dpcap and the shim of one release") from error

    def _reply(self) -> tuple[Message, int | None]:
        """Wait for the next reply to the last request. Raises RefusedError when it is an error."""
        while True:
            try:
                data, fd = self._receive()
            except TimeoutError as error:
                raise self._silent() from error
            except EOFError as error:
                raise self._gone() from error
            except OSError as error:
                raise DpcapError(f"{self.who}: {error.strerror}") from error
            seq, message = self._parse(data, fd)
            if seq != self._seq:  # an event; nothing else comes unasked
                self._early.append(self._ring(message, fd))
                continue
            if isinstance(message, protocol.Error):
                if fd is not None:
                    os.close(fd)
                raise self._refused(message)
            return message, fd

    def _ring(self, message: Message, fd: int | None) -> tuple[Ring, int]:
        if not isinstance(message, protocol.Ring) or fd is None:
            raise self._nonsense(message, fd)
        return message, fd

    def _refused(self, error: protocol.Error) -> DpcapError:
        return RefusedError(f"{self.who} refused: {error.text or os.strerror(error.code)}")

    def _nonsense(self, message: Message, fd: int | None = None) -> DpcapError:
        if fd is not None:
            os.close(fd)
        return DpcapError(f"{self.who}: unexpected answer from its shim ({type(message).__name__})")

    def _silent(self) -> DpcapError:
        return DpcapError(
            f"{self.who}: its shim gave no answer for {REPLY_TIMEOUT:.0f} s: "
            "is the process stopped, or out of descriptors?"
        )

    def _gone(self) -> DpcapError:
        return NoShimError(f"{self.who}: it closed the connection")
