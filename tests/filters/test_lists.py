# SPDX-License-Identifier: BSD-3-Clause
"""Long lists: shortened for libpcap, and the same answers as when libpcap does it all."""

from __future__ import annotations

import hashlib
import ipaddress
import struct

import pytest

from dpcap.filters import Filter, cbpf, compile, libpcap  # noqa: A004 - as re.compile
from dpcap.filters.lists import SHORTEST, compile_lists
from support.guarded import GuardedMemory
from support.packets import assorted

HOSTS = ["10.0.0.1", "10.9.9.9", "192.168.1.1", "10.0.1.6", "10.45.0.1", "172.16.3.4", "10.1.2.3", "1.2.3.4"]
NETS = [
    "10.0.0.0/24",
    "192.168.0.0/16",
    "10.1.0.0/16",
    "172.16.0.0/12",
    "224.0.0.0/4",
    "10.0.0.2/32",
    "1.2.3.0/24",
]
HOSTS6 = ["2001:db8::1", "fe80::1", "2001:db8::2", "ff02::1", "2001:db8:1::1", "::1", "2001:db8::5:1"]
NETS6 = ["2001:db8::/32", "fe80::/10", "2001:db8:1::/48", "ff00::/8", "2001:db9::/32", "fe00::/10"]
MACS = ["02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", "01:80:c2:00:00:00"]
RANGES = ["1-52", "79-80", "2000-3000", "440-443", "6000-6081", "60000-65535", "100-100", "53-53"]
PORTS = ["53", "80", "2152", "443", "1", "5353", "65535", "6081"]


def of(qualifiers, items):
    return " or ".join(f"{qualifiers} {item}" for item in items)


