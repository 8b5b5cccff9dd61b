# SPDX-License-Identifier: BSD-3-Clause
"""
Two hosts talk through an application; dpcap sees what tcpdump sees on the wire.

    left -- veth -- [port 0, testpmd, port 1] -- veth -- right
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import traffic

from support.captures import Packet, read_pcapng, tcpdump_filter, tshark_fields
from support.command import Command, dpcap, tcpdump
from support.kernel_bpf import needs_kernel_bpf
from support.netns import LEFT, RIGHT, TwoHosts
from support.testpmd import Testpmd, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hugepages import HugePages

pytestmark = pytest.mark.usefixtures("as_root")

MILLISECOND = 1_000_000
PINGS = 50
TCP_BYTES = 300_000

# A server that sends back what it got, and a client that checks it.
SERVER = f"""
import socket
listener = socket.create_server(("{RIGHT}", 7000))
print("listening on 7000", file=__import__("sys").stderr, flush=True)
connection, _ = listener.accept()
while data := connection.recv(65536):
    connection.sendall(data)
"""
CLIENT = f"""
import socket, threading
connection = socket.create_connection(("{RIGHT}", 7000))
sent = bytes(range(256)) * ({TCP_BYTES} // 256)
def send():
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = b""
while data := connection.recv(65536):
    got += data
assert got == sent
"""


@dataclass
class Network:
    """The hosts and the application between them."""

    hosts: TwoHosts
    app: Testpmd

    @staticmethod
    def connections(in_host: list[str]) -> int:
        """Return how many TCP sockets a host has."""
        table = subprocess.run(
            [*in_host, "cat", "/proc/self/net/tcp"], check=True, capture_output=True
        ).stdout
        return len(table.splitlines()) - 1

    def talk(self) -> None:
        """Ping and a TCP transfer, both ways."""
        in_left, in_right = self.hosts.run_in(self.hosts.left), self.hosts.run_in(self.hosts.right)
        ping = [*in_left, "ping", "-q", "-c", str(PINGS), "-i", "0.01", RIGHT]
        subprocess.run(ping, check=True, stdout=subprocess.DEVNULL)
        with Command([*in_right, sys.executable, "-c", SERVER]) as server:
            server.wait_for("listening")
            subprocess.run([*in_left, sys.executable, "-c", CLIENT], check=True)
            assert server.wait() == 0
        # The last packet is the client's acknowledgement of the server's FIN, which may be delayed.
        wait_until(lambda: self.connections(in_right) == 0, "the connection closed")


@pytest.fixture(scope="module")
def network(hugepages: HugePages) -> Iterator[Network]:
    needs_kernel_bpf()  # tcpdump filters by it
    with TwoHosts() as hosts:
        # Without qdisc_bypass=0 the kernel hides what the driver sends from tcpdump.
        vdevs = [f"net_af_packet{i},iface={end},qdisc_bypass=0" for i, end in enumerate(("left", "right"))]
        # Ahead of whatever else this machine does, so that times are not those of a wait for the CPU.
        run_in = ["nice", "-n", "-20", *hosts.run_in(hosts.wire)]
        strip = ["--enable-hw-vlan-strip"]  # for the test of VLAN tags; nothing else here has one
        with Testpmd(vdevs, eal_args=hugepages.eal_args, run_in=run_in, app_args=strip) as app:
            app.start()
            yield Network(hosts, app)
            assert app.alive, app.text


@dataclass
class Talk:
    """One conversation as captured by dpcap (both ports in one file) and by tcpdump (each link)."""

    dpcap: list[Packet]
    tcpdump: dict[str, list[Packet]]
    path: Path


EXPRESSIONS = ["", "icmp", f"tcp port 7000 and src host {LEFT}", "arp or tcp[tcpflags] & tcp-push != 0"]


@pytest.fixture(scope="module", params=EXPRESSIONS)
def talk(request: pytest.FixtureRequest, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Talk:
    folder = tmp_path_factory.mktemp("talk")
    out = folder / "dpcap.pcapng"
    wire = network.hosts.run_in(network.hosts.wire)
    links = {"port0": "left", "port1": "right"}
    with (
        tcpdump("--nano", "-i", "left", "-w", folder / "port0.pcap", run_in=wire) as left,
        tcpdump("--nano", "-i", "right", "-w", folder / "port1.pcap", run_in=wire) as right,
        dpcap(
            "--pid", str(network.app.pid), "-i", "port0", "-i", "port1", "-w", out, request.param
        ) as capture,
    ):
        network.talk()
        # The wire is silent now: what tcpdump has seen, it has seen.
        assert capture.end() == 0, capture.stderr
        assert left.end() == 0
        assert right.end() == 0
    seen = {
        port: tcpdump_filter(folder / f"{port}.pcap", request.param, folder / f"{port}.filtered.pcap")
        for port in links
    }
    return Talk(read_pcapng(out), seen, out)


def flow(packets: list[Packet], port: str, direction: str) -> list[Packet]:
    """Return the packets of one port and direction, in the order of the file."""
    return [p for p in packets if (p.port, p.direction) == (port, direction)]


def of_host(packets: list[Packet], mac: bytes) -> list[Packet]:
    """Return the packets that a host sent."""
    return [p for p in packets if p.data[6:12] == mac]


@pytest.fixture(scope="module")
def macs(network: Network) -> dict[str, bytes]:
    """Return the MAC of each host."""
    found = {}
    for host, namespace in (("left", network.hosts.left), ("right", network.hosts.right)):
        argv = ["ip", "-n", namespace, "-o", "link", "show", "eth0"]
        text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        found[host] = bytes.fromhex(text.split("link/ether ")[1].split()[0].replace(":", ""))
    return found


# What a host sends comes into the port next to it and leaves by the other one.
PATHS = [
    ("left", "port0", "in"),
    ("left", "port1", "out"),
    ("right", "port1", "in"),
    ("right", "port0", "out"),
]


@pytest.mark.parametrize(("host", "port", "direction"), PATHS)
def test_same_packets_as_tcpdump(
    talk: Talk, macs: dict[str, bytes], host: str, port: str, direction: str
) -> None:
    captured = flow(talk.dpcap, port, direction)
    expected = of_host(talk.tcpdump[port], macs[host])
    assert [p.data for p in captured] == [p.data for p in expected]
    assert [p.wirelen for p in captured] == [p.wirelen for p in expected]


def test_nothing_else(talk: Talk) -> None:
    assert len(talk.dpcap) == sum(len(packets) for packets in talk.tcpdump.values()) > 0


@pytest.mark.parametrize(("host", "port", "direction"), PATHS)
def test_times_are_near(talk: Talk, macs: dict[str, bytes], host: str, port: str, direction: str) -> None:
    """
    Both clocks are CLOCK_REALTIME, so they differ by the way between kernel and hook, which is not negative.

    It takes microseconds where the lcore has a CPU to itself. Where it shares one, it may be waiting for it
    when a packet comes in; a time that is late by that wait is the true one. So every packet is judged by its
    sign, which a wrong clock would get wrong inbound or outbound, and the quickest tenth by the millisecond.
    """
    captured = flow(talk.dpcap, port, direction)
    expected = of_host(talk.tcpdump[port], macs[host])
    later = 1 if direction == "in" else -1  # inbound the kernel sees a packet first, outbound the hook does
    ways = [later * (c.time - e.time) for c, e in zip(captured, expected, strict=True)]
    if ways:
        assert min(ways) > -MILLISECOND
        assert sorted(ways)[len(ways) // 10] < MILLISECOND


def test_merged_by_time(talk: Talk) -> None:
    """Every packet enters before it leaves, in the file too."""
    times = [float(row[0]) for row in tshark_fields(talk.path, "frame.time_epoch")]
    assert times == sorted(times)


SEND = """
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
for frame in sys.stdin:
    link.send(bytes.fromhex(frame))
"""


def test_tags_that_the_driver_took_off(network: Network, tmp_path: Path) -> None:
    """
    The kernel hands a VLAN tag on beside the packet, and net_af_packet leaves it there if told to strip.

    The filter sees it nevertheless, and the file has it at its place, as tcpdump's has.
    """
    hosts, out, wire = network.hosts, tmp_path / "dpcap.pcapng", tmp_path / "wire.pcap"
    frames = list(traffic.mix(400))
    expression = "vlan 100 and tcp port 443"
    with (
        tcpdump("--nano", "-i", "left", "-w", wire, run_in=hosts.run_in(hosts.wire)) as reference,
        dpcap("--pid", str(network.app.pid), "-i", "port0", "-Q", "in", "-w", out, expression) as capture,
    ):
        lines = "\n".join(frame.hex() for frame in frames)
        before = network.app.stats()["RX-packets"]
        subprocess.run(
            [*hosts.run_in(hosts.left), sys.executable, "-c", SEND], input=lines, text=True, check=True
        )
        wait_until(lambda: network.app.stats()["RX-packets"] >= before + len(frames), "all frames received")
        assert capture.end() == 0, capture.stderr
        assert reference.end() == 0
    expected = tcpdump_filter(wire, expression, tmp_path / "expected.pcap")
    assert expected
    captured = read_pcapng(out)
    assert [(p.data, p.wirelen) for p in captured] == [(p.data, p.wirelen) for p in expected]


@pytest.fixture
def tagging(network: Network) -> Iterator[Network]:
    """The application, while it has the driver of port 1 put VLAN 77 into what it sends."""

    def switch(vlan: str, mode: str) -> None:
        network.app.stop()
        network.app.command("port stop 1")
        network.app.command(vlan)
        network.app.command("port start 1")
        network.app.command(f"set fwd {mode}")
        network.app.start()

    switch("tx_vlan set 1 77", "mac")
    yield network
    switch("tx_vlan reset 1", "io")


def test_tags_that_the_driver_will_put_in(tagging: Network, tmp_path: Path) -> None:
    """A hook runs before the driver: the tag is still beside the packet, and in the file all the same."""
    hosts, out, wire = tagging.hosts, tmp_path / "dpcap.pcapng", tmp_path / "wire.pcap"
    frames = list(traffic.mix(200))
    expression = "vlan 77 and udp"
    with (
        tcpdump("--nano", "-i", "right", "-w", wire, run_in=hosts.run_in(hosts.wire)) as reference,
        dpcap("--pid", str(tagging.app.pid), "-i", "port1", "-Q", "out", "-w", out, expression) as capture,
    ):
        before = tagging.app.stats(1)["TX-packets"]
        lines = "\n".join(frame.hex() for frame in frames)
        subprocess.run(
            [*hosts.run_in(hosts.left), sys.executable, "-c", SEND], input=lines, text=True, check=True
        )
        wait_until(lambda: tagging.app.stats(1)["TX-packets"] >= before + len(frames), "all frames sent")
        assert capture.end() == 0, capture.stderr
        assert reference.end() == 0
    expected = tcpdump_filter(wire, expression, tmp_path / "expected.pcap")
    assert expected
    captured = read_pcapng(out)
    assert [(p.data, p.wirelen) for p in captured] == [(p.data, p.wirelen) for p in expected]
