# SPDX-License-Identifier: BSD-3-Clause
"""
Runs a real dpdk-testpmd, interactively, with or without the shim.

Commands go to its stdin and are answered before its next prompt, so an application is ready when it prompts.
It ends when its stdin closes, so it cannot outlive this process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import tty
from pathlib import Path
from typing import TYPE_CHECKING, Self

import dpcap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NATIVE = Path(dpcap.__file__).parent / "_native"
PLUGIN = "libdpcap_shim.so"
PROMPT = b"testpmd> "
# Long enough for a busy machine; reached only when something is broken.
PATIENCE = 60.0

_numbers = itertools.count()


class TestpmdError(Exception):
    """Testpmd ended, or did not answer."""

    __test__ = False


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Return when `condition()` is true; fail with `what` when it never is."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.005)


def runtime_root() -> Path:
    """Return the folder of EAL's runtime directories, as EAL itself picks it."""
    if os.geteuid() == 0:
        return Path("/var/run/dpdk")
    return Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp")) / "dpdk"


def lcores(workers: int = 1) -> list[str]:
    """Return EAL's arguments for a main lcore and those that forward, on CPUs that this process may use."""
    cpus = sorted(os.sched_getaffinity(0))
    if workers > 1:
        return ["--lcores=" + ",".join(f"{n}@{cpus[n % len(cpus)]}" for n in range(workers + 1))]
    return ["-l", f"{cpus[0]},{cpus[1]}"] if len(cpus) > 1 else [f"--lcores=(0-1)@{cpus[0]}"]


class Testpmd:
    """
    A running testpmd with the given --vdev arguments. A context manager: leaving it ends the process.

    `eal_args` decide on its memory (see hugepages.HugePages.eal_args); `plugin=False` leaves the shim out.
    `prefix` is that of the primary process, for a secondary one; `workers` are lcores that forward.
    """

    __test__ = False

    def __init__(
        self,
        vdevs: Sequence[str],
        *,
        eal_args: Iterable[str] = ("--no-huge",),
        app_args: Iterable[str] = (),
        plugin: bool = True,
        megabytes: int = 64,
        mbufs: int = 8192,
        run_in: Iterable[str] = (),
        prefix: str | None = None,
        workers: int = 1,
    ) -> None:
        self.prefix = prefix or f"dpcap-{os.getpid()}-{next(_numbers)}"
        self.runtime_dir = runtime_root() / self.prefix
        self.log = bytearray()
        self._huge_dir = next((a.split("=", 1)[1] for a in eal_args if a.startswith("--huge-dir=")), None)
        self.argv = [
            *(
                "dpdk-testpmd",
                *lcores(workers),
                "--no-pci",
                f"--file-prefix={self.prefix}",
                "-m",
                str(megabytes),
            ),
            *eal_args,
            *(["-d", PLUGIN] if plugin else []),
            *(f"--vdev={vdev}" for vdev in vdevs),
            # Without --no-flush-rx, `start` throws away what waits in the receive queues.
            *("--", "-i", "--no-flush-rx", f"--total-num-mbufs={mbufs}", *app_args),
        ]
        self._output, slave = pty.openpty()  # printf of testpmd is buffered by lines, not by blocks
        tty.setraw(slave)
        try:
            self._process = subprocess.Popen(
                [*run_in, *self.argv],
                stdin=subprocess.PIPE,
                stdout=slave,
                stderr=slave,
                # EAL takes plugins only by a bare name, or from folders that nobody else may write to.
                env=os.environ | {"LD_LIBRARY_PATH": str(NATIVE)},
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        finally:
            os.close(slave)
        self.pid = self._process.pid
        try:
            self._until_prompt()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.quit()

    # -- talking to it

    def _read(self, patience: float) -> bytes:
        ready, _, _ = select.select([self._output], [], [], patience)
        if not ready:
            raise TestpmdError(f"testpmd does not answer:\n{self.text}")
        try:
            data = os.read(self._output, 65536)
        except OSError:  # EIO: the other end of the terminal is closed
            data = b""
        self.log += data
        return data

    def _until_prompt(self, start: int = 0) -> bytes:
        while (end := self.log.find(PROMPT, start)) < 0:
            if not self._read(PATIENCE):
                # What it died of comes last.
                last = "\n".join(self.text.splitlines()[-12:])
                raise TestpmdError(f"testpmd ended with {self._process.wait()}:\n{last}")
        return bytes(self.log[start:end])

    def command(self, text: str) -> str:
        """Give a command and return what testpmd printed until it prompts again."""
        start = len(self.log)
        self._write(text)
        return self._until_prompt(start).decode(errors="replace")

    def _write(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    @property
    def text(self) -> str:
        """Everything printed so far."""
        return self.log.decode(errors="replace")

    # -- what tests ask of it

    @property
    def alive(self) -> bool:
        """Is the process running?"""
        return self._process.poll() is None

    def start(self) -> None:
        """Start forwarding."""
        self.command("start")

    def stop(self) -> None:
        """Stop forwarding; returns when the lcores stand still."""
        self.command("stop")

    def stats(self, port: int = 0) -> dict[str, int]:
        """Return the counters of a port: RX-packets, TX-packets, RX-bytes, ..."""
        return {
            name: int(value)
            for name, value in re.findall(r"([RT]X-\w+):\s+(\d+)", self.command(f"show port stats {port}"))
        }

    def wait_forwarded(self, packets: int, port: int = 0) -> None:
        """Wait until a port has received `packets` more than now."""
        goal = self.stats(port)["RX-packets"] + packets
        wait_until(
            lambda: self.stats(port)["RX-packets"] >= goal, f"{packets} packets forwarded by port {port}"
        )

    def sockets(self) -> list[Path]:
        """Return the shim's control sockets in the runtime directory."""
        return list(self.runtime_dir.glob("dpcap.*.sock"))

    # -- its end

    def quit(self) -> int:
        """End it as an operator does, and return its exit status."""
        if self.alive:
            with contextlib.suppress(OSError):
                self._write("quit")
        return self._reap()

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it by a signal, and return its exit status."""
        if self.alive:
            self._process.send_signal(number)
        return self._reap()

    def _reap(self) -> int:
        if self._output < 0:
            return self._process.returncode
        try:
            with contextlib.suppress(TestpmdError):
                while self._read(PATIENCE):
                    pass
            try:
                return self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise TestpmdError(f"testpmd had to be killed:\n{self.text}") from None
        finally:
            os.close(self._output)
            self._output = -1
            assert self._process.stdin
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._sweep()

    def _sweep(self) -> None:
        """Remove what EAL leaves behind even after a clean exit."""
        shutil.rmtree(self.runtime_dir, ignore_errors=True)
        if self._huge_dir:
            for page in Path(self._huge_dir).glob(f"{self.prefix}map_*"):
                page.unlink()
