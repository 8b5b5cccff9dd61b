# SPDX-License-Identifier: BSD-3-Clause
"""A capture in several files: tcpdump's -C, -G, -W and -z, and dumpcap's -b and -a.

Each file is complete in itself: header, packets, statistics. Where one ends and the next begins no packet is
lost: what does not belong to a file any more stays in the rings until the next one is open.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture.compression import kind_of
from dpcap.capture.errors import UsageError
from dpcap.capture.ring import AGAIN, BYTES, IDLE, TIME, Result
from dpcap.capture.sinks.compressed import open_file
from dpcap.capture.sinks.file import STDOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.capture.ring import Drain, Limits

_SECOND = 1_000_000_000
# After the end of a file's time, packets of that time may still be on their way through the rings.
_SLACK_NS = 5_000_000


class Rotation(NamedTuple):
    """When a file ends; 0: never for this reason."""

    max_bytes: int = 0
    seconds: int = 0
    aligned: bool = False  # files begin at multiples of seconds, not at the start of the capture
    max_packets: int = 0
    files: int = 0  # that may exist: the oldest is overwritten (tcpdump's names) or removed
    numbered: bool = False  # dumpcap's names, NAME_00001_20261121093000.EXT; else tcpdump's
    stop_files: int = 0  # end the capture after so many files
    command: str = ""  # run on each file that is complete


class RotatingSink:
    """Writes one file after the other. done says that there will be no further one."""

    def __init__(self, path: str, rotation: Rotation, *, group_read: bool = False) -> None:
        """Open the first file. Raises OutputError or UsageError. group_read as for FileSink."""
        if path == STDOUT:
            raise UsageError("standard output is one file: rotation needs a name (-w FILE)")
        kind = kind_of(path)
        # Numbers go before it: what a file is called at the end says how it is compressed.
        self._suffix = kind.suffix if kind else ""
        self._path = path.removesuffix(self._suffix)
        self._group_read = group_read
        self._rotation = rotation
        self._header = b""
        self._trailer: Callable[[], bytes] = bytes
        self._started = 0  # files
        self._cycle = 0  # tcpdump's number behind the name
        self._kept: list[str] = []  # dumpcap's ring of files, oldest first
        self._children: list[int] = []  # process ids of commands
        self._is_full = False
        self._packets = 0  # in this file
        self._begin_ns = self._aligned(time.time_ns())
        self._path_now = self._name()
        self._file = open_file(self._path_now, group_read=self._group_read)
        self.done = False

    def fileno(self) -> int:
        """Return the descriptor of the file written to."""
        return self._file.fileno()

    @property
    def size(self) -> int:
        """Bytes in the file written to."""
        return self._file.size

    def start(self, header: bytes, trailer: Callable[[], bytes]) -> None:
        """Begin the first file; all of them begin with header and end with what trailer makes."""
        self._header = header
        self._trailer = trailer
        self._file.start(header, trailer)
        self._count_file()

    def drain(self, drain: Drain, limits: Limits, *, flush: bool = False) -> Result:
        """Write what the rings hold and belongs to this file; begin the next one when it is full."""
        if self._is_full and drain.pending():
            self._rotate()
            if self.done:
                return Result(0, 0, IDLE, 0, 0, 0)
        result = self._file.drain(drain, self._limits(limits), flush=flush)
        self._packets += result.packets
        if result.partial:
            return result
        self._is_full = self._has_enough(result)
        if self._is_over(result, limits):
            self._rotate()
            return result._replace(stop=AGAIN)
        return result

    def insert(self, blocks: bytes) -> None:
        """Put blocks that are no packets into the file written to."""
        self._file.insert(blocks)

    def finish(self) -> None:
        """End the last file."""
        self._file.finish()
        if self.done:  # as tcpdump does: a file that a signal ends is left as it is
            self._run_command()

    def discard(self) -> None:
        """End without having started."""
        self._file.discard()

    def _aligned(self, now_ns: int) -> int:
        step = self._rotation.seconds * _SECOND
        return now_ns // step * step if self._rotation.aligned and step else now_ns

    def _end_ns(self) -> int:
        """Return the time from which packets belong to the next file, 0: no such time."""
        return self._begin_ns + self._rotation.seconds * _SECOND if self._rotation.seconds else 0

    def _limits(self, limits: Limits) -> Limits:
        """Return what may still go into this file."""
        rotation = self._rotation
        packets = rotation.max_packets - self._packets if rotation.max_packets else 0
        return limits._replace(
            max_packets=min(filter(None, (limits.max_packets, packets)), default=0),
            max_bytes=max(1, rotation.max_bytes - self._file.size) if rotation.max_bytes else 0,
            until_ns=min(filter(None, (limits.until_ns, self._end_ns())), default=0),
        )

    def _has_enough(self, result: Result) -> bool:
        """Tell whether the next packet belongs to another file for the size of this one."""
        rotation = self._rotation
        return (
            result.stop == BYTES
            or bool(rotation.max_bytes and self._file.size >= rotation.max_bytes)
            or bool(rotation.max_packets and self._packets >= rotation.max_packets)
        )

    def _is_over(self, result: Result, limits: Limits) -> bool:
        """Tell whether the time of this file is over: a younger packet waits, or it is later."""
        end_ns = self._end_ns()
        if not end_ns or (limits.until_ns and limits.until_ns <= end_ns):
            return False
        return result.stop == TIME or (result.stop == IDLE and time.time_ns() > end_ns + _SLACK_NS)

    def _rotate(self) -> None:
        rotation = self._rotation
        if rotation.stop_files and self._started >= rotation.stop_files:
            self.done = True
            return
        self._file.finish()
        self._run_command()
        if rotation.seconds and time.time_ns() >= self._end_ns():
            # Steady intervals; those in which the machine slept are left out.
            step = rotation.seconds * _SECOND
            self._begin_ns += (time.time_ns() - self._begin_ns) // step * step
            self._cycle = 0
        else:
            self._cycle += 1
            if rotation.files and self._cycle >= rotation.files:
                self._cycle = 0
        self._is_full = False
        self._packets = 0
        self._path_now = self._name()
        self._file = open_file(self._path_now, group_read=self._group_read)
        self._file.start(self._header, self._trailer)
        self._count_file()

    def _count_file(self) -> None:
        self._started += 1
        if not self._rotation.numbered:
            return
        self._kept.append(self._path_now)
        if self._rotation.files and len(self._kept) > self._rotation.files:
            oldest = self._kept.pop(0)
            if os.path.exists(oldest):
                os.unlink(oldest)

    def _name(self) -> str:
        return self._stem() + self._suffix

    def _stem(self) -> str:
        rotation = self._rotation
        local = time.localtime(self._begin_ns // _SECOND)
        if rotation.numbered:
            stem, extension = os.path.splitext(self._path)
            now = time.strftime("%Y%m%d%H%M%S")
            return f"{stem}_{self._started + 1:05}_{now}{extension}"
        path = time.strftime(self._path, local) if rotation.seconds else self._path
        if not rotation.max_bytes:
            return path
        # Leading zeros, so that a ring of files sorts in the order of its numbers.
        digits = len(str(rotation.files - 1)) if rotation.files > 1 else 0
        return f"{path}{self._cycle:0{digits}}" if digits or self._cycle else path

    def _run_command(self) -> None:
        """Start the command on the file that is complete, in the background, at the lowest priority."""
        if not self._rotation.command:
            return
        self._children = [pid for pid in self._children if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        argv = ["nice", "-n", "19", self._rotation.command, self._path_now]
        # A process group of its own: Ctrl-C is for us.
        self._children.append(os.posix_spawnp(argv[0], argv, os.environ, setpgroup=0))
