# SPDX-License-Identifier: BSD-3-Clause
"""Finding a driver's functions in processes that look like those of other releases of DPDK."""

from __future__ import annotations

import subprocess

import pytest

from dpcap.capture.uprobe import ladder
from dpcap.capture.uprobe.process import Process
from support.imitation import imitation


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
    with imitation(tmp_path, layout, *options, strip=strip) as app:
        found = ladder.climb(app.process)
        assert found.rung == rung
        assert found.table.ports(app.process) == app.ports


@pytest.mark.parametrize("options", [(), ("-rdynamic",)])
def test_devices_of_old_releases(tmp_path, options):
    with imitation(tmp_path, 2011, *options) as app:
        found = ladder.climb(app.process)
        assert found.table.description == "rte_eth_devices (DPDK up to 20.11)"
        assert found.table.ports(app.process) == app.ports


def test_symbols_in_a_debug_file(tmp_path, monkeypatch):
    options = ("-Wl,--build-id",)
    with imitation(tmp_path, 2111, *options, strip=True, debug=True) as app:
        monkeypatch.setattr(ladder, "debug_file", lambda *_: str(tmp_path / "app.debug"))
        monkeypatch.delitem(ladder.RUNGS, "signature")
        found = ladder.climb(app.process)
        assert found.rung == "debug file"
        assert found.table.ports(app.process) == app.ports


def test_a_process_that_is_no_application():
    with subprocess.Popen(["sleep", "60"]) as sleep:
        try:
            with Process(sleep.pid, "sleep") as process, pytest.raises(ladder.NotFoundError, match="sleep: "):
                ladder.climb(process)
        finally:
            sleep.kill()
