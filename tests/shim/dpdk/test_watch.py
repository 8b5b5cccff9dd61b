# SPDX-License-Identifier: BSD-3-Clause
"""Sessions that count instead of capturing."""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING

import pytest
import traffic

from support.captures import read_pcap
from support.shim_client import (
    ACCEPT,
    COUNT,
    IN,
    OUT,
    WHOLE,
    SessionEndedError,
    ShimError,
    attach_message,
    connect,
    keep_if_byte,
    memfd,
)
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.shim_client import Counters, Table

QUEUES = 2
FRAMES = 2000


@pytest.fixture(scope="module")
def pcap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("watch") / "in.pcap"
    traffic.write_pcap(path, traffic.mix(FRAMES))
    return path


@pytest.fixture
def app(pcap: Path) -> Iterator[Testpmd]:
    """Forwards the same packets for ever, on two queues, once it is started."""
    vdev = f"net_pcap0,{','.join([f'rx_pcap={pcap}'] * QUEUES)},infinite_rx=1"
    options = (f"--rxq={QUEUES}", f"--txq={QUEUES}")
    with Testpmd([vdev], app_args=options, megabytes=128, mbufs=16384) as app:
        yield app
        assert app.quit() == 0


def total(table: Table, direction: int) -> dict[str, int]:
    """Return the sums over the queues."""
    mine = [c for c in table.read().values() if c.direction == direction]
    names = ("packets", "bytes", "matched", "matched_bytes")
    return {name: sum(getattr(c, name) for c in mine) for name in names}


def check(counters: Counters) -> None:
    """The histogram and the sums belong together."""
    least = sum(n << i for i, n in enumerate(counters.bursts))
    assert least <= counters.packets < 2 * least
    assert counters.missed == 0


def test_counts_are_those_of_the_application(app):
    with connect(app) as client:
        table = client.watch([0])
        assert set(table.read()) == {(0, q, d) for q in range(QUEUES) for d in (IN, OUT)}
        app.start()
        app.wait_forwarded(50_000)
        app.stop()
        stats = app.stats()
        for direction, name in ((IN, "RX"), (OUT, "TX")):
            sums = total(table, direction)
            assert sums["packets"] == stats[f"{name}-packets"]
            assert sums["bytes"] == stats[f"{name}-bytes"]
            assert sums["matched"] == 0
        for counters in table.read().values():
            check(counters)
            assert counters.packets > 0
            assert counters.empty_polls == 0  # the file never ends


def test_matches(app, pcap):
    """Of whole rounds through the file, exactly so many match as do in one."""
    matching = [p.data for p in read_pcap(pcap) if len(p.data) > 23 and p.data[23] == 17]
    with connect(app) as client, connect(app) as other:
        table = client.watch([0], keep_if_byte(23, 17))
        everything = other.watch([0], ACCEPT)
        app.start()
        app.wait_forwarded(50_000)
        app.stop()
        for counters in table.read().values():
            rounds, rest = divmod(counters.packets, FRAMES)
            assert rounds * len(matching) <= counters.matched <= rounds * len(matching) + rest
            if rest == 0:
                assert counters.matched_bytes == rounds * sum(map(len, matching))
        sums = total(everything, IN)
        assert (sums["matched"], sums["matched_bytes"]) == (sums["packets"], sums["bytes"])
        assert sums["packets"] == app.stats()["RX-packets"]


def test_empty_polls():
    """An application that polls a port where nothing comes in."""
    with (
        Testpmd(["net_ring0"], megabytes=96) as quiet,
        connect(quiet) as client,
    ):
        table = client.watch([0])
        quiet.start()
        wait_until(lambda: table.read()[0, 0, IN].empty_polls > 1000, "empty polls")
        quiet.stop()
        assert table.read()[0, 0, IN].packets == 0
        assert table.read()[0, 0, OUT].empty_polls == 0


