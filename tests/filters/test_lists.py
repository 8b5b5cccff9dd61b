# SPDX-License-Identifier: BSD-3-Clause
"""Long lists: shortened for libpcap, and the same answers as when libpcap does it all."""

from __future__ import annotations

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
    f"len > 60 and ({of('port', PORTS)} or {of('host', HOSTS)})",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_short_ones_against_libpcap(expression):
    program = compile_lists(expression, shortest=4)
    assert program is not None, "the list was not found"
    tap = Filter(expression, cbpf.validate(program))
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
        "host 10.0.0.1 or " * 6,
        " or ".join(["10.0.0.1"] * 6),
    ],
)
def test_what_is_left_to_libpcap(expression):
    shortened = compile_lists(expression, shortest=5)
    if shortened is not None:  # the beginning of the list may be fit for it
        reference = libpcap.Oracle(libpcap.compile_cbpf(expression, optimize=False))
        for packet in assorted():
            assert libpcap.Oracle(cbpf.validate(shortened)).run(packet) == reference.run(packet)


def test_errors_of_long_lists_are_those_of_libpcap():
    with pytest.raises(ValueError, match=r'non-network bits set in "10.0.0.1/8"'):
        compile(of("net", [*(f"10.{i}.0.0/16" for i in range(SHORTEST)), "10.0.0.1/8"]))
