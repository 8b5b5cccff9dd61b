# SPDX-License-Identifier: BSD-3-Clause
"""Captures in several files: nothing is lost or doubled where one ends and the next begins."""

from __future__ import annotations

import gzip
import re
import time
from pathlib import Path

import pytest

from dpcap.capture import arguments
from dpcap.capture.errors import UsageError
from dpcap.capture.file_options import file_options
from dpcap.capture.sinks.rotation import RotatingSink, Rotation
from support.captures import assert_whole
from support.rings import MB, Running, numbers
from support.testpmd import wait_until

BLOCK = 152  # bytes of a packet of 100


def options(line):
    return file_options(arguments.parse(line.split()))


def rotating(path, line):
    return Running(path, sink=RotatingSink(str(path), options(f"-w {path} {line}").rotation))


def files(folder):
    return sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))


def run(producer, running, packets):
    producer.attach(running.session, (0, 1, 4 * MB))
    producer.tell(f"packets 0 {packets} 100")
    producer.tell("close 0")
    producer.tell("hangup")
    running.start()
    running.wait()


def test_by_size_as_tcpdump_names_them(producer, tmp_path):
    run(producer, rotating(tmp_path / "x.pcapng", "-C 100k"), 3000)
    found = files(tmp_path)
    assert [path.name for path in found] == ["x.pcapng", *(f"x.pcapng{n}" for n in range(1, len(found)))]
    assert len(found) == 5
    for path in found:
        assert_whole(path)
        assert path.stat().st_size < 102_400 + BLOCK + 200  # one packet more, and the statistics
    assert numbers(*found) == list(range(3000))


def test_a_ring_of_files_overwrites_the_oldest(producer, tmp_path):
    run(producer, rotating(tmp_path / "x", "-C 100k -W 11"), 15 * 680)
    assert [path.name for path in files(tmp_path)] == [f"x{n:02}" for n in range(11)]
    in_order = sorted(files(tmp_path), key=lambda path: numbers(path)[0])
    got = numbers(*in_order)
    assert got == list(range(got[0], 15 * 680))
    assert got[0] > 0
    assert in_order[0].name != "x00"  # that one has been overwritten


def test_dumpcaps_ring_keeps_the_newest(producer, tmp_path):
    run(producer, rotating(tmp_path / "x.pcapng", "-b packets:100 -b files:3"), 1000)
    found = files(tmp_path)
    assert [re.sub(r"\d{14}", "TIME", path.name) for path in found] == [
        f"x_{n:05}_TIME.pcapng" for n in (8, 9, 10)
    ]
    assert [numbers(path)[0] for path in found] == [700, 800, 900]


def test_the_end_after_so_many_files(producer, tmp_path):
    running = rotating(tmp_path / "x", "-b packets:100 -a files:3")
    run(producer, running, 1000)
    assert numbers(*files(tmp_path)) == list(range(300))
    assert running.session.captured == 300


def test_the_end_at_a_size(producer, tmp_path):
    run(producer, rotating(tmp_path / "x", "-a filesize:50"), 1000)
    [path] = files(tmp_path)
    assert_whole(path)
    assert 50_000 - BLOCK < path.stat().st_size < 50_000 + BLOCK + 200


def test_by_time_each_packet_is_in_the_file_of_its_second(producer, tmp_path):
    path = tmp_path / "%s.pcapng"  # the second since 1970, as strftime(3) has it
    running = Running(path, sink=RotatingSink(str(path), options(f"-w {path} -G 1").rotation))
    producer.attach(running.session)
    running.start()
    for n in range(4):
        wait_until(lambda n=n: len(files(tmp_path)) > n, "the next file")
        producer.tell("packets 0 50 100")
    running.end()
    found = files(tmp_path)
    assert numbers(*found) == list(range(200))
    begins = [int(each.stem) for each in found]
    assert begins == list(range(begins[0], begins[0] + len(begins)))
    for each in found:
        assert_whole(each)


def test_the_end_after_so_many_intervals(producer, tmp_path):
    """Even though not one packet comes."""
    path = tmp_path / "%s"
    running = Running(path, sink=RotatingSink(str(path), options(f"-w {path} -G 1 -W 2").rotation))
    producer.attach(running.session)
    running.start()
    running.wait()
    assert len(files(tmp_path)) == 2


