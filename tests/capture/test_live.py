# SPDX-License-Identifier: BSD-3-Clause
"""The command on a real application: what is said and printed, and what a failure leaves alone."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from dpcap.capture import errors
from support.captures import assert_whole, read_pcapng
from support.command import dpcap, dpcap_argv
from support.testpmd import Testpmd, wait_until


@pytest.fixture(scope="module")
def app(hugepages, mix_pcap):
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1", "net_null1,size=90"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args) as app:
        app.start()
        yield app


def run(app, *arguments):
    argv = dpcap_argv("--pid", str(app.pid), *arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def test_first_and_last_lines_are_like_tcpdumps(app, tmp_path):
    done = run(app, "-c", "1", "-w", tmp_path / "x.pcapng")
    first, *last = done.stderr.splitlines()
    assert first == (
        "dpcap: listening on port0 (net_pcap0), link-type EN10MB (Ethernet), snapshot length 262144 bytes"
    )
    assert last[0] == "1 packet captured"
    assert re.fullmatch(r"\d+ packets? received by filter", last[1])
    assert re.fullmatch(r"\d+ packets? dropped by dpcap's ring", last[2])


def test_quiet(app):
    done = run(app, "--quiet", "-c", "1", "-w", "/dev/null")
    assert (done.returncode, done.stderr) == (0, "")


def test_text_of_all_ports_in_both_directions(app):
    done = run(app, "-i", "any", "-n", "-c", "3000", "udp or len = 90")
    assert done.returncode == 0, done.stderr
    seen = set(re.findall(r"^\d\d:\d\d:\d\d\.\d{6} (port[01]) (In |Out) ", done.stdout, re.MULTILINE))
    assert seen == {(port, direction) for port in ("port0", "port1") for direction in ("In ", "Out")}
    assert "port0 (net_pcap0), port1 (net_null1)" in done.stderr


def test_text_has_exactly_the_packets_asked_for(app):
    done = run(app, "-n", "-v", "-c", "25", "-#", "udp port 2152")
    numbers = re.findall(r"^ +(\d+)  \d\d:", done.stdout, re.MULTILINE)
    assert numbers == [str(n) for n in range(1, 26)]


def test_a_file_and_text_at_once(app, tmp_path):
    out = tmp_path / "x.pcapng"
    done = run(app, "-w", out, "--print", "-tt", "--nano", "-n", "-c", "500", "udp port 2152")
    assert done.returncode == 0, done.stderr
    assert_whole(out)
    printed = re.findall(r"^(\d+)\.(\d{9}) port0", done.stdout, re.MULTILINE)
    assert [int(s) * 10**9 + int(ns) for s, ns in printed] == [p.time for p in read_pcapng(out)]


@pytest.mark.parametrize("arguments", [["-w", "-", "--print"], ["-w", "x", "-C", "1", "--print"]])
def test_a_file_and_text_that_do_not_go_together(app, arguments):
    done = run(app, *arguments)
    assert done.returncode == errors.UsageError.exit_code
    assert "--print" in done.stderr


def test_statistics_on_sigusr1(app, tmp_path):
    with dpcap("--pid", str(app.pid), "-w", tmp_path / "x", "udp port 2152") as capture:
        capture._process.send_signal(signal.SIGUSR1)
        capture.wait_for(
            r"dpcap: \d+ packets? captured, \d+ packets? received by filter, \d+ packets? dropped"
        )
        capture.wait_for(r"dpcap: filter form [\w-]+ on port0 In queue 0 \(cycles a packet: .*\)")
        assert capture.running
        assert capture.end() == 0


def test_verbose_tells_the_forms_of_the_filter(app, tmp_path):
    done = run(app, "-v", "-c", "20000", "-w", tmp_path / "x", "udp port 2152")
    lines = done.stderr.splitlines()[-2:]
    for line, direction in zip(lines, ("In", "Out"), strict=True):
        assert re.fullmatch(rf"dpcap: filter form [\w-]+ on port0 {direction} queue 0 \(cycles .*\)", line)
        assert {"branch-free", "branchy"} <= set(re.findall(r"([\w-]+) \d+\.\d", line))
    assert "filter form" not in run(app, "-c", "1", "-w", tmp_path / "x").stderr


@pytest.mark.parametrize("arguments", [["-i", "port9"], ["udp prt 1"], ["-i", "port0", "-F", "/nonexistent"]])
def test_what_cannot_start_leaves_the_file_alone(app, tmp_path, arguments):
    old = tmp_path / "old.pcapng"
    old.write_bytes(b"precious")
    assert run(app, "-w", old, *arguments).returncode != 0
    assert old.read_bytes() == b"precious"


def test_an_older_longer_file_is_cut(app, tmp_path):
    old = tmp_path / "old.pcapng"
    old.write_bytes(b"x" * 1_000_000)
    assert run(app, "-c", "10", "-w", old).returncode == 0
    assert_whole(old)
    assert len(read_pcapng(old)) == 10


def test_snaplen_and_direction(app, tmp_path):
    out = tmp_path / "x.pcapng"
    assert run(app, "-i", "port0", "-Q", "out", "-s", "64", "-c", "50", "-w", out).returncode == 0
    assert {(len(p.data), p.direction) for p in read_pcapng(out)} == {(64, "out")}


def test_interpreted_filters_find_the_same(app, tmp_path):
    out = tmp_path / "x.pcapng"
    assert run(app, "--engine", "interp", "-c", "100", "-w", out, "udp port 2152").returncode == 0
    assert len(read_pcapng(out)) == 100


def test_a_capture_ends_after_its_duration(app, tmp_path):
    out = tmp_path / "x.pcapng"
    done = run(app, "-a", "duration:1", "-w", out, "udp port 2152")
    assert done.returncode == 0
    times = [p.time for p in read_pcapng(out)]
    assert 0.5e9 < times[-1] - times[0] <= 1e9


def test_rotation_under_load(app, tmp_path):
    """Strictly by time, and nothing doubled: each file's packets are younger than those of the one before."""
    out = tmp_path / "%s.pcapng"
    with dpcap("--pid", str(app.pid), "-w", out, "-G", "1", "udp port 5060") as capture:
        wait_until(lambda: len(list(tmp_path.iterdir())) > 2, "the third file")
        assert capture.end() == 0
    last = 0
    total = 0
    for path in sorted(tmp_path.iterdir()):
        assert_whole(path)
        times = [p.time for p in read_pcapng(path)]
        assert times == sorted(times)
        assert times[0] >= last
        last = times[-1]
        total += len(times)
    assert f"{total} packets captured" in capture.stderr
