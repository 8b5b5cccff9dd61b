# SPDX-License-Identifier: BSD-3-Clause
"""What the command lines of ``dpcap stats`` and ``dpcap top`` have in common."""

from __future__ import annotations

import argparse
from typing import NoReturn

from dpcap.capture import protocol
from dpcap.capture.errors import UsageError
from dpcap.capture.stats.watch import Watch

_LEAST_INTERVAL, _MOST_INTERVAL = 0.01, 86400.0  # seconds


class Parser(argparse.ArgumentParser):
    """A parser with the options that choose what is watched, and how often."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument(
            "filter",
            nargs="*",
            metavar="FILTER",
            help="count the packets that match this pcap-filter(7) expression, too",
        )
        self.add_argument(
            "-i",
            "--interface",
            dest="interfaces",
            action="append",
            default=[],
            metavar="PORT",
            help="port0, 0, a device name or any (default); may be repeated",
        )
        self.add_argument("--pid", type=int, metavar="PID", help="the application by its process id")
        self.add_argument("--file-prefix", metavar="P", help="the application by its EAL file-prefix")
        self.add_argument(
            "-Q",
            "--direction",
            choices=tuple(protocol.DIRECTIONS),
            default="inout",
            metavar="DIR",
            help="in, out or inout (default)",
        )
        self.add_argument(
            "--interval",
            type=_seconds,
            default=1.0,
            metavar="S",
            help="seconds from one look to the next (default 1)",
        )
        self.add_argument(
            "-c", "--count", type=_count, metavar="N", help="end after N intervals (default: never)"
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message} ({self.prog} --help shows the options)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST_INTERVAL <= seconds <= _MOST_INTERVAL:
        raise argparse.ArgumentTypeError(
            f"invalid interval {text}: seconds from {_LEAST_INTERVAL:g} to {_MOST_INTERVAL:g} are needed"
        )
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"invalid count {text}: a number from 1 on is needed")
    return int(text)


def watch(arguments: argparse.Namespace) -> Watch:
    """Begin to watch what the command line says."""
    return Watch(
        interfaces=arguments.interfaces,
        pid=arguments.pid,
        file_prefix=arguments.file_prefix,
        directions=protocol.DIRECTIONS[arguments.direction],
        filter_text=" ".join(arguments.filter),
    )


def port_names(watching: Watch) -> str:
    """Name the ports as a capture does."""
    return ", ".join(f"{port.label} ({port.name})" for port in watching.ports)