def test_files_at_multiples_of_an_interval(tmp_path):
    sink = RotatingSink(str(tmp_path / "x"), options(f"-w {tmp_path}/x -b interval:3600").rotation)
    assert sink._begin_ns % (3600 * 10**9) == 0
    assert 0 < sink._end_ns() - time.time_ns() <= 3600 * 10**9
    sink.discard()
    assert files(tmp_path) == []


def test_a_command_on_each_complete_file(producer, tmp_path):
    run(producer, rotating(tmp_path / "x", "-C 100k -z gzip"), 2000)
    wait_until(lambda: [p.name for p in files(tmp_path)] == ["x2", "x.gz", "x1.gz"], "gzip's end")
    assert numbers(tmp_path / "x2")[-1] == 1999  # the last file is left as it is, as tcpdump does
    with gzip.open(tmp_path / "x.gz") as file:
        (tmp_path / "x").write_bytes(file.read())
    assert numbers(tmp_path / "x")[0] == 0
    assert_whole(tmp_path / "x")


def test_a_command_that_is_not_there_harms_nothing(producer, tmp_path, capfd):
    run(producer, rotating(tmp_path / "x", "-C 100k -z no-such-command"), 2000)
    assert numbers(*files(tmp_path)) == list(range(2000))
    wait_until(lambda: "no-such-command" in capfd.readouterr().err, "what nice says")


def test_the_end_after_a_time(producer, tmp_path):
    """-a duration: what is younger stays out."""
    now = time.time_ns()
    running = Running(tmp_path / "x", until_ns=now + 300_000_000)
    producer.attach(running.session)
    producer.tell("packets 0 10 100")
    running.start().wait()
    assert time.time_ns() > now + 300_000_000
    assert numbers(tmp_path / "x") == list(range(10))


@pytest.mark.parametrize(
    ("line", "rotation"),
    [
        ("-w x", None),
        ("-w x -C 1", Rotation(max_bytes=1_000_000)),
        ("-w x -C 1m -W 5", Rotation(max_bytes=1 << 20, files=5)),
        ("-w x -G 5 -W 3", Rotation(seconds=5, stop_files=3)),
        ("-w x -G 5 -C 2g -W 3 -z gzip", Rotation(2 << 30, seconds=5, files=3, command="gzip")),
        ("-w x -b filesize:10 -b files:2", Rotation(10_000, files=2, numbered=True)),
        ("-w x -b duration:7", Rotation(seconds=7, numbered=True)),
        ("-w x -a filesize:10", Rotation(10_000, stop_files=1)),
        ("-w x -a duration:10", None),
    ],
)
def test_options_of_both_families(line, rotation):
    assert options(line).rotation == rotation


def test_limits_that_need_no_file():
    assert options("-a duration:5 -a packets:9")[1:] == (5, 9)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-C 1", "name one with -w"),
        ("-b duration:5", "name one with -w"),
        ("-a filesize:5", "name one with -w"),
        ("-w x -W 5", "goes with -C or -G"),
        ("-w x -z gzip", "goes with -C or -G"),
        ("-w x -C 1 -b files:2", "two ways to say the same"),
        ("-w x -b files:2", "needs to know when"),
        ("-w x -a files:2", "needs to know when"),
        ("-w x -b filesize:1 -a filesize:2", "use one of them"),
        ("-w x -b duration:1 -b interval:2", "use one of them"),
        ("-w x -b weight:2", "invalid -b weight:2"),
        ("-w x -a duration:0", "invalid -a duration:0"),
        ("-w x -C 0", "invalid file size 0"),
        ("-w x -C 5t", "invalid file size 5t"),
        ("-w x -G 0", "invalid number of seconds 0"),
    ],
)
def test_what_makes_no_sense(line, said):
    with pytest.raises(UsageError, match=said):
        options(line)


def test_standard_output_is_one_file():
    with pytest.raises(UsageError, match="needs a name"):
        RotatingSink("-", Rotation(1))


def test_nothing_is_left_open(producer, tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    sink = rotating(tmp_path / "x", "-C 100k")
    run(producer, sink, 3000)
    producer.connection.close()
    assert len(list(Path("/proc/self/fd").iterdir())) < before
