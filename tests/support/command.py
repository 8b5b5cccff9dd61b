# SPDX-License-Identifier: BSD-3-Clause
"""Command-line programs as tests use them: started, waited for by what they print, ended in order."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

# Long enough for a busy machine; reached only when something is broken.
PATIENCE = 60.0


class Command:
    """A running program whose standard error is watched. Its output is kept, unless it goes to a pipe."""

    def __init__(
        self, argv: Iterable[str | Path], *, stdin: int = subprocess.DEVNULL, stdout: int | None = None
    ) -> None:
        self.argv = [str(argument) for argument in argv]
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the context ends
        self._process = subprocess.Popen(
            self.argv,
            stdin=stdin,
            stdout=self._stdout if stdout is None else stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.stderr = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)
        self._stdout.close()

    def _read(self, patience: float) -> bool:
        """Take what was written to standard error; false at its end."""
        assert self._process.stderr
        ready, _, _ = select.select([self._process.stderr], [], [], patience)
        if not ready:
            raise TimeoutError(f"{self.argv[0]}: nothing printed; so far:\n{self.stderr}")
        data = os.read(self._process.stderr.fileno(), 65536)
        self.stderr += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Return when a line of standard error matches; fail when the program ends before."""
        end = time.monotonic() + patience
        while not (found := re.search(pattern, self.stderr)):
            if not self._read(max(0.0, end - time.monotonic())):
                status = self._process.wait(PATIENCE)
                raise AssertionError(f"{self.argv} ended with {status}, without {pattern!r}:\n{self.stderr}")
        return found

    @property
    def running(self) -> bool:
        """Has the program not ended yet?"""
        return self._process.poll() is None

    @property
    def stdout(self) -> bytes:
        """Everything written to standard output so far."""
        self._stdout.seek(0)
        return self._stdout.read()

    def wait(self, patience: float = PATIENCE) -> int:
        """Return the exit status when the program ends by itself."""
        end = time.monotonic() + patience
        while self._read(max(0.0, end - time.monotonic())):
            pass
        return self._process.wait(max(0.1, end - time.monotonic()))

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        if self._process.stderr and not self._process.stderr.closed:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                self.wait()
            except (TimeoutError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
                raise
            finally:
                self._process.stderr.close()
        return self._process.wait(PATIENCE)


def dpcap_argv(*arguments: str | Path) -> list[str]:
    """Return the command line of this environment's dpcap."""
    script = Path(sys.executable).with_name("dpcap")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "dpcap"]
    return [*program, *map(str, arguments)]


def run_dpcap(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run dpcap to its end."""
    argv = dpcap_argv(*arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)


def dpcap(*arguments: str | Path) -> Command:
    """Start a capture and return when the hooks are in."""
    command = Command(dpcap_argv(*arguments))
    try:
        command.wait_for(r"listening on|capturing on")
    except BaseException:
        command.__exit__()
        raise
    return command


def tcpdump(*arguments: str | Path, run_in: Iterable[str] = ()) -> Command:
    """Start a live tcpdump and return when it listens."""
    command = Command([*run_in, "tcpdump", "-Z", "root", "--immediate-mode", "-U", *arguments])
    try:
        command.wait_for("listening on")
    except BaseException:
        command.__exit__()
        raise
    return command
