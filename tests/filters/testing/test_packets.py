# SPDX-License-Identifier: BSD-3-Clause
"""What can be asked for in a filter."""

from __future__ import annotations

import array
import subprocess
import sys

import pytest

from dpcap.capture.pcapng import Interface, section
from dpcap.filters import Filter, compile  # noqa: A004 - as re.compile
from dpcap.filters.summary import summarize
from dpcap.testing import Packet, packets_from
from support.packets import assorted

DNS = assorted()[0]


class OfAnotherLibrary:
    def __bytes__(self):
        return DNS


@pytest.mark.parametrize(
    "packet",
    [
        DNS,
        bytearray(DNS),
        memoryview(DNS),
        DNS.hex(),
        f"0x{DNS.hex()}",
        DNS.hex(":"),
        Packet(DNS),
        Packet(Packet(DNS.hex(" "))),
        OfAnotherLibrary(),
        array.array("B", DNS),
    ],
    ids=lambda packet: type(packet).__name__,
)
def test_packets_of_many_kinds(packet):
    assert packet in compile("udp src port 53")
    assert packet not in compile("udp src port 54")
    assert compile("udp").run(packet) == 262144


def test_a_packet_of_scapy():
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415 - a second to import
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    packet = Ether(DNS)
    assert packet in compile("udp src port 53")
    packet.wirelen = 1000
    assert packet in compile("len = 1000")
    with pytest.raises(ValueError, match=r"^the packet begins with IP: a filter sees Ethernet"):
        assert IP() / UDP() in compile("udp")


def test_nothing_imports_scapy():
    code = (
        "import sys; from dpcap.testing import Packet; from dpcap.filters import compile;"
        "assert Packet(bytes(60)) not in compile('ip'); assert 'scapy' not in sys.modules, sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metadata():
    assert Packet(DNS, direction="out", port=3) in compile("outbound and ifindex 3")
    assert Packet(DNS, direction="in") not in compile("outbound")
    assert Packet(DNS, wirelen=1500) in compile("len = 1500")
    queue = Filter.from_cbpf([(0x20, 0, 0, 0xFFFFF018), (0x16, 0, 0, 0)])
    assert queue.run(Packet(DNS, queue=41)) == 41
    assert queue.run(Packet(DNS, queue=41), queue=42) == 42


def test_a_packet_can_be_pasted_back():
    for packet in (Packet(DNS), Packet(DNS, wirelen=99, direction="out", port=2, queue=1)):
        assert eval(repr(packet), {"Packet": Packet}) == packet  # noqa: S307 - our own repr
    assert len({Packet(DNS), Packet(DNS.hex()), Packet(DNS, direction="in")}) == 2
    assert bytes(Packet(DNS)) == DNS
    assert len(Packet(DNS)) == len(DNS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Packet(3),
            "int is no packet: bytes, hexadecimal text, scapy's, dpcap.testing.Packet are",
        ),
        (lambda: None in compile("ip"), "NoneType is no packet: bytes, hexadecimal text"),
        (lambda: Packet(DNS, wirelen=3), "a packet of 48 bytes cannot have had 3 on the wire"),
        (lambda: Packet(DNS, direction="up"), 'direction is "in" or "out", not \'up\''),
        (lambda: Packet("ethernet"), "not a packet in hexadecimal: 't' is no digit of it"),
    ],
)
def test_what_is_no_packet(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


def test_packets_from_a_pcap(mix_pcap):
    found = list(packets_from(mix_pcap))
    assert len(found) == 4096
    done = subprocess.run(
        ["tcpdump", "-r", mix_pcap, "--count", "udp"], capture_output=True, text=True, check=True
    )
    tap = compile("udp")
    assert sum(packet in tap for packet in found) == int(done.stdout.split()[0])


def test_packets_from_pcapng_know_direction_port_and_queue(tmp_path):
    path = tmp_path / "two.pcapng"
    options = b"\x02\0\x04\0\x02\0\0\0" + b"\x06\0\x04\0\x05\0\0\0" + bytes(4)  # outbound, queue 5
    size = (32 + len(DNS) + len(options)).to_bytes(4, "little")
    block = b"\x06\0\0\0" + size + bytes(12) + (len(DNS).to_bytes(4, "little")) * 2 + DNS + options + size
    path.write_bytes(section() + Interface("port3").block(262144) + block)
    assert list(packets_from(path)) == [Packet(DNS, direction="out", port=3, queue=5)]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"^cannot read .*/none.pcap: No such file"):
        next(packets_from(tmp_path / "none.pcap"))
    (tmp_path / "x.pcap").write_bytes(b"MZ" * 40)
    with pytest.raises(ValueError, match=r"x.pcap: neither a pcap nor a pcapng file$"):
        next(packets_from(tmp_path / "x.pcap"))
    (tmp_path / "raw.pcap").write_bytes(
        bytes.fromhex("d4c3b2a1 02000400 0000000000000000 0000040065000000")
        + bytes(8)
        + b"\1\0\0\0" * 2
        + b"E"
    )
    with pytest.raises(
        ValueError, match=r"raw.pcap: packets of link type 101; filters are for Ethernet \(1\)"
    ):
        next(packets_from(tmp_path / "raw.pcap"))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "IP 10.0.0.1.53 > 192.168.1.1.1024: UDP, length 6"),
        (2, "IP 10.0.0.1.2152 > 192.168.1.1.2152: GTP-U teid 0x11223344"),
        (6, "IP 10.0.0.1.80 > 192.168.1.1.40000: TCP, flags [S.]"),
        (16, "IP 10.0.0.1 > 10.0.0.2: protocol 17, fragment at 80"),
        (19, "IP6 2001:db8::1 > fe80::1: ICMP6 echo request"),
        (24, "ARP who-has 10.0.0.2 tell 10.0.0.1"),
        (28, "vlan 200, vlan 100, IP 10.0.0.1.1 > 192.168.1.1.443: TCP, flags [S]"),
        (33, "mpls 3, mpls 1000, IP 10.0.0.1.2152 > 192.168.1.1.53: TCP, flags [S]"),
        (
            39,
            "IP 10.0.0.1.1 > 192.168.1.1.4789: VXLAN vni 5000: IP 10.0.0.1.1 > 192.168.1.1.53: UDP, length 2",
        ),
        (51, "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, type 0x88cc"),
    ],
)
def test_summaries(number, text):
    assert summarize(assorted()[number]) == text


def test_a_summary_of_anything():
    for packet in assorted():
        for size in range(0, len(packet), 7):
            text = summarize(packet[:size], len(packet))
            assert text.endswith(f" (cut to {size} of {len(packet)} bytes)")
            assert "\n" not in text
