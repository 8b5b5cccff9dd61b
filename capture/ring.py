# SPDX-License-Identifier: BSD-3-Clause
"""The drain from Python: many capture rings in, one stream of pcapng blocks out (shim/ring/drain.h)."""

from __future__ import annotations

import os
from typing import NamedTuple

from dpcap.capture._ring import ffi, lib

IDLE: int = lib.DPCAP_DRAIN_IDLE
PACKETS: int = lib.DPCAP_DRAIN_PACKETS
BYTES: int = lib.DPCAP_DRAIN_BYTES
TIME: int = lib.DPCAP_DRAIN_TIME
AGAIN: int = lib.DPCAP_DRAIN_AGAIN
ERROR: int = lib.DPCAP_DRAIN_ERROR
SLACK_NS: int = lib.DPCAP_DRAIN_SLACK_NS


class Limits(NamedTuple):
    """Where a run stops; 0: no limit. What is beyond stays in the rings for the next run."""

    max_packets: int = 0
    max_bytes: int = 0  # at least one block is written
    until_ns: int = 0  # only blocks older than this


class Result(NamedTuple):
    """What a run did."""

    packets: int  # whole ones
    bytes: int  # of their blocks
    stop: int  # why it ended: IDLE, PACKETS, BYTES, TIME, AGAIN or ERROR
    error: int  # errno of the write that failed
    partial: int  # bytes at the end of the output that are not a whole block yet
    last_ns: int  # time of the newest block written so far, 0: none


class RingStats(NamedTuple):
    """Counters of one ring. Times are nanoseconds since 1970, 0: no packet."""

    interface_id: int
    direction: int  # 1 inbound, 2 outbound
    port: int
    queue: int
    ended: bool  # the writer is gone and everything was read
    corrupt: bool  # the content made no sense and is read no more
    received: int  # packets that the hook saw
    accepted: int  # by the filter
    dropped: int  # accepted, and the ring was full
    packets: int  # written
    announced: int  # drops up to the last packet written
    bytes: int  # of blocks written
    pending: int  # bytes not yet written
    late_packets: int  # written after a younger one
    first_ns: int
    last_ns: int


class Drain:
    """An ordered merge of rings. A context manager: leaving it unmaps them."""

    def __init__(self, *, slack_ns: int = SLACK_NS, patience_ns: int = lib.DPCAP_DRAIN_PATIENCE_NS) -> None:
        drain = lib.dpcap_drain_create(slack_ns, patience_ns)
        if drain == ffi.NULL:
            raise MemoryError
        self._drain = ffi.gc(drain, lib.dpcap_drain_destroy)
        self._limits = ffi.new("struct dpcap_drain_limits *")
        self._result = ffi.new("struct dpcap_drain_result *")

    def close(self) -> None:
        """Unmap all rings."""
        ffi.release(self._drain)

    def add(self, fd: int) -> int:
        """Add the ring in a memfd, which may be closed afterwards, and return its index.

        Raises OSError: EPERM when the memfd is not sealed, EPROTO when it is no ring of this version.
        """
        return _checked(lib.dpcap_drain_add(self._drain, fd))

    def end(self, index: int = -1) -> None:
        """Declare that the writer of a ring, or of all rings, will write no more."""
        _checked(lib.dpcap_drain_end(self._drain, index))

    def write(self, fd: int, limits: Limits, *, flush: bool = False) -> Result:
        """Write what may go out to a descriptor; flush waits for no ring. A failed write is in the result."""
        _checked(lib.dpcap_drain_write(self._drain, fd, _flags(flush), self._set(limits), self._result))
        return self._read_result()

    def read(self, buffer: bytearray, limits: Limits, *, flush: bool = False) -> Result:
        """Put whole blocks into a buffer; the result's bytes are valid in it."""
        memory = ffi.from_buffer(buffer, require_writable=True)
        limits_ = self._set(limits)
        _checked(lib.dpcap_drain_read(self._drain, memory, len(buffer), _flags(flush), limits_, self._result))
        return self._read_result()

    @staticmethod
    def reserve(fd: int, offset: int, size: int) -> None:
        """Allocate disk space at offset of a file without changing its size; os.ftruncate() takes it back.

        Writing into it is cheaper, and a full disk is known before packets are taken from the rings. Raises
        OSError: EOPNOTSUPP where the file system cannot, ENOSPC when the disk is full.
        """
        _checked(lib.dpcap_drain_reserve(fd, offset, size))

    def cut(self) -> None:
        """Say that the partial block was taken off the output; it will be written again."""
        lib.dpcap_drain_cut(self._drain)

    def pending(self) -> int:
        """Return the bytes that wait in the rings."""
        return int(lib.dpcap_drain_pending(self._drain))

    def wait(self, nap_ns: int, naps: int) -> bool:
        """Sleep one nap, and up to so many, until something waits in the rings; tell whether it does.

        Returns early for a signal.
        """
        return bool(lib.dpcap_drain_wait(self._drain, nap_ns, naps) == 1)

    def done(self) -> bool:
        """Tell whether every writer is gone and everything was written."""
        return bool(lib.dpcap_drain_done(self._drain))

    def stats(self) -> list[RingStats]:
        """Return the counters of every ring that was ever added, by index."""
        c = ffi.new("struct dpcap_drain_ring_stats *")
        rings = []
        for index in range(lib.dpcap_drain_count(self._drain)):
            _checked(lib.dpcap_drain_stats(self._drain, index, c))
            fields = {name: getattr(c, name) for name in RingStats._fields}
            rings.append(RingStats(**fields | {"ended": bool(c.ended), "corrupt": bool(c.corrupt)}))
        return rings

    def _set(self, limits: Limits) -> object:
        self._limits.max_packets, self._limits.max_bytes, self._limits.until_ns = limits
        return self._limits

    def _read_result(self) -> Result:
        r = self._result
        return Result(r.packets, r.bytes, r.stop, r.error, r.partial, r.last_ns)


def _flags(flush: bool) -> int:
    return lib.DPCAP_DRAIN_FLUSH if flush else 0


def _checked(status: int) -> int:
    """Return a status that is not negative; raise OSError for -errno."""
    if status < 0:
        raise OSError(-status, os.strerror(-status))
    return status
