# SPDX-License-Identifier: BSD-3-Clause
"""The kernel side, loaded and attached to functions of one process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dpcap.capture._uprobe import lib

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import features, libbpf

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPARE_THREADS = 16  # that the application may start while it is looked at
MAX_THREADS = 128  # UPROBE_MAX_THREADS
DIRECTIONS = {protocol.DIRECTION_IN: "rx", protocol.DIRECTION_OUT: "tx"}
# Returns first: whoever is seen to enter is seen to return.
_PROGRAMS = (("return", True), ("enter", False))


class Attachment:
    """A loaded object and its links. They go with this process, whatever ends it."""

    def __init__(self, pid: int, who: str) -> None:
        self._pid = pid
        self._who = who
        self._object: libbpf.Object | None = None
        self._has_multi = False
        self._links: list[int] = []
        #: Threads that can be followed: those there were when it was loaded, and some more.
        self.room = MAX_THREADS

    @property
    def object(self) -> libbpf.Object:
        """What was loaded."""
        assert self._object is not None  # noqa: S101 - loaded before
        return self._object

    def load(self, image: bytes) -> None:
        """Load an object file. Raises LoadError."""
        threads = len(os.listdir(f"/proc/{self._pid}/task")) + _SPARE_THREADS
        self.room = min(threads, MAX_THREADS)
        room = {"scratches": self.room}
        self._object = libbpf.Object(image, max_entries=room, attach_type=libbpf.TRACE_UPROBE_MULTI)
        self._has_multi = features.has_multi_links(self._object.program_fd("rx_enter"))
        if not self._has_multi:
            self._object.close()
            self._object = libbpf.Object(image, max_entries=room, attach_type=0)

    def attach(self, direction: int, file: str, offsets: Sequence[int]) -> None:
        """Attach the programs of a direction to places in a file. Raises DpcapError."""
        for name, on_return in _PROGRAMS:
            fd = self.object.program_fd(f"{DIRECTIONS[direction]}_{name}")
            path = file.encode()
            if self._has_multi:
                many = (fd, path, list(offsets), len(offsets), self._pid, on_return)
                links = [lib.dpcap_uprobe_attach_multi(*many)]
            else:
                links = [lib.dpcap_uprobe_attach_perf(fd, path, at, self._pid, on_return) for at in offsets]
            self._links += [link for link in links if link >= 0]
            checked(min(links), f"{self._who}: cannot attach to its driver")

    def detach(self) -> None:
        """Take the probes out."""
        for fd in reversed(self._links):
            os.close(fd)
        self._links.clear()

    def close(self) -> None:
        """Detach and unload."""
        self.detach()
        if self._object is not None:
            self._object.close()
            self._object = None


def checked(status: int, what: str) -> int:
    """Return a status that is not negative; raise DpcapError for -errno."""
    if status < 0:
        raise DpcapError(f"{what}: {os.strerror(-status)}")
    return status
