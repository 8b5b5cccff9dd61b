# SPDX-License-Identifier: BSD-3-Clause
"""Explanations name the field that decided, and agree with the filter."""

from __future__ import annotations

import pytest

from dpcap.filters import compile  # noqa: A004 - as re.compile
from dpcap.filters.explain import dump, reason, stages
from dpcap.filters.fields import dissect, name_of
from support.expressions import ALL
from support.packets import assorted


@pytest.mark.parametrize("expression", ALL[::7])
def test_reasons_agree_with_the_filter(expression):
    tap = compile(expression, optimize=False)
    for packet in assorted():
        for cut in (packet, packet[:30], packet[:17]):
            assert reason(tap, cut, len(packet)).result == tap.run(cut, len(packet), "libpcap")


@pytest.mark.parametrize(
    ("expression", "number", "matches", "field"),
    [
        ("udp dst port 1024", 0, True, "udp.dstport"),
        ("udp dst port 53", 0, False, "udp.dstport"),
        ("src host 10.0.0.1", 0, True, "ip.src"),
        ("ip6", 0, False, "eth.type"),
        ("tcp", 0, False, "ip.proto"),
        ("dst host fe80::1", 10, True, "ipv6.dst"),
        ("vlan 100", 27, True, "vlan.id"),
        ("udp dst port 2152", 13, True, "udp.dstport"),  # behind IPv4 options
        ("tcp[tcpflags] & tcp-syn != 0", 5, True, "tcp.flags"),
        ("arp[6:2] = 2", 24, False, "arp.opcode"),
        ("ether[200] = 1", 0, False, "beyond the packet"),
    ],
)
def test_the_field_that_decided(expression, number, matches, field):
    found = reason(compile(expression), assorted()[number])
    assert bool(found.result) == matches
    assert found.decided_by is not None
    assert field in found.decided_by.fields
    assert str(found).startswith(f"{'matches' if matches else 'does not match'}, decided by ")


@pytest.mark.parametrize(
    ("expression", "number", "verdict"),
    [
        ("udp port 2152", 0, "does not match, decided by udp.dstport: 1024"),
        ("vlan 100", 28, "does not match, decided by vlan.id: 200"),
        ("mpls 1000", 34, "does not match, decided by mpls.label: 3"),
        ("dst net 192.168.0.0/16", 0, "matches, decided by ip.dst: 192.168.1.1"),
        ("ether src 02:00:00:00:00:09", 0, "does not match, decided by eth.src[2:4]: 00:00:00:01"),
        ("ether[0] & 1 = 0", 0, "matches, decided by eth.dst[0] & 0x01: 0x00"),
        ("udp[12:4] = 0x11223344", 2, "matches, decided by gtp.teid: 0x11223344"),
        ("tcp[2:2] > 1023", 5, "does not match, decided by tcp.dstport: 80"),
        ("ip[2:2] + 14 = len", 0, "matches, decided by ip.len + 14: 48"),
        ("len > 100", 0, "does not match, decided by frame.len: 48"),
        ("ether[200] = 1", 0, "does not match, decided by frame.cap_len: 48"),
        ("outbound", 0, "does not match, decided by direction: inbound"),
        ("", 0, "matches"),
    ],
)
def test_the_verdict_names_field_and_value(expression, number, verdict):
    assert reason(compile(expression), assorted()[number]).verdict == verdict


def test_metadata_decides():
    tap = compile("outbound and ifindex 3")
    assert reason(tap, b"", direction="out", port=3).result
    assert reason(tap, b"", direction="out", port=4).verdict == "does not match, decided by port: 4"


def test_the_path_of_a_long_list_is_short():
    tap = compile("ip and src host (" + " or ".join(f"1.2.3.{i}" for i in range(60)) + ")")
    assert list(reason(tap, assorted()[0]).path()) == [
        "  eth.type == 0x0800  yes  0x0800",
        "  ip.src == 1.2.3.0   no   10.0.0.1",
        "  ip.src == 1.2.3.1   no   10.0.0.1",
        "  ip.src == 1.2.3.2   no   10.0.0.1",
        "  56 more of ip.src   no   10.0.0.1",
        "  ip.src == 1.2.3.59  no   10.0.0.1",
    ]


def test_the_deciding_bytes_are_marked():
    text = str(reason(compile("udp dst port 1024"), assorted()[0]))
    assert "[04 00]" in text
    assert dump(bytes(16) + b"ab", (0, 15, 17)) == (
        "  0000 [00]00 00 00 00 00 00 00 00 00 00 00 00 00 00[00]  ................\n"
        "  0010  61[62]                                            ab"
    )


def test_fields_cover_the_packet():
    for packet in assorted():
        fields = dissect(packet)
        assert "beyond the packet" not in {name_of(fields, offset) for offset in range(len(packet))}


def test_stages():
    titles = [stage.title for stage in stages(compile("udp port 2152"), native=False)]
    assert titles == [
        "cBPF",
        "decisions",
        "bounds: merged length checks",
        "ihl: IPv4 headers of 20 bytes",
        "bounds: packets of 58 bytes at least",
        "sets: chains as one test",
        "ifconvert, clamp, offset: branch-free form",
        "early-out form",
        "eBPF, branch-free form",
        "eBPF, early-out form",
        "eBPF, branchy form",
    ]
    assert [s.title for s in stages(compile("ip", optimize=False), native=False)] == [
        "cBPF",
        "eBPF, plain form",
    ]


def test_machine_code_is_shown_or_told_to_be_missing():
    assert stages(compile("ip"))[-1].text
