# SPDX-License-Identifier: BSD-3-Clause
"""Captures of an application under full load."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.captures import (
    assert_whole,
    capinfos,
    drop_counts,
    last_statistics,
    read_pcapng,
    tcpdump_count,
    tcpdump_filter,
    tshark_fields,
)
from support.command import Command, dpcap, dpcap_argv, run_dpcap
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from pathlib import Path

GTPU = "udp port 2152"


def of(app: Testpmd, *arguments: str | Path) -> list[str | Path]:
    """Return dpcap's arguments for port 0 of this application."""
    return ["--pid", str(app.pid), "-i", "port0", *arguments]


@pytest.fixture(scope="module")
def thousand(loop: Testpmd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand GTP-U packets."""
    path = tmp_path_factory.mktemp("loop") / "out.pcapng"
    done = run_dpcap(*of(loop, "-c", "1000", "-w", path, GTPU))
    assert done.returncode == 0, done.stderr
    assert "1000 packets captured" in done.stderr
    assert done.stdout == ""
    return path


def test_a_thousand_packets_all_matched(thousand: Path) -> None:
    assert tcpdump_count(thousand, "") == 1000
    assert tcpdump_count(thousand, GTPU) == 1000
    assert_whole(thousand)


def test_direction_port_and_queue_on_each(thousand: Path) -> None:
    fields = ("frame.packet_flags_direction", "frame.interface_name", "frame.interface_queue")
    rows = tshark_fields(thousand, *fields)
    assert len(rows) == 1000
    assert {row[0] for row in rows} == {"0x00000001", "0x00000002"}
    assert {(row[1], row[2]) for row in rows} == {("port0", "0")}


def test_all_readers_agree(thousand: Path, tmp_path: Path) -> None:
    by_scapy = read_pcapng(thousand)
    by_tcpdump = tcpdump_filter(thousand, "", tmp_path / "same.pcap")
    assert [(p.time, p.data, p.wirelen) for p in by_scapy] == [
        (p.time, p.data, p.wirelen) for p in by_tcpdump
    ]
    by_tshark = tshark_fields(thousand, "frame.time_epoch", "frame.cap_len", "frame.len")
    assert [
        [f"{p.time // 10**9}.{p.time % 10**9:09}", str(len(p.data)), str(p.wirelen)] for p in by_scapy
    ] == by_tshark
    about = capinfos(thousand)
    assert about["Number of packets"] == "1000"
    assert about["File timestamp precision"] == "nanoseconds (9)"
    assert about["Data size"] == f"{sum(p.wirelen for p in by_scapy)} bytes"
    assert about["Strict time order"] == "True"


def test_packets_are_those_of_the_source(thousand: Path, mix_pcap: Path, tmp_path: Path) -> None:
    source = {p.data for p in tcpdump_filter(mix_pcap, GTPU, tmp_path / "source.pcap")}
    assert {p.data for p in read_pcapng(thousand)} <= source


def test_two_captures_at_once(loop: Testpmd, tmp_path: Path) -> None:
    first, second = tmp_path / "first.pcapng", tmp_path / "second.pcapng"
    with (
        dpcap(*of(loop, "-w", first, "ip6")) as one,
        dpcap(*of(loop, "-c", "300", "-w", second, "arp or icmp")) as two,
    ):
        assert two.wait() == 0, two.stderr
        # The first goes on after the second has left.
        size = first.stat().st_size
        wait_until(lambda: first.stat().st_size > size, "the other capture goes on")
        assert one.end() == 0, one.stderr
    assert tcpdump_count(first, "not ip6") == 0
    assert tcpdump_count(first, "ip6") > 0
    assert tcpdump_count(second, "arp or icmp") == 300 == tcpdump_count(second, "")


def test_standard_output_holds_nothing_but_the_capture(loop: Testpmd, tmp_path: Path) -> None:
    with Command(dpcap_argv(*of(loop, "-c", "50", "-w", "-", GTPU))) as capture:
        assert capture.wait() == 0, capture.stderr
        path = tmp_path / "stdout.pcapng"
        path.write_bytes(capture.stdout)
    assert_whole(path)
    assert len(read_pcapng(path)) == 50


def test_a_reader_that_leaves_ends_the_capture(loop: Testpmd) -> None:
    read_end, write_end = os.pipe()
    with (
        Command(dpcap_argv(*of(loop, "-w", "-")), stdout=write_end) as capture,
        Command(["tcpdump", "-c", "10", "-r", "-"], stdin=read_end) as reader,
    ):
        os.close(read_end)
        os.close(write_end)
        assert reader.wait() == 0, reader.stderr
        assert len(reader.stdout.splitlines()) == 10
        assert capture.wait() == 0, capture.stderr
    assert "Traceback" not in capture.stderr


def test_text_is_what_tcpdump_prints(loop: Testpmd) -> None:
    done = run_dpcap(*of(loop, "-c", "20", GTPU))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 20
    for line in lines:
        assert "port0" in line
        assert " In " in line or " Out " in line or " in " in line or " out " in line
        assert "2152 > 10.200.0." in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_file_is_whole_after_a_signal(loop: Testpmd, tmp_path: Path, number: int) -> None:
    out = tmp_path / "out.pcapng"
    with dpcap(*of(loop, "-w", out)) as capture:
        wait_until(lambda: out.stat().st_size > 200_000, "packets in the file")
        assert capture.end(number) == 0, capture.stderr
    assert_whole(out)
    packets = read_pcapng(out)
    assert f"{len(packets)} packets captured" in capture.stderr
    # What the shim counted is what the file accounts for.
    assert len(packets) > 0


@pytest.mark.parametrize(("name", "ends"), [("INT", True), ("TERM", True), ("HUP", False)])
def test_signals_that_were_ignored_at_the_start(loop: Testpmd, tmp_path: Path, name: str, ends: bool) -> None:
    """As a script's shell starts what it puts behind an &, and nohup what is to outlive it."""
    out = tmp_path / "out.pcapng"
    script = f"trap '' {name}; exec {shlex.join(dpcap_argv(*of(loop, '-w', out)))}"
    with Command(["sh", "-c", script]) as capture:
        capture.wait_for("listening on")
        if not ends:
            os.kill(capture.pid, signal.Signals[f"SIG{name}"])
            size = out.stat().st_size
            wait_until(lambda: out.stat().st_size > size, "the capture goes on")
            name = "TERM"
        assert capture.end(signal.Signals[f"SIG{name}"]) == 0, capture.stderr
    assert_whole(out)


def test_drops_are_counted(loop: Testpmd, tmp_path: Path) -> None:
    """While dpcap stands still the rings run over: what is lost is said, and the application goes on."""
    out = tmp_path / "out.pcapng"
    with dpcap(*of(loop, "-w", out)) as capture:
        wait_until(lambda: out.stat().st_size > 100_000, "packets in the file")
        os.kill(capture.pid, signal.SIGSTOP)
        loop.wait_forwarded(1_000_000)
        os.kill(capture.pid, signal.SIGCONT)
        size = out.stat().st_size
        wait_until(lambda: out.stat().st_size > size + 10_000_000, "packets after the gap")
        assert capture.end() == 0, capture.stderr
    dropped = next(int(line.split()[0]) for line in capture.stderr.splitlines() if " dropped" in line)
    assert dropped > 0
    by_gaps, by_statistics = drop_counts(out)
    assert by_statistics == dropped
    assert 0 < by_gaps <= dropped  # after the last packet there may be one more gap


def test_counts_are_those_up_to_the_last_packet_asked_for(loop: Testpmd, tmp_path: Path) -> None:
    """The hooks see a few hundred thousand packets more until they are gone; nobody asked for them."""
    out = tmp_path / "out.pcapng"
    done = run_dpcap(*of(loop, "-c", "10", "-w", out))
    assert done.returncode == 0, done.stderr
    _, accepted, dropped, stored = last_statistics(out)
    assert drop_counts(out) == (dropped, dropped)
    assert stored == 10
    assert accepted == 10 + dropped
    words = ("captured", "received by filter", "dropped by dpcap's ring")
    expected = [
        f"{n} packet{'s' * (n != 1)} {w}" for n, w in zip((10, accepted, dropped), words, strict=True)
    ]
    assert done.stderr.splitlines()[-3:] == expected


def test_unwritable_path(loop: Testpmd, tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "out.pcapng", tmp_path):
        done = run_dpcap(*of(loop, "-w", path))
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert str(path) in done.stderr


@pytest.mark.usefixtures("as_root")
def test_disk_full(loop: Testpmd, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
    try:
        out = small / "out.pcapng"
        with Command(dpcap_argv(*of(loop, "-w", out))) as capture:
            assert capture.wait() != 0
        assert "No space left on device" in capture.stderr
        assert "Traceback" not in capture.stderr
        assert read_pcapng(out)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    loop.wait_forwarded(1000)