def test_what_captures_take_is_told_too(app):
    with connect(app) as client, connect(app) as capturing:
        table = client.watch([0], directions=IN)
        rings = capturing.attach([0], ring_size=65536, directions=IN)  # nobody reads: they overflow
        app.start()
        app.wait_forwarded(20_000)
        app.stop()
        capturing.close()
        packets = total(table, IN)["packets"]
        wait_until(
            lambda: sum(c.captured for c in table.read().values()) == packets, "the capture accounted for"
        )
        dropped = sum(c.dropped for c in table.read().values())
        assert packets - 65536 * len(rings) // 64 < dropped < packets


def test_the_counting_ends_with_the_connection(app):
    app.start()
    with connect(app) as client:
        table = client.watch([0])
        app.wait_forwarded(10_000)
        client.socket.close()

        def stands_still() -> bool:
            before = table.read()
            app.wait_forwarded(10_000)
            return table.read() == before

        wait_until(stands_still, "the hooks gone")
        assert total(table, IN)["packets"] > 0
    app.stop()


def test_the_table_belongs_to_the_application(app):
    with connect(app) as client:
        table = client.watch([0])
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(table.fd, 4096)
        with pytest.raises(OSError, match="not permitted"):
            mmap.mmap(table.fd, table.size)
        with pytest.raises(OSError, match="not permitted"):
            os.pwrite(table.fd, b"x", 64)


def test_queues_that_appear_and_a_port_that_comes_back():
    with Testpmd(["net_null0"], megabytes=128) as growing, connect(growing) as client:
        table = client.watch([0])
        growing.start()
        growing.wait_forwarded(1000)
        growing.stop()
        for command in ("port stop all", "port config all rxq 3", "port config all txq 3", "port start all"):
            growing.command(command)
        before = table.read()[0, 0, IN].packets
        wait_until(lambda: len(table.read()) == 6, "slots for the new queues")
        growing.start()
        wait_until(lambda: all(c.packets for c in table.read().values()), "packets on all queues")
        assert table.read()[0, 0, IN].packets > before  # goes on
        growing.stop()
        for command in ("port stop all", "port close 0", "port attach net_null1", "port start all"):
            growing.command(command)
        counted = table.read()
        growing.command("set portlist 0")
        growing.start()
        wait_until(lambda: table.read()[0, 0, IN].packets > counted[0, 0, IN].packets, "the next device")
        assert len(table.read()) == 6


def test_requests_that_make_no_sense(app):
    fd = memfd(ACCEPT)
    for forms, fds in (([], [fd]), ([(2, 0)], [])):
        with connect(app) as client:
            client.send(attach_message([0], forms=forms, flags=COUNT), *fds)
            with pytest.raises(ShimError, match="descriptors") as error:
                client.receive()
            assert error.value.code == errno.EPROTO
            with pytest.raises(SessionEndedError):
                client.receive()
    os.close(fd)
    for fields in ({"flags": COUNT | 4}, {"n_ports": 33}, {"directions": 4}, {"engine": 2}):
        with connect(app) as client:
            client.send(attach_message([0], forms=[], **({"flags": COUNT} | fields)))
            with pytest.raises(ShimError, match="attach: ") as error:
                client.receive()
            assert error.value.code == errno.EINVAL
            assert client.watch([0])
    with connect(app) as client:
        client.watch([0])
        with pytest.raises(ShimError, match="attached already"):
            client.watch([0])
        with pytest.raises(ShimError, match="attached already"):
            client.attach([0])
    with connect(app) as client:
        with pytest.raises(ShimError, match="no such port"):
            client.watch([7])
        with pytest.raises(ShimError) as error:
            client.watch([0], ACCEPT[:8])  # what the verifier refuses
        assert error.value.code == errno.EINVAL
        client.watch([0], ACCEPT)


def test_forms_choose_among_themselves_here_too(app):
    app.start()
    with connect(app) as client:
        client.attach([0], keep_if_byte(23, 17), keep_if_byte(23, 17), flags=COUNT | WHOLE)
        wait_until(lambda: all(cost for q in client.stats() for _, cost, _ in q.forms), "both forms tried")
        assert all(queue.received > 0 for queue in client.stats())
    with connect(app) as client:
        client.watch([0])
        assert [queue.forms for queue in client.stats()] == [[]] * 2 * QUEUES
    app.stop()
