# SPDX-License-Identifier: BSD-3-Clause
"""Rings of a real testpmd, read packet by packet."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import traffic

from support import shim_client
from support.captures import read_pcap
from support.shim_client import ACCEPT, IN, INTERP, JIT, OUT, REJECT, WHOLE, Client, connect, keep_if_byte
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.shim_client import Packet, Ring


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """Return a pcap of 2000 packets, and them."""
    path = tmp_path_factory.mktemp("frames") / "in.pcap"
    traffic.write_pcap(path, traffic.mix(2000))
    return path, [packet.data for packet in read_pcap(path)]


@pytest.fixture
def replay(frames: tuple[Path, list[bytes]], tmp_path: Path) -> Iterator[Testpmd]:
    """A testpmd that forwards the pcap once, when started, from port 0 to itself."""
    vdev = f"net_pcap0,rx_pcap={frames[0]},tx_pcap={tmp_path}/out.pcap"
    with Testpmd([vdev], app_args=("--no-flush-rx",)) as app:  # else testpmd drains the file before it starts
        yield app


@pytest.fixture(scope="module")
def forwarder(frames: tuple[Path, list[bytes]]) -> Iterator[Testpmd]:
    """A testpmd that forwards the same packets for ever, on two queues."""
    vdev = f"net_pcap0,{','.join([f'rx_pcap={frames[0]}'] * 2)},infinite_rx=1"
    with Testpmd([vdev], app_args=("--rxq=2", "--txq=2"), megabytes=128, mbufs=16384) as app:
        app.start()
        yield app


def drain(rings: list[Ring], packets: int) -> dict[tuple[int, int], list[Packet]]:
    """Read until the rings have given this many packets; by (queue, direction)."""
    found: dict[tuple[int, int], list[Packet]] = {(ring.queue, ring.direction): [] for ring in rings}

    def enough() -> bool:
        for ring in rings:
            found[ring.queue, ring.direction] += ring.read()
        return sum(map(len, found.values())) >= packets

    wait_until(enough, f"{packets} packets in the rings")
    return found


@pytest.mark.parametrize("engine", [JIT, INTERP])
@pytest.mark.parametrize("flags", [0, WHOLE])
def test_every_packet_of_a_file(replay, frames, engine, flags):
    with connect(replay) as client:
        rings = client.attach([0], ACCEPT, engine=engine, flags=flags)
        assert [(ring.port, ring.queue, ring.direction) for ring in rings] == [(0, 0, IN), (0, 0, OUT)]
        start = time.time_ns()
        replay.start()
        found = drain(rings, 2 * len(frames[1]))
        end = time.time_ns()
        replay.stop()
        for ring in rings:
            packets = found[0, ring.direction]
            assert [p.data for p in packets] == frames[1]
            assert {p.wirelen - len(p.data) for p in packets} == {0}
            assert {(p.direction, p.queue, p.interface) for p in packets} == {(ring.direction, 0, 10)}
            times = [p.time_ns for p in packets]
            assert times == sorted(times)
            assert start <= times[0] <= times[-1] <= end
            client.stats()  # brings the rings' counters up to date
            assert (ring.received, ring.accepted, ring.dropped) == (len(packets), len(packets), 0)


@pytest.mark.parametrize("engine", [JIT, INTERP])
@pytest.mark.parametrize("flags", [0, WHOLE])
def test_the_filter_decides(replay, frames, engine, flags):
    wanted = [frame for frame in frames[1] if frame[23] == 17]  # IPv4, UDP
    assert 0 < len(wanted) < len(frames[1])
    with connect(replay) as client:
        rings = client.attach([0], keep_if_byte(23, 17), engine=engine, flags=flags)
        replay.start()
        found = drain(rings, 2 * len(wanted))
        replay.stop()
        for ring in rings:
            assert [p.data for p in found[0, ring.direction]] == wanted
            client.stats()
            assert (ring.received, ring.accepted) == (len(frames[1]), len(wanted))


def test_lengths(replay, frames):
    """The smallest of snaplen and the filter's result is kept."""
    with connect(replay) as short, connect(replay) as shorter:
        rings = short.attach([0], keep_if_byte(23, 17, keep=1000), snaplen=100, directions=IN)
        rings += shorter.attach([0], keep_if_byte(23, 17, keep=61), snaplen=100, directions=IN)
        replay.start()
        wanted = [frame for frame in frames[1] if frame[23] == 17]
        for ring, keep in zip(rings, (100, 61), strict=True):
            found = drain([ring], len(wanted))[0, IN]
            assert [p.data for p in found] == [frame[:keep] for frame in wanted]
            assert [p.wirelen for p in found] == [len(frame) for frame in wanted]
        replay.stop()


