# SPDX-License-Identifier: BSD-3-Clause
"""Real applications for the end-to-end tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.testpmd import Testpmd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages


@pytest.fixture(scope="session", autouse=True)
def _needs_dpdk(needs_testpmd: None) -> None:
    """Every test here runs an application."""


@pytest.fixture
def as_root() -> None:
    """Network namespaces, mounts and hugepages need root."""
    if os.geteuid():
        pytest.skip("needs root")


@pytest.fixture(scope="module")
def loop(hugepages: HugePages, mix_pcap: Path) -> Iterator[Testpmd]:
    """An application that forwards the mixed traffic on port 0, as fast as it can, for ever."""
    with Testpmd([f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"], eal_args=hugepages.eal_args) as app:
        app.start()
        yield app
        assert app.alive, app.text
