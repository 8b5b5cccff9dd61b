# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap attach``: the shim into a running application."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from dpcap.capture import discovery, injection
from dpcap.capture.client import Connection
from dpcap.capture.errors import UsageError
from dpcap.capture.selection import choose_running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.discovery import Application

HELP = """\
usage: dpcap attach [--pid PID | --file-prefix P] [--dry-run]

Load the shim into a running DPDK application that was started without it, or wake the shim that
'dpcap detach' has parked there. One sleeping control thread is borrowed for about a millisecond;
no lcore is stopped. An application that fails one of the checks is left alone.

  --pid PID        the application by its process id
  --file-prefix P  the application by its EAL file-prefix
  --dry-run        make the checks and print them; touch nothing
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog.partition(' ')[2]}: {message} ({self.prog} --help explains)")


def parse(name: str, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of attach or detach. Raises UsageError."""
    parser = _Parser(prog=f"dpcap {name}", add_help=False, allow_abbrev=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int)
    which.add_argument("--file-prefix")
    if name == "attach":
        parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap attach ARGV`` and return the exit code."""
    arguments = parse("attach", argv)
    if arguments.help:
        print(HELP, end="")
    elif arguments.dry_run:
        application = choose_running(
            discovery.applications(), pid=arguments.pid, file_prefix=arguments.file_prefix
        )
        _dry_run(application)
    else:
        application = injection.ready(arguments.pid, arguments.file_prefix, print)
        print(f"{application.who} can be captured from")
    return 0


def _dry_run(application: Application) -> None:
    if application.socket is not None:
        with Connection.open(application.socket, application.who) as connection:
            parked = connection.hello().parked
        what = "it is parked and would be woken" if parked else "nothing would be done"
        print(f"{application.who} has a shim: {what}")
        return
    checks = injection.examine(application)
    print(f"{application.who}, file-prefix {application.file_prefix}")
    print("\n".join(injection.table(checks)))
    if error := injection.refusal(application, checks):
        raise error
    print(f"dpcap attach {injection.plan(checks)}")
