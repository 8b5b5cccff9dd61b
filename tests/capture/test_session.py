# SPDX-License-Identifier: BSD-3-Clause
"""The capture loop on real rings: written by another process through shim/ring, without an application."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys

import pytest

from dpcap.capture import protocol
from dpcap.capture.errors import DpcapError, OutputError
from support.captures import ISB, assert_whole, blocks, drop_counts, last_statistics
from support.rings import HEADER, MB, Running, attach, numbers
from support.testpmd import wait_until


def test_packets_of_several_rings_in_order_of_time(producer, running):
    producer.attach(running.session, (0, 1, MB), (1, 1, MB), (0, 2, MB))
    running.start()
    for burst in range(60):
        producer.tell(f"packets {burst % 3} 32 100")
    for ring in range(3):
        producer.tell(f"close {ring}")
    running.end()
    assert_whole(running.path)
    assert numbers(running.path) == list(range(60 * 32))
    assert running.session.totals() == (1920, 1920, 0)


def test_exactly_as_many_as_asked_for(producer, tmp_path):
    running = Running(tmp_path / "out.pcapng", count=77)
    producer.attach(running.session)
    running.start()
    producer.tell("packets 0 1000 64")
    running.wait()
    assert numbers(running.path) == list(range(77))
    assert running.session.totals() == (77, 77, 0)


def test_what_was_captured_before_the_end_is_written(producer, running):
    """More than one run carries, published before the signal."""
    producer.attach(running.session, (0, 1, 64 * MB))
    n = producer.tell("packets 0 500000 64") or 500_000
    producer.tell("close 0")
    running.stop.asked = True
    running.start().wait()
    assert running.session.totals() == (n, n, 0)


def test_a_killed_application_leaves_a_whole_file(producer, running):
    producer.attach(running.session, (0, 1, 8 * MB), (0, 2, 8 * MB))
    producer.tell("packets 0 10000 64")
    producer.tell("packets 1 10000 64")
    producer.kill()
    running.start().wait()
    assert_whole(running.path)
    assert numbers(running.path) == list(range(20_000))
    assert running.session.ended == ["producer"]


def test_an_application_that_hangs_does_not_hold_the_end_up(producer, running):
    """It is asked to let go of its rings and never does."""
    producer.attach(running.session)
    producer.tell("packets 0 10 64")
    running.start().end()
    assert numbers(running.path) == list(range(10))


def test_a_queue_that_appears_while_it_runs(producer, running):
    producer.attach(running.session)
    running.start()
    producer.tell("packets 0 10 64")
    producer.tell(f"ring 7 1 {MB}")
    producer.tell("packets 1 10 64")
    wait_until(lambda: running.session.captured == 20, "packets of the new ring")
    running.end()
    assert numbers(running.path) == list(range(20))


def test_drops_are_counted(producer, running):
    producer.attach(running.session, (0, 1, 65536))
    written = producer.tell("flood 0 1000")
    producer.tell("packets 0 5 1000")  # the ring is still full
    producer.tell("close 0")
    running.start().end()
    assert running.session.totals() == (written, written + 6, 6)


def test_drops_are_those_up_to_the_last_packet_asked_for(producer, tmp_path):
    """What finds the ring full later was not wanted any more; what was lost before is counted."""
    producer.tell("ring 0 1 65536")
    written = producer.tell("flood 0 1000")
    producer.tell("packets 0 5 1000")  # lost, with the one that ended the flood
    running = Running(tmp_path / "out.pcapng", count=written + 3)
    producer.tell("end")
    attach(running.session, producer.connection)
    running.start()
    wait_until(lambda: running.session.captured == written, "room in the ring")
    producer.tell("flood 0 1000")  # three of them are still wanted
    running.wait()
    assert running.session.totals() == (written + 3, written + 3 + 6, 6)
    assert drop_counts(running.path) == (6, 6)
    _, accepted, dropped, stored = last_statistics(running.path)
    assert (accepted, dropped, stored) == (written + 9, 6, written + 3)


@pytest.mark.parametrize("size", [100_000, 100_001, 100_002])
def test_a_full_disk_keeps_what_was_written_whole(producer, running, size):
    """The limit of a file's size cuts a write anywhere, as a full disk does."""
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    producer.attach(running.session)
    producer.tell("packets 0 500 333")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))  # Python ignores SIGXFSZ
    try:
        running.start()
        running._thread.join(60)
        assert isinstance(running.error, OutputError)
        assert "File too large" in str(running.error)
        running.sink._trailer = lambda: bytes(1000)
        with pytest.raises(OutputError):  # no room for statistics either
            running.sink.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
    got = numbers(running.path)
    assert got == list(range(len(got)))
    assert size - 400 < running.path.stat().st_size <= size


def test_a_pipe_is_written_whole_and_its_readers_end_is_seen(producer, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    running = Running(fifo)
    producer.attach(running.session)
    running.start()
    producer.tell("packets 0 5000 100")
    received = bytearray()
    while len(received) < len(HEADER) + 5000 * 152:
        received += os.read(reader, 1000)  # much less at once than the pipe holds
    assert received[-4:] == struct.pack("=I", 152)
    os.close(reader)
    running._thread.join(60)  # without a packet that could not be written
    assert not running._thread.is_alive()
    assert running.error is None


def test_a_reader_that_does_not_read_cannot_hold_the_end_up(producer, tmp_path):
    """As Wireshark's dumpcap between its last packet and the end of the program behind the pipe."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    running = Running(fifo)
    producer.attach(running.session)
    running.start()
    producer.tell("packets 0 5000 100")
    running.end()
    assert running.error is None
    os.close(reader)


def test_a_queue_that_appears_during_the_attach(producer, running):
    producer.tell(f"ring 0 1 {MB}")
    producer.tell("end")
    producer.tell(f"ring 1 1 {MB}")
    attach(running.session, producer.connection)
    producer.tell("packets 1 10 64")
    running.start().end()
    assert running.session.totals().captured == 10


def test_something_that_is_no_ring_is_refused(producer, running):
    producer.connection._early.append((protocol.Ring(0, 3, 1, 0, 0), os.memfd_create("no ring")))
    with pytest.raises(DpcapError, match="cannot read port0 queue 3"):
        producer.attach(running.session)


def test_waiting_ends_when_something_comes(producer, running):
    producer.attach(running.session)
    drain = running.session._drain
    assert not drain.wait(1_000, 3)
    producer.tell("packets 0 1 64")
    assert drain.wait(1_000, 3)


def test_the_second_signal_ends_at_once():
    """As when the sink is a pipe that nobody reads from."""
    code = (
        "import os, signal, time\n"
        "from dpcap.capture.session import Stop\n"
        "with Stop() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(stop.asked, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True\n", -15)


def test_nohup_is_respected():
    code = "from dpcap.capture.session import *\nwith Stop(): print(signal.getsignal(signal.SIGHUP).name)"
    done = subprocess.run(["nohup", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "SIG_IGN\n"


def test_statistics_come_while_it_runs(producer, running):
    """A file whose end is lost tells how many packets were dropped before."""
    producer.attach(running.session)
    running.session.statistics_blocks = running.trailer
    running.session._statistics_due = 0.0
    producer.tell("packets 0 10 64")
    running.start()
    wait_until(lambda: running.session.captured == 10, "packets")
    running.end()
    kinds = [kind for kind, _ in blocks(running.path)]
    assert kinds.count(ISB) == 2
    assert kinds[-1] == ISB
    assert_whole(running.path)
