# SPDX-License-Identifier: BSD-3-Clause
"""Choose the application and the ports that a command line means, or say why there is no choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.capture import discovery
from dpcap.capture.errors import (
    AccessError,
    AmbiguousApplicationError,
    DpcapError,
    NoApplicationError,
    NoPortError,
    NoShimError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.discovery import Application
    from dpcap.capture.protocol import Port

HOW_TO_LOAD = "start it with -d $(dpcap shim path), or run 'dpcap shim install' and restart it"


def choose_application(
    applications: Sequence[Application],
    *,
    pid: int | None = None,
    file_prefix: str | None = None,
    source: str | None = None,
) -> Application:
    """Return the one application that is meant.

    Without pid and file_prefix it is the only one, or the only one with a shim. source is what has to be
    captured by: "shim" makes it one with a shim, "uprobe" leaves the shim out of account. Raises
    NoApplicationError, AccessError, AmbiguousApplicationError or NoShimError.
    """
    wanted = _wanted(applications, pid, file_prefix)
    capable = wanted if source == "uprobe" else [a for a in wanted if a.socket is not None]
    if not capable and source is None:
        capable = wanted
    if capable:
        return _only(capable)
    raise _no_shim(wanted)


def choose_running(
    applications: Sequence[Application], *, pid: int | None = None, file_prefix: str | None = None
) -> Application:
    """Return the one application that is meant, with a shim or without. Raises as choose_application()."""
    return _only(_wanted(applications, pid, file_prefix))


def _only(applications: Sequence[Application]) -> Application:
    if len(applications) > 1:
        raise AmbiguousApplicationError(
            f"several DPDK applications run, choose with --pid or --file-prefix: {_enumerate(applications)}"
        )
    return applications[0]


def _wanted(
    applications: Sequence[Application], pid: int | None, file_prefix: str | None
) -> list[Application]:
    if not applications:
        raise no_application()
    wanted = [
        a
        for a in applications
        if (pid is None or a.pid == pid) and (file_prefix is None or a.file_prefix == file_prefix)
    ]
    if not wanted:
        asked = " and ".join(
            text
            for text, given in ((f"pid {pid}", pid), (f"file-prefix {file_prefix}", file_prefix))
            if given is not None
        )
        raise NoApplicationError(f"no DPDK application with {asked} ({_enumerate(applications)})")
    return wanted


def choose_applications(
    applications: Sequence[Application],
    *,
    pids: Sequence[int],
    file_prefix: str | None,
    source: str | None,
    everything: bool,
) -> list[Application]:
    """Return the applications that are meant: by several pids, or with everything all. Raises as above."""
    if len(pids) > 1:
        wanted = [
            choose_application(applications, pid=pid, file_prefix=file_prefix, source=source)
            for pid in dict.fromkeys(pids)
        ]
        return sorted(wanted, key=lambda a: a.pid)
    if everything and not pids and file_prefix is None:
        capable = [a for a in applications if a.socket is not None or source == "uprobe"]
        if len(capable) > 1:
            return capable
    pid = pids[0] if pids else None
    return [choose_application(applications, pid=pid, file_prefix=file_prefix, source=source)]


def no_application() -> DpcapError:
    """Say that there is nothing to capture from, or that it is somebody else's."""
    hidden = discovery.hidden_runtime_dirs()
    if hidden:
        return AccessError(
            "the DPDK applications that run here belong to another user "
            f"({', '.join(hidden)}): run dpcap as root or as that user"
        )
    return NoApplicationError(
        f"no DPDK application found on this machine: {HOW_TO_LOAD}".replace("start it", "start one")
    )


def no_shim_reason(application: Application) -> str:
    """Say in a few words why nothing can be captured from an application, and what to do."""
    if application.shim_loaded:
        return (
            "its shim has no control socket: the application's messages say why "
            "(is its runtime directory writable?)"
        )
    return f"no shim in it: 'dpcap attach' loads it now; or {HOW_TO_LOAD}"


def _no_shim(applications: Sequence[Application]) -> DpcapError:
    first = applications[0]
    if len(applications) == 1:
        return NoShimError(f"{first.who}: {no_shim_reason(first)}")
    return NoShimError(
        f"none of the DPDK applications has a shim ({_enumerate(applications)}): {HOW_TO_LOAD}"
    )


def _enumerate(applications: Sequence[Application]) -> str:
    return ", ".join(f"{a.name} (pid {a.pid}, file-prefix {a.file_prefix})" for a in applications)


def choose_ports(ports: Sequence[Port], wanted: Sequence[str], who: str) -> list[Port]:
    """Return the ports that are meant, by ``port0``, ``0``, device name or ``any``; the first one by default.

    Raises NoPortError, which names those that exist.
    """
    if not ports:
        raise NoPortError(f"{who} has no port (dpcap -D lists the ports of all applications)")
    if not wanted:
        return [ports[0]]
    chosen: list[Port] = []
    for name in wanted:
        matching = [p for p in ports if name in ("any", p.label, str(p.port), p.name)]
        if not matching:
            exist = ", ".join(f"{p.label} ({p.name})" for p in ports)
            label = f"port{name}" if name.isdecimal() else name
            raise NoPortError(
                f"{label}: no such port in {who} ({exist} exist{'s' if len(ports) == 1 else ''})"
            )
        chosen += [p for p in matching if p not in chosen]
    return sorted(chosen, key=lambda p: p.port)