@pytest.mark.parametrize("directions", [IN, OUT, IN | OUT])
def test_directions(forwarder, directions):
    with connect(forwarder) as client:
        rings = client.attach([0], directions=directions)
        wanted = [d for d in (IN, OUT) if directions & d]
        assert [(r.direction, r.queue) for r in rings] == [(d, q) for d in wanted for q in (0, 1)]
        drain(rings, 1000)


def test_reception_type(replay, frames):
    with connect(replay) as client:
        mac = client.ports()[0][4]
        rings = client.attach([0], directions=IN)
        replay.start()
        found = drain(rings, len(frames[1]))[0, IN]
        replay.stop()

    def expected(data: bytes) -> int:
        if data[0] & 1:
            return 3 if data[:6] == b"\xff" * 6 else 2
        return 1 if data[:6] == mac else 4

    assert {(p.flags >> 2 & 7) - expected(p.data) for p in found} == {0}


def test_sessions_do_not_see_each_other(replay, frames):
    with connect(replay) as udp, connect(replay) as tcp, connect(replay) as nothing:
        rings = [
            udp.attach([0], keep_if_byte(23, 17), directions=IN)[0],
            tcp.attach([0], keep_if_byte(23, 6), directions=IN, engine=INTERP)[0],
            nothing.attach([0], REJECT, directions=IN)[0],
        ]
        replay.start()
        for ring, protocol in zip(rings[:2], (17, 6), strict=True):
            wanted = [frame for frame in frames[1] if frame[23] == protocol]
            assert [p.data for p in drain([ring], len(wanted))[0, IN]] == wanted
        wait_until(lambda: rings[2].received == len(frames[1]), "the third session's count")
        replay.stop()
        assert rings[2].accepted == 0
        assert rings[2].read() == []


def test_a_full_ring_drops_and_counts(forwarder):
    with connect(forwarder) as client:
        ring = client.attach([0], directions=IN, ring_size=65536)[0]
        wait_until(lambda: ring.dropped > 0, "a full ring")
        packets = ring.read()
        assert packets
        packets += drain([ring], 1)[0, IN]
        gaps = [p.dropcount for p in packets]
        assert gaps[0] == 0
        assert max(gaps) > 0
        forwarder.stop()
        packets += ring.read()
        client.stats()
        assert ring.accepted == ring.received
        # Each drop is on the next block; those behind the last block are not.
        assert sum(p.dropcount for p in packets) <= ring.dropped
        assert len(packets) + ring.dropped == ring.accepted
        forwarder.start()


def test_ring_sizes(forwarder):
    with connect(forwarder) as client:
        (ring, *_) = client.attach([0], ring_size=100_000)
        assert ring.data_size == 131072
    with connect(forwarder) as client:
        (ring, *_) = client.attach([0])
        assert ring.data_size == 4 << 20


def test_detaching_closes_the_rings(forwarder):
    client = connect(forwarder)
    rings = client.attach([0])
    drain(rings, 100)
    client.socket.close()
    wait_until(lambda: all(ring.closed for ring in rings), "closed rings")
    received = [ring.received for ring in rings]
    forwarder.wait_forwarded(1000)
    assert [ring.received for ring in rings] == received
    client.close()


def test_attaching_again_and_again_while_forwarding(forwarder):
    def memory() -> Counter[str]:
        with open(f"/proc/{forwarder.pid}/maps") as maps:  # noqa: PTH123
            return Counter(line.split()[-1] for line in maps if "memfd" in line)

    before = memory()
    for _ in range(50):
        with connect(forwarder) as client:
            drain(client.attach([0], keep_if_byte(23, 17), ring_size=65536), 1)
    forwarder.wait_forwarded(1000)
    wait_until(lambda: memory() == before, "the memory of all rings given back")
    with connect(forwarder) as client:
        drain(client.attach([0]), 1000)


def test_a_session_attaches_once(forwarder):
    with connect(forwarder) as client:
        rings = client.attach([0])
        with pytest.raises(shim_client.ShimError, match="attached already"):
            client.attach([0])
        drain(rings, 100)


def test_no_such_port(forwarder):
    with connect(forwarder) as client:
        with pytest.raises(shim_client.ShimError, match="port 7: no such port"):
            client.attach([0, 7])
        drain(client.attach([0]), 100)


def test_ports(forwarder):
    with connect(forwarder) as client:
        (port,) = client.ports()
    number, rxq, txq, started, _mac, mtu, _speed, name, driver = port
    assert (number, rxq, txq, started, mtu, name, driver) == (0, 2, 2, 1, 1500, "net_pcap0", "net_pcap")


def test_info(forwarder):
    with connect(forwarder) as client:
        pid = int.from_bytes(client.info[16:20], "little")
        assert pid == forwarder.pid
        assert b"DPDK 22.11" in client.info
        assert b"dpdk-testpmd" in client.info
    assert isinstance(client, Client)
