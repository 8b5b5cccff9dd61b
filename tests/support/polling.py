# SPDX-License-Identifier: BSD-3-Clause
"""A small DPDK application (tests/shim/inject/polling.c), linked as a test or benchmark wants it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Self

from support.testpmd import runtime_root

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_numbers = itertools.count()


class Polling:
    """The running application; it polls on one CPU. A context manager: leaving it ends the process."""

    def __init__(self, program: Path, *, cpu: int = 0, run_in: Iterable[str] = ()) -> None:
        self.prefix = f"dpcap-{os.getpid()}-polling-{next(_numbers)}"
        eal = ("-l", str(cpu), "--no-pci", "--no-huge", "-m", "64", f"--file-prefix={self.prefix}")
        self._process = subprocess.Popen(
            [*run_in, str(program), *eal, "--vdev=net_null0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        try:
            while (line := self._line()) != "forwarding\n":
                assert line, "the application ended early"
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        alive = self._process.poll() is None
        self._end()
        assert alive, f"the application ended with {self._process.returncode}"

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(runtime_root() / self.prefix, ignore_errors=True)

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def longest_gap(self) -> int:
        """Return the nanoseconds of the longest pause between two polls since the last call."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())
