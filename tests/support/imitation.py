# SPDX-License-Identifier: BSD-3-Clause
"""Processes that look like applications with other releases of DPDK: see layouts_app.c."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from dpcap.capture.discovery import Application
from dpcap.capture.uprobe.layout import Port
from dpcap.capture.uprobe.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).with_name("layouts_app.c")
MBUF = Path(__file__).parents[2] / "shim" / "uprobe"


class Imitation:
    """A running one, and what it says of its ports."""

    def __init__(self, app: subprocess.Popen[str]) -> None:
        self._app = app
        self.process = Process(app.pid, "app")
        self.application = Application(app.pid, app.pid, "app", "rte", os.geteuid(), None, shim_loaded=False)
        self.ports: list[Port] = []
        assert app.stdout
        for port in range(2):
            rx, tx, *queues = (int(word, 16) for word in app.stdout.readline().split())
            self.ports.append(Port(port, rx, tx, tuple(queues[:2]), tuple(queues[2:])))

    def bursts(self, count: int) -> None:
        """Let so many bursts pass each queue."""
        assert self._app.stdin
        self._app.stdin.write("\n" * count)
        self._app.stdin.flush()


@contextlib.contextmanager
def imitation(
    folder: Path, layout: int, *options: str, strip: bool = False, debug: bool = False
) -> Iterator[Imitation]:
    """Build and run one; debug puts its symbols into app.debug."""
    program = folder / "app"
    flags = ("-O1", "-Wall", "-Wextra", "-Werror", f"-DLAYOUT={layout}", f"-I{MBUF}")
    subprocess.run(["gcc", *flags, *options, str(SOURCE), "-o", str(program)], check=True)
    if debug:
        subprocess.run(["objcopy", "--only-keep-debug", program, folder / "app.debug"], check=True)
    if strip:
        subprocess.run(["strip", program], check=True)
    app = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert app.stdin
    assert app.stdout
    try:
        made = Imitation(app)
        with made.process:
            yield made
    finally:
        app.stdin.close()
        app.wait()
        app.stdout.close()
