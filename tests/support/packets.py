# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E501 - tables read better with one entry a line
"""Packets of every kind that filters tell apart, made by scapy."""

from __future__ import annotations

import functools
import struct


@functools.cache
def assorted() -> tuple[bytes, ...]:
    """One or a few packets of each kind."""
    # A second to import.
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR  # noqa: PLC0415
    from scapy.layers.inet6 import (  # noqa: PLC0415
        ICMPv6EchoRequest,
        ICMPv6ND_NS,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
    )
    from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether  # noqa: PLC0415
    from scapy.layers.ppp import PPPoE  # noqa: PLC0415

    eth = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    v4 = IP(src="10.0.0.1", dst="192.168.1.1")
    v6 = IPv6(src="2001:db8::1", dst="fe80::1")
    gtp = UDP(sport=2152, dport=2152, chksum=0) / bytes.fromhex("30ff00301122334400000000")
    inner = IP(src="10.45.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=53) / b"inner payload"
    mpls = struct.pack(">I", 1000 << 12 | 1 << 8 | 64)
    not_last = struct.pack(">I", 3 << 12 | 64)
    geneve = bytes.fromhex("0000655800000b00")
    vxlan = bytes.fromhex("0800000000138800")
    pad = b"\0" * 46
    packets = [
        eth / v4 / UDP(sport=53, dport=1024) / b"answer",
        eth / v4 / UDP(sport=1500, dport=53) / (b"question" * 20),
        eth / v4 / gtp / inner,
        eth / IP(src="192.168.1.1", dst="10.0.0.1", ttl=3, tos=0xB8) / gtp / inner,
        eth / v6 / gtp / inner,
        eth / v4 / TCP(sport=40000, dport=80, flags="S"),
        eth / v4 / TCP(sport=80, dport=40000, flags="SA", options=[("MSS", 1460)]),
        eth / v4 / TCP(sport=40000, dport=80, flags="PA") / b"GET / HTTP/1.1\r\n",
        eth / v4 / TCP(sport=40000, dport=443, flags="PA", options=[("Timestamp", (1, 2))]) / b"\x16\x03\x01",
        eth / v4 / TCP(sport=22, dport=1001, flags="FA"),
        eth / v6 / TCP(sport=40000, dport=80, flags="S"),
        eth / v6 / TCP(sport=443, dport=1001, flags="R"),
        eth / v6 / UDP(sport=53, dport=53) / b"question",
        eth / IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_NOP()] * 4) / UDP(sport=53, dport=2152) / b"x",
        eth / IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_RR(length=39)]) / TCP(sport=80, dport=1) / b"y",
        eth / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP(sport=53, dport=2152) / b"first",
        eth / IP(src="10.0.0.1", dst="10.0.0.2", frag=10, proto=17) / bytes.fromhex("0868086800300000"),
        eth / v4 / ICMP(type=8) / b"ping",
        eth / v4 / ICMP(type=3, code=3) / inner,
        eth / v6 / ICMPv6EchoRequest(data=b"ping"),
        eth / v6 / ICMPv6ND_NS(tgt="fe80::2"),
        eth / v6 / IPv6ExtHdrFragment(offset=0, m=1, nh=17) / UDP(sport=53, dport=53) / b"z",
        eth / v6 / IPv6ExtHdrHopByHop() / UDP(sport=53, dport=53) / b"z",
        eth / v6 / IPv6ExtHdrDestOpt() / TCP(sport=80, dport=53),
        eth / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2") / (b"\0" * 18),
        eth / ARP(op=2, psrc="10.0.0.2", pdst="10.0.0.1"),
        Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01", type=0x8035) / ARP(op=3, psrc="10.0.0.1"),
        eth / Dot1Q(vlan=100) / v4 / UDP(sport=2152, dport=2152) / b"tagged",
        eth / Dot1Q(vlan=200) / Dot1Q(vlan=100) / v4 / TCP(sport=1, dport=443),
        eth / Dot1AD(vlan=200) / Dot1Q(vlan=100) / v6 / TCP(sport=443, dport=1),
        eth / Dot1Q(vlan=100) / v6 / TCP(sport=443, dport=1),
        eth / Dot1Q(vlan=100) / ARP(psrc="10.0.0.1"),
        Ether(bytes(eth)[:12] + b"\x88\x47" + mpls + bytes(v4 / UDP(sport=2152, dport=53))),
        Ether(bytes(eth)[:12] + b"\x88\x47" + not_last + mpls + bytes(v4 / TCP(sport=2152, dport=53))),
        Ether(bytes(eth)[:12] + b"\x88\x47" + not_last + mpls + bytes(v6 / TCP(sport=2152, dport=53))),
        eth / PPPoE(sessionid=0x27) / bytes.fromhex("0021") / v4 / TCP(sport=1, dport=80),
        eth / PPPoE(sessionid=1) / bytes.fromhex("0057") / v6 / UDP(sport=1, dport=80),
        eth / v4 / UDP(sport=1, dport=6081, chksum=0) / geneve / eth / v4 / UDP(sport=1, dport=53) / b"in",
        eth / v6 / UDP(sport=1, dport=6081, chksum=0) / geneve / eth / v6 / TCP(sport=1, dport=53) / b"in",
        eth / v4 / UDP(sport=1, dport=4789, chksum=0) / vxlan / eth / v4 / UDP(sport=1, dport=53) / b"in",
        eth / IP(src="10.0.1.6", dst="224.0.0.1", proto=132) / bytes.fromhex("8e3c960c0000000000000000") / pad,
        eth / IP(src="10.0.1.6", dst="224.0.0.18", proto=112) / bytes.fromhex("2101640100000000"),
        eth / IP(src="10.0.1.6", dst="224.0.0.22", proto=2) / bytes.fromhex("1600fa01e0000005"),
        *(eth / IP(src="172.16.3.4", dst="10.1.2.3", proto=p) / bytes(24) for p in (47, 50, 51, 89, 103, 9)),
        Ether(dst="01:00:5e:00:00:01", src="02:00:00:00:00:01") / IP(dst="224.0.0.1") / UDP(dport=5353),
        Ether(dst="33:33:00:00:00:01", src="02:00:00:00:00:01") / IPv6(dst="ff02::1") / UDP(dport=5353),
        Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01", type=0x88CC) / bytes(50),
        Dot3(dst="01:80:c2:00:00:00", src="02:00:00:00:00:01") / LLC() / STP(),
        Dot3(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x809B) / pad,
        Dot3(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / LLC(dsap=0xFE, ssap=0xFE, ctrl=3) / bytes.fromhex("831b0100") / pad,
        Dot3(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / LLC(dsap=0xFF, ssap=0xFF) / pad,
        eth / v4 / UDP(sport=2152, dport=1) / bytes(1400),
    ]  # fmt: skip
    return tuple(bytes(packet) for packet in packets)
