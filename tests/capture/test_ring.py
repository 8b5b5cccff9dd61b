# SPDX-License-Identifier: BSD-3-Clause
"""Rings through the drain into a file, as the readers of the world see it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import itertools
import os
import shutil
import subprocess
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcap.capture import pcapng, pcapng_read, ring
from dpcap.capture.ring import Drain, Limits
from support import captures
from support.ring_writer import RingWriter

if TYPE_CHECKING:
    from pathlib import Path

NO_LIMITS = Limits()
START = 1_700_000_000 * 10**9 + 123_456_789
SNAPLEN = 2000
INTERFACES = [
    pcapng.Interface("port0", "net_pcap0", bytes.fromhex("020000000001"), 10**10, "udp port 2152"),
    pcapng.Interface("port1", "0000:03:00.0"),
]


def needs(tool):
    return pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is not installed")


def frame(number: int, length: int) -> bytes:
    """A UDP packet in Ethernet whose payload tells its number."""
    payload = number.to_bytes(4, "big").ljust(length - 42, b"\xa5")
    ethernet = bytes.fromhex("020000000002 020000000001 0800")
    ip = (
        bytes.fromhex("4500")
        + (length - 14).to_bytes(2, "big")
        + bytes(4)
        + bytes.fromhex("4011 0000 0a000001 0a000002")
    )
    udp = bytes.fromhex("0868 0868") + (length - 34).to_bytes(2, "big") + bytes(2)
    return ethernet + ip + udp + payload


def header() -> bytes:
    blocks = [interface.block(SNAPLEN) for interface in INTERFACES]
    return pcapng.section(application="dpcap test") + b"".join(blocks)


def drain_to(path: Path, drain: Drain) -> int:
    """Write a whole file; every ring must be closed. Returns the number of packets."""
    with path.open("wb", buffering=0) as file:
        file.write(header())
        packets = 0
        while not drain.done():
            result = drain.write(file.fileno(), NO_LIMITS)
            assert not result.error
            packets += result.packets
    return packets


@contextlib.contextmanager
def rings(n, **params):
    """N writers, one a queue, and the drain that reads them."""
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                RingWriter(interface_id=i % 2, port=i % 2, queue=i, direction=1 + i % 2, **params)
            )
            for i in range(n)
        ]
        drain = Drain()
        stack.callback(drain.close)
        for writer in writers:
            drain.add(writer.fileno())
        yield writers, drain


@pytest.fixture
def capture(tmp_path):
    """A file of 300 packets from two ports and four queues, and what was put in: in order."""
    sent = []
    path = tmp_path / "capture.pcapng"
    with rings(4, snaplen=SNAPLEN, size=1 << 20) as (writers, drain):
        for number in range(300):
            packet = frame(number, 60 + number * 7 % 1440)
            ns = START + number * 1001
            writer = writers[number * 7 % 4]
            writer.begin()
            assert writer.add(
                ns, packet, wirelen=len(packet) + number % 3, rss=0xABCDEF01 if number % 2 else None
            )
            writer.publish(1)
            sent.append((ns, packet, len(packet) + number % 3, number * 7 % 4))
        for writer in writers:
            writer.close()
        assert drain_to(path, drain) == 300
    return path, sent


def test_our_reader(capture):
    path, sent = capture
    with path.open("rb") as stream:
        packets = list(pcapng_read.packets(stream))
    assert [(p.ns, p.data, p.origlen, p.queue) for p in packets] == sent
    assert [p.interface.name for p in packets] == [f"port{queue % 2}" for *_, queue in sent]
    assert [p.direction for p in packets] == [1 + queue % 2 for *_, queue in sent]
    assert {p.hash for p in packets} == {b"", b"\x05\xab\xcd\xef\x01"}


@needs("tshark")
def test_tshark(capture):
    path, sent = capture
    fields = (
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.interface_queue",
        "frame.len",
        "frame.cap_len",
    )
    rows = captures.tshark_fields(path, *fields)
    assert [row[1:] for row in rows] == [
        [f"port{queue % 2}", f"0x{1 + queue % 2:08x}", str(queue), str(wirelen), str(len(packet))]
        for _, packet, wirelen, queue in sent
    ]
    assert [int(row[0].replace(".", "")) for row in rows] == [ns for ns, *_ in sent]


@needs("tcpdump")
def test_tcpdump(capture, tmp_path):
    path, sent = capture
    packets = captures.tcpdump_filter(path, "udp port 2152", tmp_path / "out.pcap")
    assert [(p.time, p.data, p.wirelen) for p in packets] == [s[:3] for s in sent]


@needs("capinfos")
def test_capinfos(capture):
    path, _ = capture
    info = captures.capinfos(path)
    assert info["Number of packets"] == "300"
    assert info["Strict time order"] == "True"
    assert info["Number of interfaces in file"] == "2"


def test_scapy(capture):
    path, sent = capture
    packets = captures.read_pcapng(path)
    assert [(p.time, p.data, p.wirelen) for p in packets] == [s[:3] for s in sent]
    assert [(p.port, p.direction) for p in packets] == [
        (f"port{queue % 2}", ("in", "out")[queue % 2]) for *_, queue in sent
    ]


@needs("tshark")
def test_drop_count_reaches_tshark(tmp_path):
    path = tmp_path / "drops.pcapng"
    with rings(1, snaplen=SNAPLEN) as ((writer,), drain):
        while writer.put(START, frame(0, 1400)):
            pass
        assert not writer.put(START, frame(0, 1400))
        with path.open("wb", buffering=0) as file:
            file.write(header())
            before = drain.write(file.fileno(), NO_LIMITS).packets
            assert writer.put(START + 1, frame(1, 60))
            writer.close()
            drain.write(file.fileno(), NO_LIMITS)
        (stats,) = drain.stats()
    assert (stats.received, stats.accepted, stats.dropped) == (before + 3, before + 3, 2)
    assert stats.packets == before + 1
    rows = captures.tshark_fields(path, "frame.drop_count")
    assert rows == [[""]] * before + [["2"]]


@st.composite
def histories(draw):
    """Rings' packets: for each ring, times that never fall, and lengths."""
    n = draw(st.integers(1, 6))
    gaps = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 300)), max_size=60)
    history = []
    for _ in range(n):
        ns, packets = START, []
        for gap, length in draw(gaps):
            ns += gap
            packets.append((ns, length))
        history.append(packets)
    return history


