# SPDX-License-Identifier: BSD-3-Clause
"""Builds DPDK applications that know nothing of dpcap, in the ways that people build them, and runs them."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from support.testpmd import PATIENCE, lcores, runtime_root

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCES = Path(__file__).parent
# Of static DPDK, as far as the applications need it. An archive that a release does not have is left out.
_ARCHIVES = (
    "log", "eal", "ethdev", "mempool", "mempool_ring", "mbuf", "ring", "net", "meter", "kvargs", "telemetry",
    "net_pcap", "net_ring", "net_null", "bus_vdev",
)  # fmt: skip
_LIBRARIES = ("-lpcap", "-lnuma", "-lm", "-ldl", "-lpthread", "-lbsd", "-lfdt")
_numbers = itertools.count()


class Build(NamedTuple):
    """How an application is built."""

    source: str
    options: tuple[str, ...] = ()
    strip: bool = False


def build(how: Build, folder: Path) -> Path:
    """Compile and link with static DPDK; skip the test where there is none."""
    compiler = "g++" if how.source.endswith(".cc") else "gcc"
    libdir = subprocess.run(
        ["pkg-config", "--variable=libdir", "libdpdk"], capture_output=True, text=True, check=False
    ).stdout.strip()
    archives = [path for name in _ARCHIVES if (path := Path(libdir, f"librte_{name}.a")).exists()]
    if not archives or not shutil.which(compiler):
        pytest.skip(f"static DPDK or {compiler} is missing: ./dev install installs them")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True, check=True
    ).stdout.split()
    program = folder / "app"
    subprocess.run(
        [
            *(compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated", *flags, *how.options),
            *(str(SOURCES / how.source), "-o", str(program)),
            *("-Wl,--whole-archive", *map(str, archives), "-Wl,--no-whole-archive", *_LIBRARIES),
        ],
        check=True,
    )
    if how.strip:
        subprocess.run(["strip", program], check=True)
    return program


class App:
    """A running application of ours. A context manager: leaving it ends the process."""

    def __init__(
        self, program: Path, vdevs: Sequence[str], eal_args: Sequence[str], words: Sequence[str] = ()
    ) -> None:
        prefix = f"dpcap-{os.getpid()}-app{next(_numbers)}"
        self._runtime_dir = runtime_root() / prefix
        self._huge_dir = next((a.split("=", 1)[1] for a in eal_args if a.startswith("--huge-dir=")), None)
        self._prefix = prefix
        self._process = subprocess.Popen(
            [
                *(str(program), *lcores(), "--no-pci", f"--file-prefix={prefix}", "-m", "64", *eal_args),
                *(f"--vdev={vdev}" for vdev in vdevs),
                *("--", *words),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.log = b""
        try:
            while b"ready\n" not in self.log:
                self._read()
        except BaseException:
            self.__exit__()
            raise

    def _read(self) -> None:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        data = os.read(self._process.stdout.fileno(), 65536) if ready else b""
        if not data:
            raise AssertionError(f"the application is not ready:\n{self.log.decode(errors='replace')}")
        self.log += data

    @property
    def alive(self) -> bool:
        """Is the process running?"""
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()
            shutil.rmtree(self._runtime_dir, ignore_errors=True)
            if self._huge_dir:
                for page in Path(self._huge_dir).glob(f"{self._prefix}map_*"):
                    page.unlink()
