# SPDX-License-Identifier: BSD-3-Clause
"""Find the DPDK processes of this machine, containers included, and the control socket of their shim.

Everything is read from /proc. A process in a container is reached through /proc/PID/root, its mount
namespace, and names its socket after the pid that it has in there (NSpid).

Paths are strings: importing pathlib takes longer than looking through /proc.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_FILE_PREFIX = "rte"  # EAL's own default

_PROC = "/proc"
_SHIM_LIBRARY = b"libdpcap_shim"
# Mapped by a process that uses DPDK: EAL as a library, or, also in a static program, EAL's shared state.
_EAL_LIBRARY = b"/librte_eal.so"
_EAL_STATE = re.compile(
    rb" /[^\n]*/dpdk/([^/\n]+)/(?:config|fbarray_[^/\n]*|hugepage_info)(?: \(deleted\))?$", re.MULTILINE
)
# The thread that rte_eal_init() starts first; its name until and since DPDK 23.07.
_EAL_THREADS = {"eal-intr-thread", "dpdk-intr"}
_FIRST_THREADS = 8
_MAX_LINKS = 40  # as the kernel follows
_SHIM_SOCKET = re.compile(r"(/\S.*/)dpcap\.(\d+)\.sock$")
# EAL's own sockets, one folder for each file-prefix; visible to every user.
_EAL_SOCKET = re.compile(r"(/\S.*/dpdk/[^/]+)/(?:dpdk_telemetry\.v2|mp_socket)")


class Application(NamedTuple):
    """One DPDK process."""

    pid: int  # in our pid namespace
    inner_pid: int  # as it sees itself
    name: str  # of its executable
    file_prefix: str
    uid: int
    socket: str | None  # control socket of the shim; None: no shim, or not reachable
    shim_loaded: bool

    @property
    def who(self) -> str:
        """How messages call it."""
        return f"{self.name} (pid {self.pid})"


def applications(proc: str = _PROC) -> list[Application]:
    """Return all DPDK processes that the caller may look into, by pid."""
    sockets: dict[str, list[str]] = {}  # of a network namespace; most processes share one
    found = []
    for pid in _pids(proc):
        application = _examine(proc, pid, sockets)
        if application is not None:
            found.append(application)
    return [a for a in found if not _is_fork(proc, a, found)]


def hidden_runtime_dirs(proc: str = _PROC) -> list[str]:
    """Return runtime directories of DPDK processes, whoever owns them.

    Their sockets are listed by the kernel even when the processes are somebody else's.
    """
    matches = (_EAL_SOCKET.match(path) for path in socket_paths(f"{proc}/net/unix"))
    return sorted({match[1] for match in matches if match})


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _read_text(path: str) -> str:
    return _read(path).decode(errors="replace")


def _pids(proc: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdecimal())


def _examine(proc: str, pid: int, sockets: dict[str, list[str]]) -> Application | None:
    """Look at one process; None when it is not DPDK's, not ours to see, or gone by now."""
    base = f"{proc}/{pid}"
    try:
        maps = _read(f"{base}/maps")
        state = _EAL_STATE.search(maps)
        shim_loaded = _SHIM_LIBRARY in maps
        # Neither shows an application that shares nothing; a library alone does not make one.
        if not (shim_loaded or state or _has_eal_thread(base, everywhere=_EAL_LIBRARY in maps)):
            return None
        status = _read_text(f"{base}/status")
        cmdline = _read_text(f"{base}/cmdline").split("\0")
        name = _name(base, cmdline)
        inner_pid, uid = _ids(status, pid)
        # Asked even when no shim is mapped under its usual name: it may be linked into the program.
        socket = _find_socket(base, inner_pid, sockets)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if socket is not None:
        prefix = os.path.basename(os.path.dirname(socket))
    elif state:
        prefix = state[1].decode(errors="replace")
    else:
        prefix = _prefix_argument(cmdline)
    return Application(pid, inner_pid, name, prefix, uid, socket, shim_loaded or socket is not None)


def _has_eal_thread(base: str, *, everywhere: bool) -> bool:
    """Tell whether rte_eal_init() ran in a process: among all of its threads, or else the first."""
    threads = sorted(os.listdir(f"{base}/task"), key=int)
    return any(
        _read_text(f"{base}/task/{thread}/comm").rstrip("\n") in _EAL_THREADS
        for thread in (threads if everywhere else threads[:_FIRST_THREADS])
    )


def _name(base: str, cmdline: list[str]) -> str:
    """Name the process as its user would: by its program, which /proc/PID/comm cuts at 15 characters."""
    comm = _read_text(f"{base}/comm").rstrip("\n")
    program = os.path.basename(cmdline[0])
    return program if program.startswith(comm) else comm


def _ids(status: str, pid: int) -> tuple[int, int]:
    """Return the pid in the innermost namespace, and the effective user id."""
    inner_pid, uid = pid, 0
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            inner_pid = int(line.split()[-1])
        elif line.startswith("Uid:"):
            uid = int(line.split()[2])
    return inner_pid, uid


def _prefix_argument(cmdline: list[str]) -> str:
    """Take the file-prefix from EAL's arguments."""
    for argument, following in zip(cmdline, [*cmdline[1:], ""], strict=True):
        if argument == "--file-prefix":
            return following
        if argument.startswith("--file-prefix="):
            return argument.partition("=")[2]
    return DEFAULT_FILE_PREFIX


def socket_paths(table: str) -> Iterator[str]:
    """Yield the paths of bound unix sockets: the last of the columns, when there is one."""
    for line in _read_text(table).splitlines()[1:]:
        columns = line.split(None, 7)
        if len(columns) == 8:
            yield columns[7]


def _find_socket(base: str, inner_pid: int, sockets: dict[str, list[str]]) -> str | None:
    """Return the path of the process's control socket, as seen from here.

    Only sockets that somebody listens on are in /proc/PID/net/unix, so what a killed process left behind is
    not found. Processes of different containers may have the same pid and path; /proc/PID/root tells them
    apart.
    """
    namespace = os.readlink(f"{base}/ns/net")
    if namespace not in sockets:
        sockets[namespace] = [p for p in socket_paths(f"{base}/net/unix") if _SHIM_SOCKET.match(p)]
    for path in sockets[namespace]:
        match = _SHIM_SOCKET.match(path)
        if match and int(match[2]) == inner_pid:
            seen = resolve_in_root(f"{base}/root", path)
            if os.path.exists(seen):
                return seen
    return None


def resolve_in_root(root: str, path: str) -> str:
    """Return where a path of a process leads, seen through its /proc/PID/root.

    An absolute symbolic link (/var/run is one) would lead out of the process's root into ours, so links are
    followed by hand.
    """
    resolved: list[str] = []
    left = path.split("/")[::-1]
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            del resolved[-1:]
        elif part not in ("", "."):
            try:
                target = os.readlink("/".join([root, *resolved, part]))
            except OSError:  # no link
                resolved.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                break
            if target.startswith("/"):
                resolved = []
            left += target.split("/")[::-1]
    return "/".join([root, *resolved])


def _is_fork(proc: str, application: Application, others: list[Application]) -> bool:
    """Tell whether a DPDK process forked this one without exec: it has the mappings, but no part in it."""
    if application.socket is not None:
        return False
    try:
        stat = _read_text(f"{proc}/{application.pid}/stat")
    except OSError:
        return True
    parent = int(stat.rpartition(")")[2].split()[1])
    return any(other.pid == parent and other.name == application.name for other in others)
