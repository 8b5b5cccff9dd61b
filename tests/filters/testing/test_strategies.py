# SPDX-License-Identifier: BSD-3-Clause
"""Packets that hypothesis draws: of every kind, with what was pinned."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dpcap.filters import compile  # noqa: A004 - as re.compile
from dpcap.filters.explain import reason
from dpcap.testing import Packet, ip_packets, packets

quick = settings(max_examples=25, deadline=None, database=None)


@pytest.mark.parametrize(
    ("pins", "expression"),
    [
        ({"vlan": 100, "l4": "udp", "dport": 2152}, "vlan 100 and udp dst port 2152"),
        ({"vlan": (200, 100), "l4": "tcp"}, "vlan 200 and vlan 100 and tcp"),
        ({"vlan": (), "mpls": (17, 1000)}, "mpls 17 and mpls 1000"),
        ({"vlan": (), "mpls": (), "src": "10.0.0.0/8"}, "src net 10.0.0.0/8"),
        ({"vlan": (), "mpls": (), "dst": "2001:db8::/32"}, "ip6 dst net 2001:db8::/32"),
        ({"vlan": (), "mpls": (), "sport": 53}, "src port 53"),
        ({"vlan": (), "mpls": (), "l4": "sctp"}, "sctp"),
        ({"vlan": (), "mpls": (), "l4": "icmp"}, "icmp"),
        ({"vlan": (), "mpls": (), "l4": "icmpv6"}, "icmp6"),
        ({"vlan": (), "mpls": (), "l4": "gre"}, "proto 47"),
        (
            {"vlan": (), "mpls": (), "src": "10.0.0.1", "teid": 7},
            "udp dst port 2152 and udp[9] = 255 and udp[12:4] = 7",
        ),
        (
            {"vlan": (), "mpls": (), "dst": "10.0.0.1", "vni": 5000},
            "udp dst port 4789 and udp[12:4] = 1280000",
        ),
        (
            {"vlan": (), "mpls": (), "src": "10.0.0.1", "l4": "udp", "payload": st.just(b"GET ")},
            "udp[8:4] = 0x47455420",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_pinned_is_there(pins, expression):
    tap = compile(expression)

    @quick
    @given(packets(**pins))
    def check(packet):
        assert packet in tap

    check()


@quick
@given(packets(vlan=(), mpls=(), src="10.0.0.1", teid=7, inner=ip_packets(dst="10.45.0.0/16", l4="icmp")))
def test_the_inner_packet_is_pinned(packet):
    # Without sequence number and extensions, and with, the inner header is at 16 or more in UDP.
    found = [
        f for f in (16, 20, 24) if packet in compile(f"udp[{f}] & 0xf0 = 0x40 and udp[{f} + 16:2] = 0x0a2d")
    ]
    assert found


KINDS = [
    "vlan and vlan", "mpls and mpls", "arp", "ip[0] & 0xf > 5", "ip[6:2] & 0x1fff != 0", "ip[6] & 0x20 != 0",
    "ip6[6] = 0", "ip6[6] = 60", "ip6[6] = 44", "udp dst port 2152 and udp[8] & 4 != 0", "udp dst port 4789",
    "tcp[12] & 0xf0 > 0x50", "sctp", "icmp", "icmp6", "proto 47", "proto 50 or proto 51 or proto 89",
    "vlan and ip6 and tcp", "ether multicast", "not ip and not ip6 and not arp and not vlan and not mpls",
]  # fmt: skip


def drawn(strategy, examples):
    found = []

    @settings(max_examples=examples, deadline=None, database=None, phases=[Phase.generate], derandomize=True)
    @given(strategy)
    def draw(packet):
        found.append(packet)

    draw()
    return found


def test_every_kind_is_drawn():
    found = drawn(packets(), 3000)
    missing = [kind for kind in KINDS if not any(map(compile(kind).__contains__, found))]
    assert not missing
    assert any(len(packet) < packet.wirelen for packet in found)


def test_packets_are_cut_when_nothing_is_pinned():
    assert all(len(p) == p.wirelen for p in drawn(packets(dport=53) | packets(truncated=False), 50))
    assert any(len(p) < p.wirelen for p in drawn(packets(vlan=100, truncated=True), 100))


@settings(max_examples=100, deadline=None)
@given(
    packets(),
    st.sampled_from(
        [
            "udp port 2152",
            "vlan 100 and ip6",
            "tcp portrange 1-1024",
            "mpls and icmp",
            "host 10.0.0.1",
            "len > 60",
        ]
    ),
)
def test_engines_and_explanations_agree(packet, expression):
    tap = compile(expression)
    wanted = tap.run(packet, engine="libpcap")
    assert tap.run(packet) == wanted
    assert reason(tap, packet.data, packet.wirelen).result == wanted


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"src": "10.0.0.1", "dst": "fe80::1"}, "addresses and protocol of a packet are all of IPv4"),
        ({"src": "10.0.0.1", "l4": "icmpv6"}, "addresses and protocol of a packet are all of IPv4"),
        ({"l4": "icmp", "dport": 3}, "icmp has no ports"),
        ({"inner": ip_packets()}, "inner is what a tunnel carries"),
        ({"src": "10.0.0"}, "'10.0.0' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_pins_that_do_not_fit(pins, message):
    with pytest.raises(ValueError, match=message):
        packets(**pins)


@settings(max_examples=200, database=None)
@given(packets(vlan=(), mpls=(), l4="udp"))
def fails(packet):
    assert packet not in compile("udp port 2152")


def test_a_failing_packet_is_shown_so_that_it_can_be_pasted():
    with pytest.raises(AssertionError) as found:
        fails()
    text = re.search(r"packet=(Packet\(.*\)),", "".join(found.value.__notes__))[1]  # hypothesis adds it
    assert eval(text, {"Packet": Packet}) in compile("udp port 2152")  # noqa: S307 - our own repr


def test_without_hypothesis():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import dpcap.testing\n"
        "try: from dpcap.testing import packets\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "dpcap.testing.packets needs hypothesis: pip install 'dpcap[testing]'\n"
