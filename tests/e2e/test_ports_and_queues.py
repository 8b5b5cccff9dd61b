# SPDX-License-Identifier: BSD-3-Clause
"""Several drivers, ports and queues in one application; several applications."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING

import pytest
import traffic

from support.captures import capinfos, read_pcapng, tshark_fields
from support.command import dpcap, run_dpcap
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages

QUEUES = 3
PER_QUEUE = 300


@pytest.fixture(scope="module")
def three_ports(hugepages: HugePages, mix_pcap: Path) -> Iterator[Testpmd]:
    """A port of each driver; what enters one leaves by itself."""
    vdevs = [f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1", "net_ring0", "net_null0,size=80,copy=1"]
    options = ["--port-topology=loop"]
    with Testpmd(vdevs, eal_args=hugepages.eal_args, app_args=options, mbufs=16384, megabytes=96) as app:
        app.command("start tx_first 1")
        yield app
        assert app.alive, app.text


@pytest.mark.parametrize(
    ("port", "expression"),
    [
        ("port0", "udp port 2152"),
        ("port1", "udp port 9"),  # what `start tx_first` sends
        ("port2", "len = 80 and ether[12:2] = 0"),  # net_null's zeros
    ],
)
def test_each_driver(three_ports: Testpmd, tmp_path: Path, port: str, expression: str) -> None:
    out = tmp_path / "out.pcapng"
    done = run_dpcap("--pid", str(three_ports.pid), "-i", port, "-c", "500", "-w", out, expression)
    assert done.returncode == 0, done.stderr
    packets = read_pcapng(out)
    assert len(packets) == 500
    assert {p.port for p in packets} == {port}
    assert {p.direction for p in packets} == {"in", "out"}


def test_all_ports_in_one_file(three_ports: Testpmd, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    done = run_dpcap("--pid", str(three_ports.pid), "-i", "any", "-s", "64", "-c", "5000", "-w", out)
    assert done.returncode == 0, done.stderr
    assert {p.port for p in read_pcapng(out)} == {"port0", "port1", "port2"}
    names = {tuple(row) for row in tshark_fields(out, "frame.interface_name", "frame.interface_description")}
    assert {name for name, _ in names} == {"port0", "port1", "port2"}
    for device in ("net_pcap0", "net_ring0", "net_null0"):
        assert any(device in description for _, description in names)


@pytest.mark.parametrize("name", ["1", "net_ring0"])
def test_other_names_of_a_port(three_ports: Testpmd, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.pcapng"
    done = run_dpcap("--pid", str(three_ports.pid), "-i", name, "-c", "10", "-w", out)
    assert done.returncode == 0, done.stderr
    assert {p.data[12:14] for p in read_pcapng(out)} == {b"\x08\x00"}


def test_list(three_ports: Testpmd) -> None:
    done = run_dpcap("-D")
    assert done.returncode == 0, done.stderr
    for device in ("net_pcap0", "net_ring0", "net_null0"):
        assert device in done.stdout
    ports = [p for p in json.loads(run_dpcap("-D", "--json").stdout) if p["pid"] == three_ports.pid]
    assert {p["file_prefix"] for p in ports} == {three_ports.prefix}
    assert {p["source"] for p in ports} == {"shim"}
    names = [(p["name"], p["device"]) for p in ports]
    assert names == [("port0", "net_pcap0"), ("port1", "net_ring0"), ("port2", "net_null0")]


def test_no_such_port(three_ports: Testpmd) -> None:
    done = run_dpcap("--pid", str(three_ports.pid), "-i", "port7", "-w", "/dev/null")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    for word in ("port7", "port0", "port1", "port2"):
        assert word in done.stderr


def test_filter_that_does_not_parse(three_ports: Testpmd) -> None:
    done = run_dpcap("--pid", str(three_ports.pid), "-i", "port0", "-w", "/dev/null", "udp prot 2152")
    assert done.returncode != 0
    assert "syntax error" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_queue_is_captured_and_named(hugepages: HugePages, tmp_path: Path) -> None:
    """Each queue has packets of its own; in the file they carry its number."""
    frames = list(traffic.mix(QUEUES * PER_QUEUE, seed=3))
    parts = [frames[i::QUEUES] for i in range(QUEUES)]
    sources = []
    for number, part in enumerate(parts):
        path = tmp_path / f"queue{number}.pcap"
        traffic.write_pcap(path, part)
        sources.append(f"rx_pcap={path}")
    out = tmp_path / "out.pcapng"
    options = [f"--rxq={QUEUES}", f"--txq={QUEUES}"]
    with (
        Testpmd(["net_pcap0," + ",".join(sources)], eal_args=hugepages.eal_args, app_args=options) as app,
        dpcap("--pid", str(app.pid), "-i", "port0", "-Q", "in", "-w", out) as capture,
    ):
        app.start()
        wait_until(lambda: app.stats()["RX-packets"] == len(frames), "the pcaps replayed")
        assert capture.end() == 0, capture.stderr
    queues = [int(row[0]) for row in tshark_fields(out, "frame.interface_queue")]
    by_queue: dict[int, list[bytes]] = collections.defaultdict(list)
    for queue, packet in zip(queues, read_pcapng(out), strict=True):
        by_queue[queue].append(packet.data)
    assert dict(by_queue) == dict(enumerate(parts))


def test_queues_of_several_lcores_in_order_of_time(
    hugepages: HugePages, mix_pcap: Path, tmp_path: Path
) -> None:
    """Eight rings that two lcores fill at the same time are one file without a step back."""
    out = tmp_path / "out.pcapng"
    vdev = "net_pcap0," + ",".join([f"rx_pcap={mix_pcap}"] * 4) + ",infinite_rx=1"
    options = ("--rxq=4", "--txq=4", "--nb-cores=2")
    with Testpmd(
        [vdev], eal_args=hugepages.eal_args, app_args=options, workers=2, mbufs=32768, megabytes=128
    ) as app:
        app.start()
        done = run_dpcap("--pid", str(app.pid), "-i", "port0", "-c", "20000", "-w", out, "udp port 5060")
        assert done.returncode == 0, done.stderr
        app.wait_forwarded(1000)
    rows = {tuple(row) for row in tshark_fields(out, "frame.interface_queue", "frame.packet_flags_direction")}
    assert len(rows) == 8
    assert capinfos(out)["Strict time order"] == "True"


def test_two_applications(three_ports: Testpmd, hugepages: HugePages, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with Testpmd(["net_null0,size=99,copy=1"], eal_args=hugepages.eal_args) as other:
        other.start()
        # Which one is meant must be said, and both are named.
        done = run_dpcap("-i", "port0", "-c", "1", "-w", "/dev/null")
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert str(other.pid) in done.stderr
        assert str(three_ports.pid) in done.stderr
        done = run_dpcap("--file-prefix", other.prefix, "-i", "port0", "-c", "10", "-w", out)
        assert done.returncode == 0, done.stderr
    assert {p.wirelen for p in read_pcapng(out)} == {99}
