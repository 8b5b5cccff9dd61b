# SPDX-License-Identifier: BSD-3-Clause
"""Packets by hand are what tshark takes them for."""

from __future__ import annotations

import shutil

import pytest
from scapy.utils import RawPcapWriter

from dpcap.testing import build
from support.captures import tshark_fields

DNS = build.udp(bytes.fromhex("000101000001000000000000") + b"\1a\0\0\1\0\1", dport=53)
OPTIONS = ("-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE")
PACKETS = {
    "eth:ethertype:vlan:ethertype:ip:udp:gtp:ip:udp:dns": build.ethernet(
        build.vlan(build.ipv4(build.udp(build.gtpu(build.ipv4(DNS), teid=7), dport=2152)), vid=100)
    ),
    "eth:ethertype:ip:udp:gtp:ipv6:udp:dns": build.ethernet(
        build.ipv4(
            build.udp(
                build.gtpu(build.ipv6(DNS), teid=9, sequence=3, extensions=[(0x85, b"\x10\5")]), dport=2152
            ),
            options=b"\1\1\1\0",
        )
    ),
    "eth:ethertype:ieee8021ad:ethertype:vlan:ethertype:ipv6:tcp": build.ethernet(
        build.vlan(
            build.vlan(build.ipv6(build.tcp(flags=2, options=b"\2\4\5\xb4")), vid=100), vid=200, tpid=0x88A8
        )
    ),
    "eth:ethertype:mpls:ip:icmp:data": build.ethernet(
        build.mpls(build.mpls(build.ipv4(build.icmp(bytes(4) + b"ping")), label=1000), label=17)
    ),
    "eth:ethertype:ipv6:ipv6.hopopts:ipv6.dstopts:icmpv6:data": build.ethernet(
        build.ipv6(
            build.ipv6_options(
                build.ipv6_options(build.icmpv6(bytes(4) + b"ping"), header=60, words=1), header=0
            )
        )
    ),
    "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:udp:dns": build.ethernet(
        build.ipv4(build.udp(build.vxlan(build.ethernet(build.ipv4(DNS)), vni=5000), dport=4789))
    ),
    "eth:ethertype:ip:gre:ip:udp:dns": build.ethernet(build.ipv4(build.gre(build.ipv4(DNS), key=5))),
    "eth:ethertype:arp": build.ethernet(build.arp(), dst="ff:ff:ff:ff:ff:ff"),
    "eth:ethertype:ip:data": build.ethernet(build.ipv4(b"fragment", protocol=17, offset=10, more=True)),
    "eth:ethertype:ipv6:ipv6.fraghdr:data": build.ethernet(
        build.ipv6(build.ipv6_fragment(DNS, offset=10), dst="fe80::1")
    ),
}


@pytest.fixture(scope="module")
def dissected(tmp_path_factory):
    if shutil.which("tshark") is None:
        pytest.skip("no tshark here")
    path = tmp_path_factory.mktemp("build") / "built.pcap"
    with RawPcapWriter(str(path), linktype=1) as writer:
        for packet in PACKETS.values():
            writer.write(packet)
    fields = (
        "frame.protocols",
        "_ws.malformed",
        "_ws.expert.message",
        "gtp.teid",
        "vlan.id",
        "vxlan.vni",
        "mpls.label",
    )
    return tshark_fields(path, *fields, options=OPTIONS)


def test_tshark_sees_the_layers(dissected):
    assert [row[0] for row in dissected] == list(PACKETS)


def test_nothing_is_malformed_and_checksums_are_right(dissected):
    for protocols, malformed, expert, *_ in dissected:
        assert not malformed, protocols
        assert "hecksum" not in expert or "zero" in expert.lower(), (protocols, expert)


def test_numbers_are_where_they_belong(dissected):
    numbers = [row[3:] for row in dissected]
    assert numbers[0][:2] == ["0x00000007", "100"]
    assert numbers[1][0] == "0x00000009"
    assert numbers[2][1] == "100"  # the outer one is ieee8021ad.id
    assert numbers[3][3] == "17,1000"
    assert numbers[5][2] == "5000"


def test_a_sctp_header():
    from scapy.layers.sctp import SCTP  # noqa: PLC0415 - a second to import

    header = SCTP(build.sctp(sport=1, dport=38412, tag=9))
    assert (header.sport, header.dport, header.tag) == (1, 38412, 9)
