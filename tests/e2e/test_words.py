# SPDX-License-Identifier: BSD-3-Clause
"""What cannot be captured is told in one line, with the remedy."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from dpcap.capture.errors import AccessError
from support.command import PATIENCE, dpcap_argv, run_dpcap
from support.testpmd import Testpmd

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def without_shim() -> Iterator[Testpmd]:
    with Testpmd(["net_null0"], plugin=False) as app:
        yield app


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of a failed command's standard error."""
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("dpcap: ")
    return line


def test_no_shim_in_the_application(without_shim: Testpmd) -> None:
    one = ("--pid", str(without_shim.pid), "-i", "port0", "-c", "1")
    line = one_line(run_dpcap("--source", "shim", *one))
    assert f"pid {without_shim.pid}" in line
    assert "shim" in line
    assert "-d" in line


@pytest.mark.usefixtures("as_root")
def test_a_privilege_is_missing(without_shim: Testpmd) -> None:
    argv = dpcap_argv("--pid", str(without_shim.pid), "-i", "port0", "-c", "1")
    without = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", *argv]
    done = subprocess.run(without, capture_output=True, text=True, check=False, timeout=PATIENCE)
    line = one_line(done)
    assert "CAP_SYS_ADMIN" in line
    assert done.returncode == AccessError.exit_code


def test_an_application_without_shim_is_listed(without_shim: Testpmd) -> None:
    done = run_dpcap("-D")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if str(without_shim.pid) in line)
    assert "no shim" in line or line.endswith(" uprobe")


def test_not_a_dpdk_process() -> None:
    assert "pid 1" in one_line(run_dpcap("--pid", "1", "-i", "port0", "-c", "1"))


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("arguments", [["-D"], ["-i", "port0", "-c", "1"]], ids=" ".join)
def test_no_application_at_all(arguments: list[str]) -> None:
    """In namespaces of its own dpcap sees no other process."""
    alone = ["unshare", "--pid", "--fork", "--net", "--mount-proc", *dpcap_argv(*arguments)]
    done = subprocess.run(alone, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert "no DPDK application" in one_line(done)
