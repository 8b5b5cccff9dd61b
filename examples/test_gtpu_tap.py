# SPDX-License-Identifier: BSD-3-Clause
"""Does a tap on the N3 interface of a UPF see one phone's uplink, and nothing else?"""

from __future__ import annotations

from hypothesis import given

from dpcap.testing import FilterFactory, Packet, build, ip_packets, packets

TAP = "vlan 100 and udp dst port 2152 and udp[12:4] = 0x11223344"  # the session's TEID
PHONE = "10.45.0.1"
PING = build.ipv4(build.icmp(bytes(4)), src=PHONE, dst="8.8.8.8")


def n3(inner: bytes, *, teid: int = 0x11223344, vid: int = 100) -> bytes:
    tunnel = build.udp(build.gtpu(inner, teid=teid), dport=2152)
    return build.ethernet(build.vlan(build.ipv4(tunnel, src="10.200.0.1", dst="10.200.0.2"), vid=vid))


def test_one_session_only(dpcap: FilterFactory) -> None:
    tap = dpcap(TAP)
    assert n3(PING) in tap
    assert n3(PING, teid=0x11223345) not in tap
    assert n3(PING, vid=200) not in tap


@given(packets(vlan=100, src="10.200.0.1", teid=0x11223344, inner=ip_packets(src=PHONE)))
def test_whatever_the_phone_sends(dpcap: FilterFactory, packet: Packet) -> None:
    assert packet in dpcap(TAP)