@given(history=histories(), chunks=st.lists(st.integers(1, 40), min_size=1, max_size=20))
@settings(max_examples=int(os.environ.get("DPCAP_TEST_EXAMPLES", "100")), deadline=None)
def test_merge_is_sorted_and_complete(history, chunks):
    """Whatever is in the rings comes out once and in order, as many packets at a time as were asked for."""
    left = sum(map(len, history))
    stream, buffer = io.BytesIO(), bytearray(1 << 18)
    stream.write(header())
    with rings(len(history), snaplen=SNAPLEN) as (writers, drain):
        for writer, packets in zip(writers, history, strict=True):
            for number, (ns, length) in enumerate(packets):
                assert writer.put(ns, number.to_bytes(2, "big") + bytes(length))
            writer.close()
        for chunk in itertools.cycle(chunks):
            result = drain.read(buffer, Limits(max_packets=chunk))
            assert result.packets == min(chunk, left)
            stream.write(buffer[: result.bytes])
            left -= result.packets
            if not left:
                break
        assert drain.done()
    stream.seek(0)
    out = list(pcapng_read.packets(stream))
    assert all(a.ns <= b.ns for a, b in pairwise(out))
    for i, packets in enumerate(history):
        mine = [(p.ns, len(p.data) - 2) for p in out if p.queue == i]
        assert mine == packets
        assert [int.from_bytes(p.data[:2], "big") for p in out if p.queue == i] == list(range(len(packets)))


