# SPDX-License-Identifier: BSD-3-Clause
"""Captures by uprobes, from applications that have no shim."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from dpcap.capture.cli import main
from dpcap.capture.uprobe import features, ladder
from dpcap.capture.uprobe.process import Process
from support.captures import assert_whole, read_pcapng, tcpdump_count, tcpdump_filter
from support.command import Command, dpcap, dpcap_argv, run_dpcap
from support.testpmd import Testpmd, wait_until
from support.uprobes import assert_runs_of, needs_uprobes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages

GTPU = "udp port 2152"


@pytest.fixture(scope="module", autouse=True)
def _can() -> None:
    needs_uprobes()


@pytest.fixture(scope="module")
def bare(hugepages: HugePages, mix_pcap: Path) -> Iterator[Testpmd]:
    """Debian's testpmd as it is, which forwards the mixed traffic for ever."""
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, plugin=False) as app:
        app.start()
        yield app
        assert app.alive, app.text


def of(app: Testpmd, *arguments: str | Path) -> list[str | Path]:
    """Return dpcap's arguments for port 0 of this application."""
    return ["--pid", str(app.pid), "-i", "port0", *arguments]


def functions(app: Testpmd) -> list[tuple[int, bytes]]:
    """Return addresses and first bytes of the functions that receive and send."""
    with Process(app.pid, "testpmd") as process:
        ports = ladder.climb(process).table.ports(process)
        return [(address, process.read(address, 32)) for p in ports for address in (p.rx, p.tx)]


def test_a_thousand_packets_are_what_tcpdump_finds(bare: Testpmd, mix_pcap: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    done = run_dpcap(*of(bare, "-c", "1000", "-w", out, GTPU))
    assert done.returncode == 0, done.stderr
    assert "uprobes" in done.stderr.splitlines()[0]
    assert "1000 packets captured" in done.stderr
    assert tcpdump_count(out, "") == 1000 == tcpdump_count(out, GTPU)
    assert_whole(out)
    source = [p.data for p in tcpdump_filter(mix_pcap, GTPU, tmp_path / "source.pcap")]
    packets = read_pcapng(out)
    for direction in ("in", "out"):
        assert_runs_of([p.data for p in packets if p.direction == direction], source)
    assert [p.time for p in packets] == sorted(p.time for p in packets)


def test_without_links_for_many_places(
    bare: Testpmd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on kernels before 6.6."""
    monkeypatch.setattr(features, "has_multi_links", lambda _: False)
    original = functions(bare)
    out = tmp_path / "out.pcapng"
    assert main([*map(str, of(bare, "-c", "100", "-w", out, GTPU))]) == 0
    assert tcpdump_count(out, GTPU) == 100 == tcpdump_count(out, "")
    wait_until(lambda: functions(bare) == original, "the original code bytes")


def test_a_filter_that_the_kernel_does_not_take(bare: Testpmd, tmp_path: Path) -> None:
    """A long list has no room there: it is applied in dpcap, which says so."""
    out, words = tmp_path / "out.pcapng", tmp_path / "filter"
    others = [f"host 10.99.{i // 250}.{i % 250 + 1}" for i in range(3000)]
    words.write_text(" or ".join([*others, "udp port 2152"]))
    done = run_dpcap(*of(bare, "-c", "300", "-s", "60", "-w", out, "-F", words))
    assert done.returncode == 0, done.stderr
    assert "the kernel does not take this filter" in done.stderr
    assert tcpdump_count(out, GTPU) == 300 == tcpdump_count(out, "")
    assert max(len(p.data) for p in read_pcapng(out)) == 60


def test_the_list_says_uprobe(bare: Testpmd) -> None:
    done = run_dpcap("-D", "--pid", str(bare.pid))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("1.port0 [net_pcap0, ")
    assert line.endswith(" uprobe")


def test_two_captures_at_once(bare: Testpmd, tmp_path: Path) -> None:
    first, second = tmp_path / "first.pcapng", tmp_path / "second.pcapng"
    with (
        dpcap(*of(bare, "-w", first, "ip6")) as one,
        dpcap(*of(bare, "-c", "300", "-w", second, "arp or icmp")) as two,
    ):
        assert two.wait() == 0, two.stderr
        size = first.stat().st_size
        wait_until(lambda: first.stat().st_size > size, "the other capture goes on")
        assert one.end() == 0, one.stderr
    assert tcpdump_count(first, "not ip6") == 0 < tcpdump_count(first, "ip6")
    assert tcpdump_count(second, "arp or icmp") == 300 == tcpdump_count(second, "")


def test_kill_dpcap_at_any_moment(bare: Testpmd, tmp_path: Path) -> None:
    """Nothing of it stays: not in the application's code, and not in its way."""
    original = functions(bare)
    rng = random.Random(7)
    for round_ in range(8):
        with Command(dpcap_argv(*of(bare, "-w", tmp_path / "killed.pcapng"))) as capture:
            if round_ % 2:
                capture.wait_for("listening on")
                assert functions(bare) != original  # there is something to clean up
            else:
                # From before the interpreter runs to well into attaching.
                with pytest.raises(TimeoutError):
                    capture.wait_for("never said", patience=rng.uniform(0, 0.8))
            os.kill(capture.pid, signal.SIGKILL)
            capture.wait()
        wait_until(lambda: functions(bare) == original, "the original code bytes")
    bare.wait_forwarded(100_000)
    done = run_dpcap(*of(bare, "-c", "100", "-w", tmp_path / "out.pcapng", GTPU))
    assert done.returncode == 0, done.stderr


def test_the_application_dies(hugepages: HugePages, mix_pcap: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, plugin=False) as app:
        app.start()
        with dpcap(*of(app, "-w", out, GTPU)) as capture:
            wait_until(lambda: out.stat().st_size > 100_000, "packets in the file")
            app.kill()
            assert capture.wait() == 0, capture.stderr
    assert f"dpdk-testpmd (pid {app.pid}) has ended" in capture.stderr
    assert_whole(out)
    assert tcpdump_count(out, GTPU) == tcpdump_count(out, "") > 0


def test_a_port_that_stops_and_starts(bare: Testpmd, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with dpcap(*of(bare, "-w", out, "arp")) as capture:
        wait_until(lambda: out.stat().st_size > 10_000, "packets in the file")
        bare.stop()
        bare.command("port stop 0")
        assert "Done" in bare.command("port start 0")
        bare.start()
        size = out.stat().st_size
        wait_until(lambda: out.stat().st_size > size + 10_000, "packets after the restart")
        assert capture.end() == 0, capture.stderr
    assert_whole(out)


def test_a_port_that_starts_later(hugepages: HugePages, mix_pcap: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, plugin=False) as app:
        app.command("port stop 0")
        assert "stopped" in run_dpcap("-D", "--pid", str(app.pid)).stdout
        with dpcap(*of(app, "-c", "100", "-w", out, GTPU)) as capture:
            app.command("port start 0")
            app.start()
            assert capture.wait() == 0, capture.stderr
    assert tcpdump_count(out, GTPU) == 100
