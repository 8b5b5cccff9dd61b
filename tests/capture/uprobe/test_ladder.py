# SPDX-License-Identifier: BSD-3-Clause
"""Finding a driver's functions in processes that look like those of other releases of DPDK."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from dpcap.capture.uprobe import ladder
from dpcap.capture.uprobe.layout import Port
from dpcap.capture.uprobe.process import Process

SOURCE = Path(__file__).parents[2] / "support" / "layouts_app.c"


@contextlib.contextmanager
def imitation(folder, layout, *options, strip=False, debug=False):
    """A running process, and what it says of its ports."""
    program = folder / "app"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", f"-DLAYOUT={layout}", *options, SOURCE, "-o", program],
        check=True,
    )
    if debug:
        subprocess.run(["objcopy", "--only-keep-debug", program, folder / "app.debug"], check=True)
    if strip:
        subprocess.run(["strip", program], check=True)
    app = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ports = []
        for port in range(2):
            rx, tx, *queues = (int(word, 16) for word in app.stdout.readline().split())
            ports.append(Port(port, rx, tx, tuple(queues[:2]), tuple(queues[2:])))
        with Process(app.pid, "app") as process:
            yield process, ports
    finally:
        app.stdin.close()
        app.wait()
        app.stdout.close()


@pytest.mark.parametrize("layout", [2111, 2311])
@pytest.mark.parametrize(
    ("options", "strip", "rung"),
    [
        ((), False, "symtab"),
        (("-no-pie",), False, "symtab"),
        (("-rdynamic",), True, "dynsym"),
        ((), True, "signature"),
        (("-no-pie",), True, "signature"),
    ],
    ids=["symbols", "no PIE", "dynamic symbols", "stripped", "stripped, no PIE"],
)
def test_arrays_of_functions(tmp_path, layout, options, strip, rung):
    with imitation(tmp_path, layout, *options, strip=strip) as (process, ports):
        found = ladder.climb(process)
        assert found.rung == rung
        assert found.table.ports(process) == ports


@pytest.mark.parametrize("options", [(), ("-rdynamic",)])
def test_devices_of_old_releases(tmp_path, options):
    with imitation(tmp_path, 2011, *options) as (process, ports):
        found = ladder.climb(process)
        assert found.table.description == "rte_eth_devices (DPDK up to 20.11)"
        assert found.table.ports(process) == ports


def test_symbols_in_a_debug_file(tmp_path, monkeypatch):
    options = ("-Wl,--build-id",)
    with imitation(tmp_path, 2111, *options, strip=True, debug=True) as (process, ports):
        monkeypatch.setattr(ladder, "debug_file", lambda *_: str(tmp_path / "app.debug"))
        monkeypatch.delitem(ladder.RUNGS, "signature")
        found = ladder.climb(process)
        assert found.rung == "debug file"
        assert found.table.ports(process) == ports


def test_a_process_that_is_no_application():
    with subprocess.Popen(["sleep", "60"]) as sleep:
        try:
            with Process(sleep.pid, "sleep") as process, pytest.raises(ladder.NotFoundError, match="sleep: "):
                ladder.climb(process)
        finally:
            sleep.kill()
