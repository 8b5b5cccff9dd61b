# SPDX-License-Identifier: BSD-3-Clause
"""Neither side's death harms the other: kill -9 of dpcap, kill -9 and exit of the application."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from support.captures import assert_whole, read_pcapng, tcpdump_count
from support.command import Command, dpcap, dpcap_argv, run_dpcap
from support.footprint import Footprint, is_captured
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.hugepages import HugePages

# Of attach, kill -9, attach. More: DPCAP_ROUNDS=100 ./dev test
ROUNDS = int(os.environ.get("DPCAP_ROUNDS", "20"))


def of(app: Testpmd, *arguments: str | Path) -> list[str | Path]:
    """Return dpcap's arguments for port 0 of this application."""
    return ["--pid", str(app.pid), "-i", "port0", *arguments]


def captures(app: Testpmd, out: Path) -> None:
    """Fail unless a capture works."""
    done = run_dpcap(*of(app, "-c", "100", "-w", out, "udp port 2152"))
    assert done.returncode == 0, done.stderr
    assert tcpdump_count(out, "udp port 2152") == 100


def test_kill_dpcap_at_any_moment(loop: Testpmd, tmp_path: Path) -> None:
    wait_until(lambda: not is_captured(loop.pid), "no capture left from before")
    rng = random.Random(7)
    for _ in range(10):
        # From before the interpreter runs to well into the capture.
        with Command(dpcap_argv(*of(loop, "-w", tmp_path / "killed.pcapng"))) as capture:
            time.sleep(rng.uniform(0, 0.4))  # a moment, not a wait
            capture.end(signal.SIGKILL)
        loop.wait_forwarded(10_000)
        wait_until(lambda: not is_captured(loop.pid), "the hooks are gone")
    captures(loop, tmp_path / "new.pcapng")


def test_rounds_of_attach_and_kill(loop: Testpmd, tmp_path: Path) -> None:
    def one_round() -> None:
        with dpcap(*of(loop, "-w", tmp_path / "killed.pcapng", "ip6")) as capture:
            capture.end(signal.SIGKILL)
        captures(loop, tmp_path / "new.pcapng")
        wait_until(lambda: not is_captured(loop.pid), "the hooks are gone")

    for _ in range(3):  # what is allocated once for good
        one_round()
    before = Footprint.of(loop.pid)
    for _ in range(ROUNDS):
        one_round()
    after = Footprint.of(loop.pid)
    assert (after.descriptors, after.threads) == (before.descriptors, before.threads)
    # malloc and the JIT may place things elsewhere; a leak would show in each round.
    assert after.mappings - before.mappings < max(4, ROUNDS // 4)
    assert after.resident_kb - before.resident_kb < max(1024, 8 * ROUNDS)
    loop.wait_forwarded(10_000)


def test_file_is_whole_when_the_application_is_killed(
    hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.pcapng"
    with Testpmd([f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"], eal_args=hugepages.eal_args) as app:
        app.start()
        with dpcap(*of(app, "-w", out, "udp port 2152")) as capture:
            wait_until(lambda: out.stat().st_size > 100_000, "packets in the file")
            app.kill(signal.SIGKILL)
            status = capture.wait()
    assert_whole(out)
    packets = read_pcapng(out)
    assert f"{len(packets)} packets captured" in capture.stderr
    assert tcpdump_count(out, "udp port 2152") == len(packets)
    assert "Traceback" not in capture.stderr
    assert status == 0, capture.stderr


def test_file_is_whole_when_the_application_quits(
    hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.pcapng"
    with (
        Testpmd([f"net_pcap0,rx_pcap={mix_pcap}"], eal_args=hugepages.eal_args) as app,
        dpcap(*of(app, "-Q", "in", "-w", out)) as capture,
    ):
        app.start()
        wait_until(lambda: app.stats()["RX-packets"] == 4096, "the pcap replayed")
        assert app.quit() == 0, app.text
        assert capture.wait() == 0, capture.stderr
    assert_whole(out)
    assert len(read_pcapng(out)) == 4096
