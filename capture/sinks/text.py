# SPDX-License-Identifier: BSD-3-Clause
"""Packets as text: tcpdump prints them, and each gets its port and direction.

          pcapng blocks                  lines                       lines
  drain ────────────────► tcpdump -r - ────────────► relay thread ────────────► standard output
            │                                            ▲
            └── time, port and direction of each packet ─┘

tcpdump prints times as seconds and nanoseconds, whatever the user asked for. So the first line of a packet is
known by the exact time of the packet that is due, and this time is then replaced by one in the user's form.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture.errors import ToolError
from dpcap.capture.ring import BYTES
from dpcap.capture.sinks.stamps import NS, Stamper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dpcap.capture.ring import Drain, Limits, Result

_EPB = 6
_OPT_EPB_FLAGS = 2
_DIRECTIONS = ("?", "In", "Out", "?")  # epb_flags, bits 0 and 1
# Where Debian had tcpdump before 12, and where it is not on a user's PATH.
_MORE_FOLDERS = ("/usr/sbin", "/sbin")
# What tcpdump says although nothing is wrong.
_CHATTER = (b"reading from file ", b"dropped privs to ")
_BUFFER = 256 << 10  # bytes taken from the rings at once
# How tcpdump begins the line of a packet that it does not look into: an empty one.
_NO_STAMP = b"[Invalid header: "


class Packet(NamedTuple):
    """What dpcap adds to the printed line."""

    ns: int  # since 1970
    interface_id: int
    direction: str


def packets(blocks: bytes | memoryview) -> Iterator[Packet]:
    """Yield time, interface and direction of each Enhanced Packet Block (in this machine's byte order)."""
    offset = 0
    while offset < len(blocks):
        kind, size = struct.unpack_from("=II", blocks, offset)
        if kind == _EPB:
            interface_id, high, low, caplen = struct.unpack_from("=IIII", blocks, offset + 8)
            options = offset + 28 + (caplen + 3 & ~3)
            flags = _epb_flags(blocks, options, offset + size - 4)
            yield Packet(high << 32 | low, interface_id, _DIRECTIONS[flags & 3])
        offset += size


def _epb_flags(blocks: bytes | memoryview, offset: int, end: int) -> int:
    while offset + 4 <= end:
        code, length = struct.unpack_from("=HH", blocks, offset)
        if code == _OPT_EPB_FLAGS:
            return int(struct.unpack_from("=I", blocks, offset + 4)[0])
        if code == 0:
            break
        offset += 4 + (length + 3 & ~3)
    return 0


def find_tcpdump() -> str:
    """Return the path of tcpdump. Raises ToolError when it is not installed."""
    for folder in (*os.environ.get("PATH", os.defpath).split(os.pathsep), *_MORE_FOLDERS):
        path = os.path.join(folder, "tcpdump")
        if os.access(path, os.X_OK):
            return path
    raise ToolError(
        "tcpdump, which prints the packets, is not installed: install it, or write a file with -w"
    )


class TextSink:
    """Prints packets on a descriptor. Blocks are fed in order; lines appear at once."""

    def __init__(
        self,
        ports: Sequence[str],
        *,
        flags: Sequence[str] = (),
        stamper: Stamper | None = None,
        number: bool = False,
        out: int = 1,
    ) -> None:
        """Prepare to print: ports are the names of the interfaces 0, 1, ...; flags are handed to tcpdump.

        Of an interface without a name neither name nor direction is shown. More names may be added later.
        """
        self._ports = ports
        self._argv = [find_tcpdump(), "-l", "-tt", "--nano", *flags, "-r", "-"]
        self._stamper = stamper or Stamper()
        self._number = number
        self._out = out
        self._buffer = bytearray(_BUFFER)
        self._due: deque[Packet] = deque()
        self._printed = 0
        self._errors = b""
        self._pid = 0
        self._stdin = -1
        self._thread: threading.Thread | None = None
        self.reader_gone = False  # nobody reads the output any more

    def start(self, header: bytes, trailer: Callable[[], bytes]) -> None:
        """Start tcpdump; header is a section header block and the interfaces' blocks."""
        del trailer  # statistics are nothing to print
        stdin, self._stdin = os.pipe()
        stdout, child_stdout = os.pipe()
        stderr, child_stderr = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate((stdin, child_stdout, child_stderr))]
        try:
            # A process group of its own: Ctrl-C must not end it before it printed what was captured.
            self._pid = os.posix_spawn(
                self._argv[0], self._argv, os.environ, file_actions=actions, setpgroup=0
            )
        except OSError as error:
            raise ToolError(f"{self._argv[0]} does not start: {error.strerror}") from error
        finally:
            for fd in (stdin, child_stdout, child_stderr):
                os.close(fd)
        self._thread = threading.Thread(
            target=self._relay, args=(stdout, stderr), name="dpcap-text", daemon=True
        )
        self._thread.start()
        self.write(header)

    def write(self, blocks: bytes | memoryview) -> None:
        """Print whole blocks. Raises ToolError when tcpdump failed, BrokenPipeError when nobody reads."""
        self._due.extend(packets(blocks))
        view = memoryview(blocks)
        try:
            while view:
                view = view[os.write(self._stdin, view) :]
        except BrokenPipeError:
            self._reap()
            raise

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Print what the rings hold. Raises as write() does."""
        result, blocks = self.take(drain, limits, flush=flush)
        if blocks:
            self.write(blocks)
        if self.reader_gone:
            raise BrokenPipeError
        return result

    def take(self, drain: Drain, limits: Limits, *, flush: bool = False) -> tuple[Result, memoryview]:
        """Take blocks out of the rings without printing them; they are valid until the next call."""
        result = drain.read(self._buffer, limits, flush=flush)
        if not result.bytes and result.stop == BYTES:  # a packet larger than the buffer
            self._buffer = bytearray(2 * len(self._buffer))
        return result, memoryview(self._buffer)[: result.bytes]

    def insert(self, blocks: bytes) -> None:
        """Leave out blocks that are no packets."""

    @property
    def done(self) -> bool:
        """Whether it wants no more packets."""
        return self.reader_gone

    def fileno(self) -> int:
        """Return the descriptor that is printed to."""
        return self._out

    def finish(self) -> None:
        """Print what is left, and end tcpdump. Raises as write() does."""
        self._reap()

    def discard(self) -> None:
        """End without having started."""

    def _reap(self) -> None:
        """Wait for tcpdump's end and take its errors."""
        if not self._pid:
            return
        os.close(self._stdin)
        if self._thread is not None:
            self._thread.join()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        complaints = [line for line in self._errors.splitlines() if line and not line.startswith(_CHATTER)]
        if self.reader_gone:
            raise BrokenPipeError
        if status != 0:
            why = complaints[-1].decode(errors="replace") if complaints else f"ended with status {status}"
            raise ToolError(f"tcpdump cannot print: {why.removeprefix('tcpdump: ')}")

    def _relay(self, stdout: int, stderr: int) -> None:
        """Hand tcpdump's lines on, with what dpcap adds; runs in a thread of its own."""
        poller = select.poll()
        poller.register(stdout, select.POLLIN)
        poller.register(stderr, select.POLLIN)
        open_fds, rest = {stdout, stderr}, b""
        while open_fds and not self.reader_gone:
            for fd, _ in poller.poll():
                data = os.read(fd, 1 << 16)
                if not data:
                    poller.unregister(fd)
                    open_fds.remove(fd)
                elif fd == stderr:
                    self._errors += data
                if fd == stdout:
                    rest = self._lines(rest + data, last=not data)
        os.close(stdout)  # when nobody reads, this ends tcpdump
        os.close(stderr)

    def _lines(self, data: bytes, *, last: bool) -> bytes:
        """Print the whole lines of data, return what is behind them."""
        end = len(data) if last else data.rfind(b"\n") + 1
        text = b"".join(self._line(line) for line in data[:end].splitlines(keepends=True))
        view = memoryview(text)
        try:
            while view:
                view = view[os.write(self._out, view) :]
        except OSError:
            self.reader_gone = True
        return data[end:]

    def _line(self, line: bytes) -> bytes:
        if not self._due:
            return line
        due = self._due[0]
        stamp = b"%d.%09d " % divmod(due.ns, NS)
        if line.startswith(_NO_STAMP):
            stamp = b""
        elif not line.startswith(stamp):
            return line  # a further line of the packet before
        self._due.popleft()
        self._printed += 1
        number = f"{self._printed:5d}  " if self._number else ""
        # As tcpdump -i any prints interface and direction.
        port = self._ports[due.interface_id]
        who = f"{port:<5} {due.direction:<3} " if port else ""
        return f"{number}{self._stamper(due.ns)}{who}".encode() + line[len(stamp) :]
