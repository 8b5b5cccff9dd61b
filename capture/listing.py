# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap -D``: every port of every DPDK application, and how it can be captured from."""

from __future__ import annotations

import json
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

from dpcap.capture import discovery, selection
from dpcap.capture.client import Connection
from dpcap.capture.errors import DpcapError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpcap.capture.arguments import Arguments
    from dpcap.capture.discovery import Application
    from dpcap.capture.protocol import Info, Port


class Entry(NamedTuple):
    """One application: what is known of it, or why there is nothing to tell."""

    application: Application
    source: str | None  # what one captures by: shim or uprobe
    info: Info | None
    ports: list[Port]
    problem: str | None  # one line


def run(arguments: Arguments) -> int:
    """Print the list."""
    applications = [
        a
        for a in discovery.applications()
        if (not arguments.pids or a.pid in arguments.pids) and arguments.file_prefix in (None, a.file_prefix)
    ]
    if arguments.json:
        entries = [_ask(a) for a in applications]
        print(json.dumps([row for e in entries for row in _as_json(e)], indent=2))
        return 0
    if not applications:
        raise selection.no_application()
    for line in _lines([_ask(a) for a in applications]):
        print(line)
    return 0


def types(arguments: Arguments) -> int:
    """Print what -y or -j can choose between for a port, as tcpdump -L and -J do."""
    application = selection.choose_application(
        discovery.applications(),
        pid=arguments.pids[0] if arguments.pids else None,
        file_prefix=arguments.file_prefix,
        source="shim",
    )
    assert application.socket is not None  # noqa: S101 - that is what it was chosen for
    with Connection.open(application.socket, application.who) as connection:
        connection.hello()
        port = selection.choose_ports(connection.ports(), arguments.interfaces, application.who)[0]
    if arguments.list_linktypes:
        print(f"Data link types for {port.label} (use option -y to set):\n  EN10MB (Ethernet)")
    else:
        print(f"Time stamp types for {port.label} (use option -j to set):\n  host (Host)")
    return 0


def _ask(application: Application) -> Entry:
    if application.socket is None:
        return _look_into(application)
    try:
        with Connection.open(application.socket, application.who) as connection:
            return Entry(application, "shim", connection.hello(), connection.ports(), None)
    except DpcapError as error:
        return Entry(application, None, None, [], str(error).removeprefix(f"{application.who}: "))


def _look_into(application: Application) -> Entry:
    """Find the ports of an application without the shim, as a capture by uprobes would."""
    from dpcap.capture.uprobe.connection import Connection as Uprobes  # noqa: PLC0415 - with its libraries

    try:
        with Uprobes(application) as uprobes:
            return Entry(application, "uprobe", uprobes.hello(), uprobes.ports(), None)
    except (FileNotFoundError, ProcessLookupError):
        return Entry(application, None, None, [], "it has just ended")
    except DpcapError as error:
        reason = f"{selection.no_shim_reason(application)}; {error}"
        return Entry(application, None, None, [], reason)


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    number = 0
    for entry in entries:
        a = entry.application
        who = f"{a.name} (pid {a.pid}, file-prefix {a.file_prefix})"
        for port in entry.ports:
            number += 1
            facts = ", ".join(_facts(port))
            yield f"{number}.{port.label}{f' [{facts}]' if facts else ''} {who} {_source(entry)}"
        if entry.problem is not None:
            yield f"- {who}: {entry.problem}"
        elif not entry.ports:
            yield f"- {who}: no ports"


def _source(entry: Entry) -> str:
    parked = entry.info is not None and entry.info.parked
    return f"{entry.source}, parked (dpcap attach wakes it)" if parked else f"{entry.source}"


def _facts(port: Port) -> Iterator[str]:
    if port.name:
        yield port.name
    if port.mac:
        yield port.mac.hex(":")
    if port.speed:
        yield speed_text(port.speed)
    if not port.started:
        yield "stopped"


def speed_text(speed: int) -> str:
    """Write a speed in bit/s as people say it: 10 Gbit/s, 2.5 Gbit/s, 100 Mbit/s."""
    value, unit = (speed / 1e9, "Gbit/s") if speed >= 1_000_000_000 else (speed / 1e6, "Mbit/s")
    return f"{value:g} {unit}"


def _as_json(entry: Entry) -> list[dict[str, Any]]:
    """One object for each port; one without a port for an application that shows none."""
    a, info = entry.application, entry.info
    application = {
        "application": a.name,
        "pid": a.pid,
        "inner_pid": a.inner_pid,
        "file_prefix": a.file_prefix,
        "user": _user(a.uid),
        "source": entry.source,
        "problem": entry.problem,
        "socket": a.socket,
        "primary": info.primary if info else None,
        "dpdk_version": info.dpdk_version if info else None,
        "shim_version": info.shim_version if info and entry.source == "shim" else None,
        "jit": info.jit if info else None,
    }
    return [_port_as_json(p) | application for p in entry.ports] or [_port_as_json(None) | application]


def _port_as_json(p: Port | None) -> dict[str, Any]:
    return {
        "name": p and p.label,
        "port": p and p.port,
        "device": p and p.name,
        "driver": p and p.driver,
        "mac": p and p.mac.hex(":"),
        "mtu": p and p.mtu,
        "speed": p and (p.speed or None),  # bit/s
        "rx_queues": p and p.rx_queues,
        "tx_queues": p and p.tx_queues,
        "started": p and p.started,
    }


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