@given(history=histories(), cuts=st.lists(st.integers(START, START + 3000), max_size=5))
@settings(max_examples=int(os.environ.get("DPCAP_TEST_EXAMPLES", "100")), deadline=None)
def test_files_cut_by_time(history, cuts):
    """A run until some time gives exactly what is older: the seam of two files loses nothing."""
    times = sorted(ns for packets in history for ns, _ in packets)
    buffer = bytearray(1 << 18)
    with rings(len(history), snaplen=SNAPLEN) as (writers, drain):
        for writer, packets in zip(writers, history, strict=True):
            for ns, length in packets:
                assert writer.put(ns, bytes(length))
            writer.close()
        done = 0
        for until in sorted(cuts):
            result = drain.read(buffer, Limits(until_ns=until))
            done += result.packets
            assert done == sum(ns < until for ns in times)
            assert result.stop == (ring.TIME if done < len(times) else ring.IDLE)
        assert done + drain.read(buffer, NO_LIMITS).packets == len(times)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "dpcap-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full(small_disk):
    """The file can be cut to whole blocks, and when there is room again nothing is missing."""
    path = small_disk / "full.pcapng"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(20000))
    with rings(2, snaplen=SNAPLEN) as (writers, drain), path.open("wb", buffering=0) as file:
        for number in range(60):
            assert writers[number % 2].put(START + number, frame(number, 1000))
        for writer in writers:
            writer.close()
        file.write(header())
        size = len(header())
        packets = 0
        while not (result := drain.write(file.fileno(), NO_LIMITS)).error:
            size += result.bytes
            packets += result.packets
        assert result.error == errno.ENOSPC
        assert not result.packets
        assert os.fstat(file.fileno()).st_size == size + result.partial
        assert not drain.done()

        os.ftruncate(file.fileno(), size)
        drain.cut()
        with path.open("rb") as stream:
            assert len(list(pcapng_read.packets(stream))) == packets

        ballast.unlink()
        os.lseek(file.fileno(), 0, os.SEEK_END)
        assert drain.write(file.fileno(), NO_LIMITS).packets == 60 - packets
        assert drain.done()
    with path.open("rb") as stream:
        assert [p.ns - START for p in pcapng_read.packets(stream)] == list(range(60))


def test_reserve(tmp_path):
    """Room is there, the size is not changed, and packets go where they would have gone."""
    path = tmp_path / "reserved.pcapng"
    with rings(1, snaplen=SNAPLEN) as ((writer,), drain), path.open("wb", buffering=0) as file:
        file.write(header())
        try:
            Drain.reserve(file.fileno(), len(header()), 1 << 20)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                pytest.skip(f"the file system of {tmp_path} cannot reserve")
            raise
        assert path.stat().st_size == len(header())
        assert path.stat().st_blocks * 512 >= 1 << 20
        writer.put(START, frame(0, 100))
        writer.close()
        result = drain.write(file.fileno(), NO_LIMITS)
        file.truncate(len(header()) + result.bytes)
        assert path.stat().st_blocks * 512 < 1 << 19
    with path.open("rb") as stream:
        assert [p.ns for p in pcapng_read.packets(stream)] == [START]
    ends = os.pipe()
    with pytest.raises(OSError, match="Illegal seek"):
        Drain.reserve(ends[1], 0, 4096)
    for end in ends:
        os.close(end)


def test_not_a_ring(tmp_path):
    drain = Drain()
    path = tmp_path / "x"
    path.write_bytes(bytes(8192))
    with path.open("rb") as file, pytest.raises(PermissionError):
        drain.add(file.fileno())
    memfd = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, 1 << 17)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with pytest.raises(OSError, match="Protocol error"):
        drain.add(memfd)
    os.close(memfd)
    with pytest.raises(OSError, match="Invalid argument"):
        drain.end(0)
    assert drain.stats() == []
    drain.close()


def test_threads_run_while_writing():
    """A write that blocks holds up nobody else in Python."""
    reader, writer_fd = os.pipe()
    with rings(1, snaplen=SNAPLEN, size=1 << 20) as ((writer,), drain):
        for number in range(200):
            writer.put(START + number, frame(number, 1400))
        result = []
        thread = threading.Thread(target=lambda: result.append(drain.write(writer_fd, NO_LIMITS)))
        thread.start()
        data = b""
        while len(data) < 200 * 1452:  # more than a pipe holds: the other thread is in write(2) for long
            data += os.read(reader, 1 << 16)
        thread.join()
    os.close(reader)
    os.close(writer_fd)
    assert result[0].packets == 200
