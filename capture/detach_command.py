# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap detach``: the hooks out of an application, its shim asleep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.capture import discovery
from dpcap.capture.attach_command import parse
from dpcap.capture.client import Connection
from dpcap.capture.selection import choose_application

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """\
usage: dpcap detach [--pid PID | --file-prefix P]

End the captures from an application, take every hook out of it and let the shim's thread sleep.
The library stays mapped, and 'dpcap attach' uses it again.

  --pid PID        the application by its process id
  --file-prefix P  the application by its EAL file-prefix
"""


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap detach ARGV`` and return the exit code."""
    arguments = parse("detach", argv)
    if arguments.help:
        print(HELP, end="")
        return 0
    application = choose_application(
        discovery.applications(), pid=arguments.pid, file_prefix=arguments.file_prefix, source="shim"
    )
    assert application.socket is not None  # noqa: S101 - that is what it was chosen for
    with Connection.open(application.socket, application.who) as connection:
        if connection.hello().parked:
            print(f"{application.who}: its shim is parked already")
            return 0
        ended = connection.park()
    captures = f", {ended} capture{'s' if ended != 1 else ''} ended" if ended else ""
    print(f"{application.who}: hooks out, shim parked{captures}; 'dpcap attach' wakes it")
    return 0
