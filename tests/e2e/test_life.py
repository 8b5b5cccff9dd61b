# SPDX-License-Identifier: BSD-3-Clause
"""What applications go through while dpcap looks: they are not harmed, and dpcap says what it met."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.captures import assert_whole, capinfos, read_pcap, read_pcapng, tcpdump_filter, tshark_fields
from support.command import Command, dpcap, dpcap_argv, run_dpcap
from support.footprint import is_captured
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.hugepages import HugePages


def of(app: Testpmd, *arguments: str | Path) -> list[str | Path]:
    """Return dpcap's arguments for port 0 of this application."""
    return ["--pid", str(app.pid), "-i", "port0", *arguments]


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of a failed command."""
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("dpcap: ")
    return line


@pytest.fixture
def stopped(loop: Testpmd) -> Iterator[Testpmd]:
    """An application that a debugger, or SIGSTOP, holds."""
    os.kill(loop.pid, signal.SIGSTOP)
    try:
        yield loop
    finally:
        os.kill(loop.pid, signal.SIGCONT)
        loop.wait_forwarded(1000)


def test_a_stopped_application_cannot_be_captured(stopped: Testpmd) -> None:
    line = one_line(run_dpcap(*of(stopped, "-c", "1", "-w", "/dev/null")))
    assert f"pid {stopped.pid}" in line
    assert "is the process stopped" in line


def test_a_stopped_application_is_listed(stopped: Testpmd) -> None:
    done = run_dpcap("-D")
    assert done.returncode == 0, done.stderr
    assert any(str(stopped.pid) in line for line in done.stdout.splitlines())


def test_the_application_is_stopped_before_the_capture_ends(loop: Testpmd, tmp_path: Path) -> None:
    """Its shim cannot let go of the rings; what they hold is written all the same."""
    out = tmp_path / "out.pcapng"
    with dpcap(*of(loop, "-w", out, "udp port 2152")) as capture:
        wait_until(lambda: out.stat().st_size > 100_000, "packets in the file")
        os.kill(loop.pid, signal.SIGSTOP)
        try:
            assert capture.end() == 0, capture.stderr
        finally:
            os.kill(loop.pid, signal.SIGCONT)
    assert_whole(out)
    assert f"{len(read_pcapng(out))} packets captured" in capture.stderr
    wait_until(lambda: not is_captured(loop.pid), "the hooks are gone")
    loop.wait_forwarded(1000)


def test_a_killed_capture_takes_nothing_from_the_others(
    hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    """Three captures of one queue, with filters and lengths of their own; one of them is killed."""
    wanted = {"udp": "61", "tcp or arp": "200"}
    outs = {expression: tmp_path / f"{length}.pcapng" for expression, length in wanted.items()}
    packets = len(read_pcap(mix_pcap))
    vdev = f"net_pcap0,rx_pcap={mix_pcap}"
    with Testpmd([vdev], eal_args=hugepages.eal_args) as app:
        captures = [
            dpcap(*of(app, "-Q", "in", "-s", length, "-w", outs[expression], expression))
            for expression, length in wanted.items()
        ]
        with captures[0], captures[1], dpcap(*of(app, "-w", tmp_path / "killed.pcapng")) as victim:
            app.start()
            victim.end(signal.SIGKILL)
            wait_until(lambda: app.stats()["RX-packets"] == packets, "the pcap replayed")
            for capture in captures:
                assert capture.end() == 0, capture.stderr
    for expression, length in wanted.items():
        expected = tcpdump_filter(mix_pcap, expression, tmp_path / "expected.pcap")
        assert [(p.data, p.wirelen) for p in read_pcapng(outs[expression])] == [
            (p.data[: int(length)], p.wirelen) for p in expected
        ]


def wait_for_more(out: Path) -> None:
    """Wait until packets were written."""
    goal = out.stat().st_size + 100_000
    wait_until(lambda: out.stat().st_size > goal, "more packets in the file")


def wait_for_rings(app: Testpmd, count: int) -> None:
    """Wait until an application has so many rings; each is mapped twice."""
    maps = Path(f"/proc/{app.pid}/maps")
    wait_until(lambda: maps.read_text().count("memfd:dpcap-ring") >= 2 * count, f"{count} rings")


def configure(app: Testpmd, queues: int) -> None:
    """Give the ports another number of queues, and forward."""
    app.command("stop")
    app.command("port stop all")
    app.command(f"port config all rxq {queues}")
    app.command(f"port config all txq {queues}")
    app.command("port start all")
    app.start()


def test_queues_come_and_go_under_a_capture(hugepages: HugePages, tmp_path: Path) -> None:
    """In the file they all are, and in strict order of time."""
    out = tmp_path / "out.pcapng"
    vdev = "net_null0,size=99,copy=1"
    with (
        Testpmd([vdev], eal_args=hugepages.eal_args, mbufs=16384, megabytes=96) as app,
        dpcap(*of(app, "-s", "64", "-w", out)) as capture,
    ):
        for queues in (1, 4, 2, 3):
            configure(app, queues)
            wait_for_rings(app, 2 * queues)
            wait_for_more(out)
        app.stop()
        assert capture.end() == 0, capture.stderr
    assert_whole(out)
    assert {row[0] for row in tshark_fields(out, "frame.interface_queue")} == {"0", "1", "2", "3"}
    assert capinfos(out)["Strict time order"] == "True"


def test_another_device_takes_the_port_s_number(hugepages: HugePages, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with (
        Testpmd(["net_null0,size=99,copy=1"], eal_args=hugepages.eal_args) as app,
        dpcap(*of(app, "-w", out)) as capture,
    ):
        for size in (99, 77, 55):
            app.start()
            wait_for_more(out)
            app.stop()
            if size > 55:
                app.command("port stop 0")
                app.command("port close 0")
                app.command(f"port attach net_null7{size},size={size - 22},copy=1")
                app.command("port stop 0")
                app.command("port start 0")
        assert capture.end() == 0, capture.stderr
    assert {p.wirelen for p in read_pcapng(out)} == {99, 77, 55}
    assert capinfos(out)["Strict time order"] == "True"


def test_a_secondary_process_is_captured_for_itself(hugepages: HugePages, tmp_path: Path) -> None:
    """Hooks are of a process: each shows what it polls itself."""
    if not any(argument.startswith("--huge-dir") for argument in hugepages.eal_args):
        pytest.skip("processes share memory in hugepages of a file system")
    shared = ("--rxq=2", "--txq=2", "--num-procs=2")
    vdev = "net_null0,size=99,copy=1"
    with Testpmd([vdev], eal_args=hugepages.eal_args, app_args=(*shared, "--proc-id=0")) as primary:
        eal_args = (*hugepages.eal_args, "--proc-type=secondary")
        with Testpmd(
            [], eal_args=eal_args, app_args=(*shared, "--proc-id=1"), prefix=primary.prefix
        ) as secondary:
            primary.start()
            secondary.start()
            for app, queue in ((primary, "0"), (secondary, "1")):
                out = tmp_path / f"{queue}.pcapng"
                done = run_dpcap(*of(app, "-c", "200", "-w", out))
                assert done.returncode == 0, done.stderr
                assert {row[0] for row in tshark_fields(out, "frame.interface_queue")} == {queue}
            assert secondary.quit() == 0
        primary.wait_forwarded(1000)


def test_an_application_without_descriptors(loop: Testpmd) -> None:
    """Whether the one for a ring, the one for the program or the one for the connection is missing."""
    limits = resource.prlimit(loop.pid, resource.RLIMIT_NOFILE)
    capture = of(loop, "-c", "1", "-w", "/dev/null")
    # How many there are is not known: threads that wait in accept(2) hold one that nobody sees.
    most = max(int(fd.name) for fd in Path(f"/proc/{loop.pid}/fd").iterdir()) + 10
    words = iter(["Too many open files", "Too many open files", "out of descriptors"])
    expected = next(words)
    try:
        for limit in range(most, 0, -1):
            resource.prlimit(loop.pid, resource.RLIMIT_NOFILE, (limit, limits[1]))
            done = run_dpcap(*capture)
            if done.returncode == 0:
                continue
            assert expected in one_line(done)
            if not (expected := next(words, "")):
                break
    finally:
        resource.prlimit(loop.pid, resource.RLIMIT_NOFILE, limits)
    loop.wait_forwarded(1000)
    assert run_dpcap(*capture).returncode == 0


def test_few_descriptors_for_dpcap(hugepages: HugePages, tmp_path: Path) -> None:
    """However many rings there are."""
    args = ("--rxq=32", "--txq=32", "--rxd=64", "--txd=64")
    with Testpmd(["net_null0"], eal_args=hugepages.eal_args, app_args=args, mbufs=16384, megabytes=96) as app:
        app.start()
        out = tmp_path / "out.pcapng"
        few = ["prlimit", "--nofile=24", *dpcap_argv(*of(app, "-s", "64", "-c", "10000", "-w", out))]
        done = subprocess.run(few, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
    assert len(read_pcapng(out)) == 10000


def test_a_limit_of_the_file_s_size(loop: Testpmd, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    limited = ["prlimit", "--fsize=100000", *dpcap_argv(*of(loop, "-w", out))]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 10
    (line,) = (line for line in done.stderr.splitlines() if "File too large" in line)
    assert str(out) in line
    assert "Traceback" not in done.stderr
    assert read_pcapng(out)
    loop.wait_forwarded(1000)


def test_a_reader_that_is_stuck(loop: Testpmd) -> None:
    """The pipe is full and nobody reads: packets are dropped, the application goes on, Ctrl-C ends it."""
    read_end, write_end = os.pipe()
    try:
        with Command(dpcap_argv(*of(loop, "-w", "-")), stdout=write_end) as capture:
            capture.wait_for("listening on")
            os.kill(capture.pid, signal.SIGUSR1)
            loop.wait_forwarded(1_000_000)
            assert capture.end() == 0, capture.stderr
    finally:
        os.close(read_end)
        os.close(write_end)
    dropped = int(re.findall(r"^(\d+) packets? dropped", capture.stderr, re.MULTILINE)[-1])
    assert dropped > 0
    loop.wait_forwarded(1000)


def test_the_command_s_children_see_nothing_of_the_capture(loop: Testpmd, tmp_path: Path) -> None:
    """Commands that dpcap runs on its files inherit neither rings nor the connection."""
    seen = tmp_path / "seen"
    command = tmp_path / "look"
    command.write_text(f"#!/bin/sh\nls -l /proc/self/fd > {seen}.new && mv {seen}.new {seen}\n")
    command.chmod(0o755)
    out = tmp_path / "out.pcapng"
    options = ("-C", "1", "-W", "2", "-z", str(command), "-w", out)
    with dpcap(*of(loop, *options)) as capture:
        wait_until(seen.exists, "the command ran")
        assert capture.end() == 0, capture.stderr
    targets = [line.split(" -> ")[1] for line in seen.read_text().splitlines() if " -> " in line]
    assert not [t for t in targets if "socket:" in t or "memfd" in t or str(out) in t], targets
