# SPDX-License-Identifier: BSD-3-Clause
"""The application's life goes on under a capture: ports stop, grow, vanish and come back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.hugepages import HugePages
from support.shim_client import ACCEPT, IN, OUT, Client, attach_and_be_killed, connect
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shim_client import Ring


@pytest.fixture
def app() -> Iterator[Testpmd]:
    with Testpmd(["net_null0"], megabytes=128) as app:
        app.start()
        yield app
        assert app.quit() == 0


def captures(ring: Ring) -> bool:
    """Take what is there: does more come?"""
    return bool(ring.read())


def wait_for_ring(client: Client, port: int, queue: int, direction: int) -> Ring:
    """Wait for the shim to announce this ring."""
    wanted = (port, queue, direction)

    def found() -> list[Ring]:
        return [r for r in client.rings if (r.port, r.queue, r.direction) == wanted and not r.closed]

    while not found():
        client.receive()
    ring = found()[-1]
    assert ring.seq == 0
    return ring


def test_a_port_that_stops_and_starts(app):
    with connect(app) as client:
        rings = client.attach([0], ring_size=65536)
        wait_until(lambda: all(map(captures, rings)), "packets")
        app.command("stop")
        app.command("port stop 0")
        assert client.ports()[0][3] == 0
        app.command("port start 0")
        assert client.ports()[0][3] == 1
        for ring in rings:
            ring.read()
        app.start()
        wait_until(lambda: all(map(captures, rings)), "packets again")
        assert not any(ring.closed for ring in rings)


def test_queues_that_come_and_go(app):
    with connect(app) as client:
        rings = client.attach([0], ring_size=65536)
        app.command("stop")
        for queues in (3, 1, 2):
            app.command("port stop all")
            app.command(f"port config all rxq {queues}")
            app.command(f"port config all txq {queues}")
            app.command("port start all")
            app.start()
            if queues == 3:
                for queue in (1, 2):
                    for direction in (IN, OUT):
                        rings.append(wait_for_ring(client, 0, queue, direction))
            alive = [ring for ring in rings if ring.queue < queues]
            for ring in alive:
                ring.read()
            wait_until(lambda alive=alive: all(map(captures, alive)), f"packets on {queues} queues")
            app.command("stop")
        # Once each, however often queues changed: no second hook on a queue.
        assert len({(r.queue, r.direction) for r in client.rings}) == len(client.rings) == 6


def test_every_packet_is_captured_once_after_reconfiguration(app):
    """A second hook on a queue would show every packet twice."""
    with connect(app) as client:
        (ring,) = client.attach([0], directions=IN)
        app.command("stop")
        for queues in (2, 1):
            app.command("port stop all")
            app.command(f"port config all rxq {queues}")
            app.command(f"port config all txq {queues}")
            app.command("port start all")
        app.command("clear port stats all")
        before = ring.received
        app.start()
        app.wait_forwarded(10000)
        app.stop()
        client.stats()  # brings the rings' counters up to date
        assert ring.received - before == app.stats()["RX-packets"]


def test_a_device_that_takes_the_id_of_another(app):
    """It is captured once, in rings of its own, by everyone who asked for the id."""
    with connect(app) as client, connect(app) as other:
        old = client.attach([0], ring_size=65536)
        (old_other,) = other.attach([0], directions=IN)
        app.stop()
        for name in ("net_null7", "net_null8"):
            app.command("port stop 0")
            app.command("port close 0")
            wait_until(lambda old=old: all(ring.closed for ring in old), "the old rings closed")
            wait_until(lambda ring=old_other: ring.closed, "the old ring of the other session closed")
            assert client.ports() == []
            app.command(f"port attach {name}")
            app.command("port stop 0")
            app.command("port start 0")
            assert client.ports()[0][7] == name
            old = [wait_for_ring(client, 0, 0, direction) for direction in (IN, OUT)]
            old_other = wait_for_ring(other, 0, 0, IN)
        app.command("clear port stats all")
        before = old[0].received
        app.start()
        app.wait_forwarded(10000)
        wait_until(lambda: all(map(captures, [*old, old_other])), "packets of the new device")
        app.stop()
        client.stats()
        assert old[0].received - before == app.stats()["RX-packets"]


@pytest.mark.parametrize(
    "eal_args", [["--no-huge"], ["--no-huge", "--no-shconf"], ["--no-huge", "--no-telemetry"]]
)
def test_ways_to_start_eal(eal_args):
    with Testpmd(["net_null0"], eal_args=eal_args) as app, connect(app) as client:
        rings = client.attach([0], ring_size=65536)
        app.start()
        wait_until(lambda: all(map(captures, rings)), "packets")


def test_in_memory():
    with HugePages(64, mount=False) as pages:
        if pages.eal_args != ["--in-memory"]:
            pytest.skip(pages.note)
        with Testpmd(["net_null0"], eal_args=pages.eal_args) as app, connect(app) as client:
            rings = client.attach([0], ring_size=65536)
            app.start()
            wait_until(lambda: all(map(captures, rings)), "packets")


def test_many_queues_on_one_core():
    queues = 64
    vdev = "net_null0"
    args = (f"--rxq={queues}", f"--txq={queues}", "--nb-cores=1", "--rxd=64", "--txd=64")
    with Testpmd([vdev], app_args=args, megabytes=256, mbufs=32768) as app, connect(app) as client:
        rings = client.attach([0])
        assert len(rings) == 2 * queues
        assert rings[0].data_size == 512 << 10  # 128 of them share the default memory
        app.start()
        wait_until(lambda: all(ring.received > 0 for ring in rings), "packets on every queue")
        # No ring keeps a descriptor in the application.
        targets = [os.readlink(f"/proc/{app.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{app.pid}/fd")]  # noqa: PTH208, PTH115
        assert not [target for target in targets if "dpcap-ring" in target]


def test_a_competing_thread_on_the_lcore(app):
    """Whoever is preempted inside a hook finds everything in place afterwards; nothing is left behind."""

    def held() -> tuple[int, list[str]]:
        status = Path(f"/proc/{app.pid}/status").read_text()
        descriptors = [str(fd.readlink()) for fd in Path(f"/proc/{app.pid}/fd").iterdir()]
        return int(status.split("VmSize:")[1].split()[0]), sorted(descriptors)

    wait_until(app.sockets, "the control socket")
    (path,) = app.sockets()
    attach_and_be_killed(path)  # contexts of queues are made once
    maps = Path(f"/proc/{app.pid}/maps")
    wait_until(lambda: "dpcap-ring" not in maps.read_text(), "the rings of the first capture unmapped")
    before = held()
    with subprocess.Popen(["taskset", "-c", "1", "sh", "-c", "while :; do :; done"]) as busy:
        try:
            for _ in range(50):
                with connect(app) as client:
                    client.attach([0], ACCEPT, ring_size=65536)
                attach_and_be_killed(path)
            app.wait_forwarded(10000)
        finally:
            busy.kill()
    wait_until(lambda: held() == before, f"memory and descriptors back to {before}")


def test_containers():
    """Own mount, pid and network namespaces: dpcap on the host finds the socket below /proc/PID/root."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    run_in = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
    with Testpmd(["net_null0"], run_in=run_in) as app:
        children = f"/proc/{app.pid}/task/{app.pid}/children"
        with open(children) as file:  # noqa: PTH123
            (pid,) = file.read().split()
        wait_until(app.sockets, "the control socket")
        (path,) = app.sockets()
        with Client(f"/proc/{pid}/root{path}") as client:
            assert int.from_bytes(client.info[16:20], "little") == int(path.name.split(".")[1]) == 1
            rings = client.attach([0], ring_size=65536)
            app.start()
            wait_until(lambda: all(map(captures, rings)), "packets")
