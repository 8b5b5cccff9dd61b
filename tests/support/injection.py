# SPDX-License-Identifier: BSD-3-Clause
"""The injector, and the puppet that it is tried on (tests/shim/inject/puppet.c)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from support.testpmd import NATIVE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tests" / "shim" / "inject"
BUILT = ROOT / "build" / "cmake" / "tests" / "shim" / "inject"
INJECTOR = NATIVE / "dpcap-inject"
EAL_THREAD = "eal-intr-thread"


class Report(NamedTuple):
    """What one run of the injector said."""

    status: int
    refusals: list[str]  # reasons
    stops: int
    failure: str | None
    text: str


def inject(pid: int, library: Path | str, *options: str) -> Report:
    """Run the injector to its end."""
    argv = [str(INJECTOR), *options, str(pid), str(library)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return Report(
        done.returncode,
        [row[3] for row in rows if row[0] == "check" and row[2] == "no"],
        sum(row[0] == "stop" for row in rows),
        next((row[1] for row in rows if row[0] == "failed"), None),
        done.stdout + done.stderr,
    )


class Puppet:
    """A process whose thread sleeps in a system call. A context manager: leaving it ends the process."""

    def __init__(
        self, call: str, *, program: Path = BUILT / "inject_puppet", run_in: Iterable[str] = (), **env: str
    ) -> None:
        self._process = subprocess.Popen(
            [*run_in, str(program), call],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PUPPET_NAME": EAL_THREAD} | env,
            text=True,
        )
        self.pid = self._process.pid
        try:
            assert self.line() == "asleep"
            if not run_in:
                wait_until(self._is_asleep, "the thread sleeps")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _is_asleep(self) -> bool:
        threads = [t for t in Path(f"/proc/{self.pid}/task").iterdir() if t.name != str(self.pid)]
        return bool(threads) and (threads[0] / "syscall").read_text().split()[0] not in ("running", "-1")

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n")

    def wake(self) -> list[str]:
        """End the thread's sleep and then the process; return what was printed since it fell asleep."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        out, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, f"the puppet ended with {self._process.returncode}"
        return out.splitlines()

    def memfds(self) -> int:
        """Return how many memory files of the shim's it holds."""
        links = (os.readlink(fd) for fd in Path(f"/proc/{self.pid}/fd").iterdir())  # noqa: PTH115
        return sum("libdpcap_shim" in link for link in links)


@contextlib.contextmanager
def traced(pid: int) -> Iterator[None]:
    """Hold a process as a debugger does, without stopping it."""
    seize, interrupt, detach, any_thread = 0x4206, 0x4207, 17, 0x40000000
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    assert ptrace(seize, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        ptrace(interrupt, pid, 0, 0)
        os.waitpid(pid, any_thread)
        ptrace(detach, pid, 0, 0)


def compile_with(compiler: str, *arguments: str | Path) -> None:
    """Compile; skip the test when there is no such compiler."""
    try:
        subprocess.run([compiler, *map(str, arguments)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"no {compiler}")
