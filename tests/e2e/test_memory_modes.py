# SPDX-License-Identifier: BSD-3-Clause
"""Applications without hugepages, without shared files, without anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.captures import tcpdump_count
from support.command import run_dpcap
from support.hugepages import HugePages
from support.testpmd import Testpmd

if TYPE_CHECKING:
    from pathlib import Path

EXPRESSION = "ip6 and tcp"


def check(mix_pcap: Path, tmp_path: Path, *eal_args: str) -> None:
    out = tmp_path / "out.pcapng"
    with Testpmd([f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"], eal_args=eal_args) as app:
        app.start()
        done = run_dpcap("--pid", str(app.pid), "-i", "port0", "-c", "200", "-w", out, EXPRESSION)
        assert done.returncode == 0, done.stderr
        app.wait_forwarded(1000)
        assert app.quit() == 0, app.text
    assert tcpdump_count(out, EXPRESSION) == 200


@pytest.mark.parametrize(
    "eal_args",
    [
        ["--no-huge"],
        ["--no-huge", "--no-shconf"],
        ["--no-huge", "--no-telemetry"],
    ],
    ids=" ".join,
)
def test_without_hugepages(mix_pcap: Path, tmp_path: Path, eal_args: list[str]) -> None:
    check(mix_pcap, tmp_path, *eal_args)


def test_hugepages_in_memory(mix_pcap: Path, tmp_path: Path) -> None:
    with HugePages(64, mount=False) as pages:
        if "--in-memory" not in pages.eal_args:
            pytest.skip(pages.note)
        check(mix_pcap, tmp_path, *pages.eal_args)


def test_hugepages_without_shared_configuration(hugepages: HugePages, mix_pcap: Path, tmp_path: Path) -> None:
    check(mix_pcap, tmp_path, *hugepages.eal_args, "--no-shconf")