EXPRESSIONS = [
    of("host", HOSTS),
    "host " + " or ".join(HOSTS),
    of("src host", HOSTS),
    of("dst host", HOSTS).replace(" or ", " || "),
    of("net", NETS),
    of("src net", NETS) + " or icmp",
    of("port", PORTS),
    of("udp dst port", PORTS),
    "tcp port " + " or ".join(PORTS),
    f"not ({of('host', HOSTS)})",
    f"not {of('host', HOSTS)}",
    f"udp and ({of('host', HOSTS)}) and port 53",
    f"ip6 or {of('host', HOSTS)} and udp",
    f"vlan and ({of('ip host', HOSTS)})",
    f"({of('src host', HOSTS)}) and ({of('port', PORTS)})",
    f"({of('src net', NETS)}) and not ({of('dst net', NETS)})",
    f"arp and ({of('arp host', HOSTS)}) or tcp",
    " and ".join(f"not host {h}" for h in HOSTS),
    "icmp or " + " && ".join(f"! src host {h}" for h in [*HOSTS[:3], *HOSTS6, *HOSTS[3:]]) + " or port 53",
    "udp and " + " and ".join(f"not portrange {r}" for r in RANGES),
    "(" + " and ".join(f"not ether host {m}" for m in MACS) + ") and not port 80",
    of("host", HOSTS6),
    "host " + " or ".join(HOSTS6),
    of("src host", HOSTS6),
    of("ip6 dst host", HOSTS6),
    of("host", [*HOSTS6[:3], *HOSTS, *HOSTS6[3:]]),
    f"vlan and ({of('host', HOSTS6)}) and udp",
    f"not ({of('host', HOSTS6)})",
    f"udp and not ({of('host', HOSTS6)}) and port 53",
    of("src net", NETS6),
    of("dst net", [*NETS6, *NETS]),
    of("net", [f"2001:db8:{i}::/48" for i in range(6)]),
    of("net", [f"2001:db8::{i:x}000/116" for i in range(6)]),
    of("ether host", MACS),
    "ether src " + " or ".join(MACS),
    f"not ({of('ether dst', MACS)}) or ({of('port', PORTS)})",
    of("portrange", RANGES),
    of("udp dst portrange", RANGES),
    f"({of('src portrange', RANGES)}) and ({of('host', HOSTS6)})",
    f"not ({of('tcp portrange', RANGES)})",
    f"mpls and ({of('host', HOSTS6)})",
    f"len > 60 and ({of('port', PORTS)} or {of('host', HOSTS)})",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_short_ones_against_libpcap(expression):
    listed = compile_lists(expression, shortest=4)
    assert listed is not None, "the list was not found"
    tap = Filter(expression, cbpf.validate(listed.cbpf), listed=listed)
    reference = libpcap.Oracle(libpcap.compile_cbpf(expression, optimize=False))
    memory = GuardedMemory(80)
    for packet in assorted():
        for view in memory.truncations(packet, 70):
            wanted = reference.run(view, len(packet))
            assert tap.run(view, len(packet), "libpcap") == wanted, (packet.hex(), len(view))
            for form in tap.forms:
                assert tap.run(view, len(packet), form=form) == wanted, (form, packet.hex(), len(view))


def _ipv4(src, dst):
    return (
        bytes(12) + b"\x08\0\x45\0\0\x28" + bytes(5) + b"\x11\0\0" + struct.pack(">II", src, dst) + bytes(30)
    )


@pytest.mark.parametrize("count", [100, 3000])
def test_thousands(count):
    numbers = [0x0A000001 + 7919 * i & 0xFFFFFFFF for i in range(count)]
    tap = compile(of("host", (".".join(map(str, n.to_bytes(4, "big"))) for n in numbers)))
    assert len(tap.ebpf) // 8 < 250, "the size of the program depends on the list"
    for n in numbers[:: count // 100]:
        assert _ipv4(n, 1) in tap
        assert _ipv4(1, n) in tap
        assert _ipv4(n + 1, n - 1) not in tap


@pytest.mark.parametrize(
    "expression",
    [
        of("host", HOSTS[:3]),
        of("host", [*HOSTS, "300.1.1.1"]),
        of("net", [*NETS, "10.0.0.1/8"]),
        of("net", [*NETS, "0.0.0.0/0"]),
        of("port", [*PORTS, "http"]),
        "net " + " or ".join(NETS) + " mask 255.0.0.0",
        of("ether host", ["02:00:00:00:00:01"] * 6),
        of("ip6 host", ["2001:db8::1"] * 6),
        of("net", ["2001:db8::/32", "fe80::/10", "ff00::/8", "2001:db8:1::/48", "2001:db9::/32"]),
        of("portrange", ["5-1"] * 6),
        of("host", ["2001:db8::1", "fe80::1%1", "::1", "::2", "::3", "::4"]),
        "host 10.0.0.1 or " * 6,
        " or ".join(["10.0.0.1"] * 6),
    ],
)
def test_what_is_left_to_libpcap(expression):
    shortened = compile_lists(expression, shortest=5)
    if shortened is not None:  # the beginning of the list may be fit for it
        reference = libpcap.Oracle(libpcap.compile_cbpf(expression, optimize=False))
        for packet in assorted():
            assert libpcap.Oracle(cbpf.validate(shortened.cbpf)).run(packet) == reference.run(packet)


def test_errors_of_long_lists_are_those_of_libpcap():
    with pytest.raises(ValueError, match=r'non-network bits set in "10.0.0.1/8"'):
        compile(of("net", [*(f"10.{i}.0.0/16" for i in range(SHORTEST)), "10.0.0.1/8"]))


def _ipv6(src, dst):
    return bytes(12) + bytes.fromhex("86dd6000000000081140") + src + dst + bytes(8)


@pytest.mark.parametrize("count", [100, 2000])
def test_thousands_of_ipv6_hosts(count):
    addresses = [hashlib.sha256(bytes([i & 255, i >> 8])).digest()[:16] for i in range(count)]
    tap = compile(of("host", (str(ipaddress.IPv6Address(a)) for a in addresses)))
    assert len(tap.ebpf) // 8 < 1000, "the size of the program depends on the list"
    oracle = libpcap.Oracle(tap.cbpf)
    for a, b in zip(addresses[:: count // 50], addresses[1 :: count // 50], strict=False):
        # Cut, an address that is there can be hidden by one that begins alike.
        for packet in (
            _ipv6(a, bytes(16)),
            _ipv6(bytes(16), a),
            _ipv6(a, b),
            _ipv6(b, a),
            _ipv6(bytes(16), b"\1" * 16),
        ):
            for length in (len(packet), 54, 53, 50, 49, 46, 45, 42, 41, 38, 37, 26):
                assert tap.run(packet[:length], len(packet)) == oracle.run(packet[:length], len(packet))


@pytest.mark.parametrize("count", [100, 2000])
def test_thousands_of_ranges_and_ethernet_addresses(count):
    ranges = compile(of("udp portrange", (f"{7 * i + 1}-{7 * i + 3}" for i in range(count))))
    for port in (0, 1, 3, 4, 7 * count - 6, 7 * count - 4, 7 * count - 3, 7 * count + 1, 65535):
        packet = bytearray(_ipv4(1, 2))
        packet[34:38] = port.to_bytes(2, "big") + b"\xff\xff"
        assert (bytes(packet) in ranges) == (port % 7 in (1, 2, 3) and port < 7 * count)
    addresses = [i.to_bytes(6, "big") for i in range(1 << 33, (1 << 33) + 3 * count, 3)]
    hosts = compile(of("ether host", (a.hex(":") for a in addresses)))
    for a in addresses[:: count // 20]:
        other = (int.from_bytes(a, "big") + 1).to_bytes(6, "big")
        assert a + bytes(54) in hosts
        assert bytes(6) + a + bytes(48) in hosts
        assert other + other + bytes(48) not in hosts
