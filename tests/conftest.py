# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of every test folder."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import traffic

from support import leaks
from support.hugepages import HugePages
from support.testpmd import NATIVE, PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["pytester"]  # runs of pytest inside of tests/filters/testing


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    leaks.mark()
    yield
    left = leaks.left_behind()
    assert not left, "this test run left behind:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def needs_testpmd() -> None:
    """Skip where no application with a shim can be started."""
    if not shutil.which("dpdk-testpmd") or not (NATIVE / PLUGIN).exists():
        pytest.skip("dpdk-testpmd or the shim is missing: ./dev build installs and builds them")


@pytest.fixture(scope="session")
def hugepages() -> Iterator[HugePages]:
    """Memory for four applications at once."""
    with HugePages(256) as pages:
        yield pages


@pytest.fixture(scope="session")
def mix_pcap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4096 packets of mixed traffic."""
    path = tmp_path_factory.mktemp("traffic") / "mix.pcap"
    traffic.write_pcap(path, traffic.mix())
    return path
