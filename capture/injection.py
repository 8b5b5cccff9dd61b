# SPDX-License-Identifier: BSD-3-Clause
"""Load the shim into a running application, or wake the one that is parked in it: never unasked.

The work is done by dpcap-inject (shim/inject/), a program of its own that may be killed at any moment. This
module runs it, and turns what it says into sentences.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture import discovery, plugin
from dpcap.capture.client import Connection
from dpcap.capture.errors import InjectionError
from dpcap.capture.selection import HOW_TO_LOAD, choose_running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpcap.capture.discovery import Application

# The shim opens its socket some milliseconds after it was loaded.
_SOCKET_PATIENCE = 10.0  # seconds
_REFUSED = 1
_OTHER_WAYS = f"capture by uprobes (without --inject), or {HOW_TO_LOAD}"
_NS_PER_MS = 1e6


class Check(NamedTuple):
    """One thing that has to be true of the application before anything is tried."""

    name: str
    verdict: str  # "ok", "no", or "-": not checked because of an earlier one
    text: str
    way: str  # what else one can do, when it is "no"


class Borrowed(NamedTuple):
    """A thread that stood still."""

    thread: str
    tid: int
    call: str  # the system call that it slept in
    ns: int


class _Report(NamedTuple):
    checks: list[Check]
    borrowed: list[Borrowed]
    failure: tuple[str, str] | None  # reason and way


def _run(application: Application, *options: str) -> _Report:
    program = plugin.injector()
    if program is None:
        raise InjectionError(
            f"{application.who}: this dpcap cannot load the shim into a running process on "
            f"{platform.machine()}: {HOW_TO_LOAD}"
        )
    done = subprocess.run(
        [str(program), *options, str(application.pid), str(plugin.path())],
        capture_output=True,
        text=True,
        check=False,
    )
    report = _Report([], [], _failure(done))
    for line in done.stdout.splitlines():
        kind, *fields = line.split("\t")
        if kind == "check":
            report.checks.append(Check(*fields))
        elif kind == "stop":
            thread, tid, call, ns = fields
            report.borrowed.append(Borrowed(thread, int(tid), call, int(ns)))
    return report


def _failure(done: subprocess.CompletedProcess[str]) -> tuple[str, str] | None:
    """Return why it was not done; a refusal is told by the checks."""
    if done.returncode in (0, _REFUSED):
        return None
    for line in done.stdout.splitlines():
        kind, *fields = line.split("\t")
        if kind == "failed":
            return fields[0], fields[1]
    return done.stderr.strip() or f"dpcap-inject ended with {done.returncode}", ""


def examine(application: Application) -> list[Check]:
    """Make every check, and nothing else."""
    report = _run(application, "--dry-run")
    if report.failure:
        raise _error(application, *report.failure)
    return report.checks


def table(checks: Sequence[Check]) -> list[str]:
    """Return the checks as the lines of a table."""
    width = max(len(check.name) for check in checks)
    return [f"  {check.name:<{width}}  {check.verdict:<2}  {check.text}" for check in checks]


def refusal(application: Application, checks: Sequence[Check]) -> InjectionError | None:
    """Return the first check that refuses, as an error; None when all passed."""
    return next((_error(application, c.text, c.way) for c in checks if c.verdict == "no"), None)


def plan(checks: Sequence[Check]) -> str:
    """Say what loading does to the application."""
    thread = next((check.text for check in checks if check.name == "sleeping thread"), "a thread sleeps")
    return f"borrows a sleeping thread twice, for about a millisecond ({thread}); no lcore is stopped"


def _error(application: Application, reason: str, way: str) -> InjectionError:
    return InjectionError(f"{application.who}: cannot load the shim into it: {reason}: {way or _OTHER_WAYS}")


def load(application: Application, say: Callable[[str], None]) -> Application:
    """Load the shim, and return the application as it is then. Raises InjectionError."""
    checks = examine(application)
    if error := refusal(application, checks):
        raise error
    say(f"loading the shim into {application.who}: {plan(checks)}; 'dpcap detach' takes its hooks out")
    report = _run(application)
    if error := refusal(application, report.checks):
        raise error
    if report.failure:
        raise _error(application, *report.failure)
    loaded = _wait_for_socket(application)
    say(f"loaded: {_stood_still(report.borrowed)}")
    return loaded


def _stood_still(borrowed: Sequence[Borrowed]) -> str:
    times = " and ".join(f"{b.ns / _NS_PER_MS:.2f} ms" for b in borrowed)
    return f"{' and '.join(dict.fromkeys(b.thread for b in borrowed))} stood still for {times}"


def _wait_for_socket(application: Application) -> Application:
    """Return the application with its control socket."""
    deadline = time.monotonic() + _SOCKET_PATIENCE
    while time.monotonic() < deadline:
        for found in discovery.applications():
            if found.pid == application.pid and found.socket is not None:
                return found
        if not os.path.exists(f"/proc/{application.pid}"):
            raise InjectionError(f"{application.who} has ended")
        time.sleep(0.01)
    raise InjectionError(
        f"{application.who}: the shim was loaded but opened no control socket: "
        "the application's messages say why (is its runtime directory writable?)"
    )


def ready(pid: int | None, file_prefix: str | None, say: Callable[[str], None]) -> Application:
    """Return the application that is meant, with a shim that can be captured from.

    What is there is used; what is parked is woken; what is missing is loaded. say is called with a line for
    what will be done, before it is done, and one for what was done.
    """
    application = choose_running(discovery.applications(), pid=pid, file_prefix=file_prefix)
    if application.socket is None:
        return load(application, say)
    with Connection.open(application.socket, application.who) as connection:
        if connection.hello().parked:
            connection.wake()
            say(f"woke the shim in {application.who}; 'dpcap detach' parks it again")
    return application
