# SPDX-License-Identifier: BSD-3-Clause
"""What a capture is of: ports of applications, each with its connection and its interfaces in the file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture import discovery, protocol
from dpcap.capture.client import Connection as Shim
from dpcap.capture.errors import NoPortError, UsageError
from dpcap.capture.pcapng import Interface, section
from dpcap.capture.selection import choose_applications, choose_ports
from dpcap.ubpf_host import isa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import ExitStack

    from dpcap.capture.arguments import Arguments
    from dpcap.capture.discovery import Application
    from dpcap.capture.protocol import AttachRequest, Info, Port
    from dpcap.capture.uprobe.connection import Connection as Uprobes
    from dpcap.filters.filter import Filter
    from dpcap.filters.forms import Form

ANY = "any"


class Target(NamedTuple):
    """One application, and what is captured of it."""

    application: Application
    connection: Shim | Uprobes
    info: Info
    ports: list[Port]
    names: list[str]  # of the interfaces in the file
    first_id: int  # of the interfaces

    def request(self, arguments: Arguments, forms: Iterable[Form]) -> AttachRequest:
        """Return what to ask the application for."""
        return protocol.AttachRequest(
            ports=[(port.port, self.first_id + n) for n, port in enumerate(self.ports)],
            snaplen=arguments.snaplen,
            directions=protocol.DIRECTIONS[arguments.direction],
            engine=protocol.ENGINES[arguments.engine],
            forms=[(len(form.code) // isa.SLOT_SIZE, len(form.rodata)) for form in forms],
            ring_size=(arguments.buffer_kib or 0) << 10,
        )

    def interfaces(self, expression: str) -> list[Interface]:
        """Return how the file describes the ports."""
        return [
            Interface(
                name=name,
                description=f"{port.name} of {self.application.who}",
                mac=port.mac,
                speed=port.speed,
                filter=expression,
                os=self.info.dpdk_version,
                hardware=port.driver,
            )
            for name, port in zip(self.names, self.ports, strict=True)
        ]


def connect(arguments: Arguments, tap: Filter, stack: ExitStack) -> list[Target]:
    """Find, connect to and ask the applications that are meant; the stack closes the connections.

    Raises what selection.py raises, and what the connections do.
    """
    applications = _choose(arguments)
    targets: list[Target] = []
    first_id = 0
    for application in applications:
        connection = _connection(application, arguments, tap)
        stack.callback(connection.close)
        info = connection.hello()
        there = connection.ports()
        if len(applications) > 1 and not there:
            continue  # it has none yet: the others have
        ports = choose_ports(there, arguments.interfaces, application.who)
        if len(ports) > protocol.MAX_PORTS:
            raise UsageError(f"one capture takes {protocol.MAX_PORTS} ports at most: name them with -i")
        names = _names(ports, application, applications)
        targets.append(Target(application, connection, info, ports, names, first_id))
        first_id += len(ports)
    if not targets:
        raise NoPortError(
            "none of the applications has a port (dpcap -D lists the ports of all applications)"
        )
    return targets


def _choose(arguments: Arguments) -> list[Application]:
    """Find the applications; where that is asked for, put the shim into the one that is meant."""
    if not arguments.inject:
        return choose_applications(
            discovery.applications(),
            pids=arguments.pids,
            file_prefix=arguments.file_prefix,
            source="uprobe" if arguments.sample > 1 or arguments.functions else arguments.source,
            everything=ANY in arguments.interfaces,
        )
    if len(arguments.pids) > 1:
        raise UsageError(
            "--inject is for one application at a time: dpcap attach --pid PID, for each of them"
        )
    from dpcap.capture import injection  # noqa: PLC0415 - rarely asked for

    def say(line: str) -> None:
        if not arguments.quiet:
            print(f"dpcap: {line}", file=sys.stderr)

    return [injection.ready(arguments.pids[0] if arguments.pids else None, arguments.file_prefix, say)]


def _names(ports: Sequence[Port], application: Application, all_: Sequence[Application]) -> list[str]:
    """Name the interfaces: port0; of several applications port0@PREFIX, as for Wireshark."""
    if len(all_) == 1:
        return [port.label for port in ports]
    is_alone = sum(a.file_prefix == application.file_prefix for a in all_) == 1
    who = application.file_prefix if is_alone else str(application.pid)
    return [f"{port.label}@{who}" for port in ports]


def _connection(application: Application, arguments: Arguments, tap: Filter) -> Shim | Uprobes:
    """Connect to the application's shim, or prepare uprobes on it."""
    if application.socket is None:
        why = "has no shim"
    elif arguments.source == "uprobe" or arguments.functions:
        why = "is not captured by its shim"
    elif arguments.sample > 1:
        why = "has a shim that does not sample"
    else:
        return Shim.open(application.socket, application.who)
    if arguments.user is not None:
        raise UsageError(
            "-Z: uprobes need root all the time: leave -Z out, or use an application with the shim"
        )
    from dpcap.capture.uprobe.connection import Connection as Uprobes  # noqa: PLC0415 - with its libraries

    uprobes = Uprobes(application, arguments.functions, why=why)
    uprobes.prepare(tap, sample=arguments.sample)
    return uprobes


def header(arguments: Arguments, targets: Sequence[Target], expression: str) -> bytes:
    """Return the blocks that begin the file: the machine, and every port."""
    system = os.uname()
    versions = dict.fromkeys(target.info.dpdk_version for target in targets)
    return b"".join(
        [
            section(
                hardware=_processor() or system.machine,
                os=f"{system.sysname} {system.release}",
                application=f"dpcap {protocol.VERSION} ({', '.join(versions)})",
                comments=arguments.comments,
            ),
            *(i.block(arguments.snaplen) for target in targets for i in target.interfaces(expression)),
        ]
    )


def _processor() -> str:
    """Return the name of the processor, as Wireshark's own captures have it; empty: not known."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return ""
