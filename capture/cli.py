# SPDX-License-Identifier: BSD-3-Clause
"""The command ``dpcap``: hands the command line to what it asks for, and turns failures into one line each.

What is not needed for the first packet is imported where it is used.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture.errors import INTERNAL_EXIT_CODE, DpcapError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(NamedTuple):
    """A subcommand: ``dpcap NAME ...``."""

    name: str
    module: str  # has run(argv) -> exit code
    description: str


COMMANDS = (
    Command(
        "explain", "dpcap.capture.explain_command", "show every stage of a filter, and why a packet matches"
    ),
    Command("shim", "dpcap.capture.shim_command", "print, install or remove the plugin for applications"),
    Command("attach", "dpcap.capture.attach_command", "load the shim into a running application"),
    Command("detach", "dpcap.capture.detach_command", "take its hooks out again"),
    Command("count", "dpcap.capture.count_command", "count packets by port, queue and thread"),
    Command(
        "stats", "dpcap.capture.stats.command", "rates, bursts and polls of each queue, as the shim counts"
    ),
    Command("top", "dpcap.capture.stats.top", "the same, live"),
    Command("plot", "dpcap.capture.stats.plot", "draw what stats --csv and count --csv wrote"),
    Command("probe", "dpcap.capture.probe_command", "find and try an application's functions for uprobes"),
    Command("extcap", "dpcap.capture.extcap", "make the ports interfaces of Wireshark and tshark"),
    Command("completion", "dpcap.capture.completion", "print completion for bash or zsh"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except DpcapError as error:
        _complain(error)
        return error.exit_code
    except BrokenPipeError:  # whoever read our output has seen enough
        _discard_stdout()
        return 0
    except KeyboardInterrupt:  # before or after the capture, which has its own way to end
        return 130
    except Exception as error:  # the last resort: no traceback reaches a user
        if os.environ.get("DPCAP_DEBUG"):
            raise
        _complain(
            f"internal error, please report it: {type(error).__name__}: {error} "
            "(DPCAP_DEBUG=1 shows where it happened)"
        )
        return INTERNAL_EXIT_CODE


def _run(argv: Sequence[str]) -> int:
    for command in COMMANDS:
        if argv and argv[0] == command.name:
            exit_code: int = import_module(command.module).run(argv[1:])
            return exit_code
    from dpcap.capture import arguments as options  # noqa: PLC0415 - not needed by subcommands

    arguments = options.parse(argv)
    if arguments.help:
        from dpcap.capture.manual import help_text  # noqa: PLC0415

        print(help_text(), end="")
    elif arguments.version:
        from dpcap.capture.version import report  # noqa: PLC0415

        print(report())
    elif arguments.list_interfaces:
        from dpcap.capture import listing  # noqa: PLC0415

        return listing.run(arguments)
    elif arguments.list_linktypes or arguments.list_time_stamps:
        from dpcap.capture import listing  # noqa: PLC0415

        return listing.types(arguments)
    elif arguments.dump or arguments.dump_language:
        from dpcap.capture import dump  # noqa: PLC0415

        print(dump.text(arguments), end="")
    elif arguments.read is not None:
        from dpcap.capture import offline  # noqa: PLC0415

        return offline.run(arguments)
    else:
        from dpcap.capture import live  # noqa: PLC0415

        return live.run(arguments)
    sys.stdout.flush()
    return 0


def _complain(message: object) -> None:
    with suppress(OSError):  # nobody listens
        print(f"dpcap: {message}", file=sys.stderr)


def _discard_stdout() -> None:
    """Keep the interpreter from complaining about what it cannot flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
