# SPDX-License-Identifier: BSD-3-Clause
"""
Makes the traffic that the demo, the tests and the benchmarks run on.

``mix()`` yields Ethernet frames of coherent conversations, the same for the same seed: GTP-U with IPv4 and
IPv6 inside, TCP (HTTP and TLS), DNS, SIP, NTP, ICMP, ARP, VLAN, QinQ and IPv6, with every checksum right.
Of 4096 frames 20 % are GTP-U, 12 % VLAN (a third of them QinQ), 18 % IPv6 and 1 % ``udp port 5060``;
their mean size is about 363 bytes.

    python benchmarks/traffic.py OUT.pcap [--count N] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Address = IPv4Address | IPv6Address

MTU = 1500
ETH_IPV4, ETH_ARP, ETH_VLAN, ETH_IPV6, ETH_QINQ = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
FIN_ACK, SYN, SYN_ACK, ACK, PSH_ACK = 0x11, 0x02, 0x12, 0x10, 0x18
PORT_DNS, PORT_HTTP, PORT_NTP, PORT_TLS, PORT_GTPU, PORT_SIP = 53, 80, 123, 443, 2152, 5060

# How many of a thousand frames each kind makes.
SHARES = {
    "gtpu4": 140,  # IPv4 inside
    "gtpu6": 60,  # IPv6 inside
    "vlan": 80,
    "qinq": 40,
    "tcp6": 100,
    "dns6": 50,
    "icmp6": 30,
    "tcp4": 360,
    "dns4": 60,
    "ntp": 30,
    "icmp": 30,
    "sip": 10,
    "arp": 10,
}

# Sizes of the answers, bytes: from an interactive reply to a download of several segments.
ANSWER_SIZES = (40, 90, 180, 300, 1300, 2600, 3900, 5200)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of `data`."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _transport_checksum(src: Address, dst: Address, protocol: int, segment: bytes) -> int:
    pseudo = src.packed + dst.packed + struct.pack("!IHBB", len(segment), 0, 0, protocol)
    return checksum(pseudo + segment)


def mac(address: Address) -> bytes:
    """Return the locally administered MAC of the host with this address."""
    return b"\x02\x00" + address.packed[-4:]


def ethernet(
    src: bytes, dst: bytes, ethertype: int, payload: bytes, tags: Iterable[tuple[int, int]] = ()
) -> bytes:
    """Return a frame, padded to 60 bytes, with `tags` of (TPID, VLAN id) from the outermost on."""
    header = dst + src + b"".join(struct.pack("!HH", tpid, vid) for tpid, vid in tags)
    return (header + struct.pack("!H", ethertype) + payload).ljust(60, b"\0")


def ip(src: Address, dst: Address, protocol: int, payload: bytes, ident: int = 0) -> bytes:
    """Return an IPv4 or IPv6 packet, whichever the addresses are."""
    if src.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + src.packed + dst.packed + payload
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), ident, 0x4000, 64, protocol)
    tail = src.packed + dst.packed
    return head + struct.pack("!H", checksum(head + b"\0\0" + tail)) + tail + payload


def udp(src: Address, dst: Address, sport: int, dport: int, payload: bytes) -> bytes:
    """Return an IP packet with a UDP datagram."""
    head = struct.pack("!HHH", sport, dport, 8 + len(payload))
    check = _transport_checksum(src, dst, UDP, head + b"\0\0" + payload) or 0xFFFF
    return ip(src, dst, UDP, head + struct.pack("!H", check) + payload)


def echo(src: Address, dst: Address, ident: int, sequence: int, *, reply: bool) -> bytes:
    """Return a ping or its answer, ICMP or ICMPv6."""
    kind = (129 if reply else 128) if src.version == 6 else (0 if reply else 8)
    body = struct.pack("!HH", ident, sequence) + bytes(range(56))
    message = struct.pack("!BBH", kind, 0, 0) + body
    check = _transport_checksum(src, dst, ICMPV6, message) if src.version == 6 else checksum(message)
    return ip(src, dst, ICMPV6 if src.version == 6 else ICMP, struct.pack("!BBH", kind, 0, check) + body)


def gtpu(src: Address, dst: Address, teid: int, inner: bytes) -> bytes:
    """Return `inner` as a G-PDU between two tunnel ends (3GPP TS 29.281, 5.1: version 1, no options)."""
    return udp(src, dst, PORT_GTPU, PORT_GTPU, struct.pack("!BBHI", 0x30, 0xFF, len(inner), teid) + inner)


def arp(src: IPv4Address, dst: IPv4Address, *, reply: bool) -> bytes:
    """Return an ARP frame (RFC 826)."""
    target = mac(dst) if reply else bytes(6)
    body = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, 2 if reply else 1)
    body += mac(src) + src.packed + target + dst.packed
    return ethernet(mac(src), mac(dst) if reply else b"\xff" * 6, ETH_ARP, body)


def frame(packet: bytes, tags: Iterable[tuple[int, int]] = ()) -> bytes:
    """Put an IP packet on the wire, between the MACs that belong to its addresses."""
    if packet[0] >> 4 == 6:
        src, dst = packet[20:24], packet[36:40]
        return ethernet(b"\x02\x00" + src, b"\x02\x00" + dst, ETH_IPV6, packet, tags)
    return ethernet(b"\x02\x00" + packet[12:16], b"\x02\x00" + packet[16:20], ETH_IPV4, packet, tags)


@dataclass
class Conversation:
    """One TCP connection: handshake, requests with answers, close, and again from another port."""

    client: Address
    server: Address
    port: int
    rng: random.Random
    mss: int = 1380
    _seq: dict[bool, int] = field(default_factory=dict)

    def _segment(self, flags: int, data: bytes = b"", *, up: bool, sport: int) -> bytes:
        src, dst = (self.client, self.server) if up else (self.server, self.client)
        ports = (sport, self.port) if up else (self.port, sport)
        acknowledged = self._seq[not up] if flags & ACK else 0
        head = struct.pack("!HHIIBBHHH", *ports, self._seq[up], acknowledged, 5 << 4, flags, 64240, 0, 0)
        check = _transport_checksum(src, dst, TCP, head + data)
        self._seq[up] = (self._seq[up] + len(data) + (1 if flags & 0x03 else 0)) & 0xFFFFFFFF
        segment = head[:16] + struct.pack("!HH", check, 0) + data
        return ip(src, dst, TCP, segment, ident=self.rng.getrandbits(16))

    def _payloads(self) -> tuple[bytes, bytes]:
        """Return a request and its answer."""
        size = self.rng.choice(ANSWER_SIZES)
        if self.port == PORT_HTTP:
            request = b"GET /%d HTTP/1.1\r\nHost: example.org\r\n\r\n" % self.rng.randrange(1000)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % size
            return request, head + b"x" * size
        # One TLS 1.2 application data record each.
        query, answer = self.rng.randbytes(self.rng.randrange(24, 120)), self.rng.randbytes(size)
        header = b"\x17\x03\x03"
        return (
            header + struct.pack("!H", len(query)) + query,
            header + struct.pack("!H", len(answer)) + answer,
        )

    def packets(self) -> Iterator[bytes]:
        """Yield IP packets without end."""
        while True:
            sport = self.rng.randrange(32768, 61000)
            self._seq = {True: self.rng.getrandbits(32), False: self.rng.getrandbits(32)}
            yield self._segment(SYN, up=True, sport=sport)
            yield self._segment(SYN_ACK, up=False, sport=sport)
            yield self._segment(ACK, up=True, sport=sport)
            for _ in range(self.rng.randrange(3, 12)):
                request, answer = self._payloads()
                yield self._segment(PSH_ACK, request, up=True, sport=sport)
                for start in range(0, len(answer), self.mss):
                    part = answer[start : start + self.mss]
                    last = start + self.mss >= len(answer)
                    yield self._segment(PSH_ACK if last else ACK, part, up=False, sport=sport)
                yield self._segment(ACK, up=True, sport=sport)
            yield self._segment(FIN_ACK, up=True, sport=sport)
            yield self._segment(FIN_ACK, up=False, sport=sport)
            yield self._segment(ACK, up=True, sport=sport)


def _hosts(version: int, rng: random.Random) -> tuple[Address, Address]:
    """Return a client (10.0.0.0/8 or 2001:db8:0:1::/64) and a server (192.168.0.0/16 or 2001:db8::/64)."""
    if version == 6:
        prefix = int(IPv6Address("2001:db8::"))
        host = rng.randrange(1, 60000)
        return IPv6Address(prefix + (1 << 64) + host), IPv6Address(prefix + rng.randrange(1, 50))
    client = IPv4Address(f"10.{rng.randrange(4)}.{rng.randrange(7)}.{rng.randrange(1, 251)}")
    return client, IPv4Address(f"192.168.{rng.randrange(3)}.{rng.randrange(1, 30)}")


def tcp_packets(version: int, rng: random.Random, mss: int = 1380, flows: int = 24) -> Iterator[bytes]:
    """Yield the packets of some connections, interleaved."""
    running = [
        Conversation(*_hosts(version, rng), rng.choice((PORT_HTTP, PORT_TLS, PORT_TLS)), rng, mss).packets()
        for _ in range(flows)
    ]
    while True:
        yield next(rng.choice(running))


def dns_packets(version: int, rng: random.Random) -> Iterator[bytes]:
    """Yield queries and their answers (RFC 1035)."""
    while True:
        client, server = _hosts(version, rng)
        sport, ident = rng.randrange(32768, 61000), rng.getrandbits(16)
        name = b"\x05host%d\x07example\x03org\0" % rng.randrange(10)
        question = name + struct.pack("!HH", 1, 1)
        yield udp(client, server, sport, PORT_DNS, struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + question)
        answer = struct.pack("!HHHIH", 0xC00C, 1, 1, 300, 4) + bytes((198, 51, 100, rng.randrange(256)))
        reply = struct.pack("!6H", ident, 0x8180, 1, 1, 0, 0) + question + answer
        yield udp(server, client, PORT_DNS, sport, reply)


def echo_packets(version: int, rng: random.Random) -> Iterator[bytes]:
    """Yield pings and their answers."""
    client, server = _hosts(version, rng)
    ident = rng.getrandbits(16)
    sequence = 0
    while True:
        sequence = sequence + 1 & 0xFFFF
        yield echo(client, server, ident, sequence, reply=False)
        yield echo(server, client, ident, sequence, reply=True)


def ntp_packets(rng: random.Random) -> Iterator[bytes]:
    """Yield client requests (RFC 5905: version 4, mode 3)."""
    while True:
        request = b"\x23" + bytes(39) + rng.randbytes(8)
        yield udp(*_hosts(4, rng), rng.randrange(32768, 61000), PORT_NTP, request)


def sip_packets(rng: random.Random) -> Iterator[bytes]:
    """Yield OPTIONS requests (RFC 3261)."""
    while True:
        client, server = _hosts(4, rng)
        text = (
            f"OPTIONS sip:{server} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {client};branch=z9hG4bK{rng.getrandbits(32):x}\r\n"
            f"From: <sip:{client}>;tag={rng.getrandbits(16):x}\r\nTo: <sip:{server}>\r\n"
            f"Call-ID: {rng.getrandbits(32):x}@{client}\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        yield udp(client, server, PORT_SIP, PORT_SIP, text.encode())


def gtpu_packets(version: int, rng: random.Random) -> Iterator[bytes]:
    """Yield the traffic of some phones in tunnels between a base station and a UPF, both ways."""
    base, upf = IPv4Address("10.200.0.1"), IPv4Address("10.200.0.2")
    # What is inside fits into the tunnel: 20 + 8 + 8 bytes outside, 40 + 20 inside.
    inside = tcp_packets(version, rng, mss=MTU - 36 - 60, flows=16)
    for inner in inside:
        # By the source: clients live in 10.0.0.0/8 and in 2001:db8:0:1::/64.
        up = inner[12] == 10 if version == 4 else inner[15] == 1
        src, dst = (base, upf) if up else (upf, base)
        yield gtpu(src, dst, 0x11223344 if up else 0x55667788, inner)


def arp_frames(rng: random.Random) -> Iterator[bytes]:
    """Yield requests and their answers."""
    while True:
        asker = IPv4Address(f"192.168.0.{rng.randrange(100, 200)}")
        server = IPv4Address(f"192.168.0.{rng.randrange(1, 30)}")
        yield arp(asker, server, reply=False)
        yield arp(server, asker, reply=True)


def _sources(rng: random.Random) -> dict[str, Iterator[bytes]]:
    def framed(packets: Iterator[bytes], tags: Callable[[], list[tuple[int, int]]] = list) -> Iterator[bytes]:
        return (frame(packet, tags()) for packet in packets)

    return {
        "gtpu4": framed(gtpu_packets(4, rng)),
        "gtpu6": framed(gtpu_packets(6, rng)),
        "vlan": framed(tcp_packets(4, rng), lambda: [(ETH_VLAN, 100)]),
        "qinq": framed(tcp_packets(4, rng), lambda: [(ETH_QINQ, 200), (ETH_VLAN, 100)]),
        "tcp6": framed(tcp_packets(6, rng)),
        "dns6": framed(dns_packets(6, rng)),
        "icmp6": framed(echo_packets(6, rng)),
        "tcp4": framed(tcp_packets(4, rng)),
        "dns4": framed(dns_packets(4, rng)),
        "ntp": framed(ntp_packets(rng)),
        "icmp": framed(echo_packets(4, rng)),
        "sip": framed(sip_packets(rng)),
        "arp": arp_frames(rng),
    }


def mix(count: int = 4096, seed: int = 1) -> Iterator[bytes]:
    """Yield `count` frames in the shares of SHARES, exact to a frame a kind, evenly shuffled."""
    rng = random.Random(seed)
    kinds = list(SHARES)
    total = sum(SHARES.values())
    quota = {kind: SHARES[kind] * count // total for kind in kinds}
    for kind in kinds[: count - sum(quota.values())]:
        quota[kind] += 1
    schedule = [kind for kind in kinds for _ in range(quota[kind])]
    rng.shuffle(schedule)
    sources = _sources(rng)
    return (next(sources[kind]) for kind in schedule)


def write_pcap(path: Path, frames: Iterable[bytes], interval_ns: int = 10_007) -> int:
    """Write frames as a nanosecond pcap, `interval_ns` apart, and return how many there were."""
    time, written = 1_700_000_000_000_000_000, 0
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        for data in frames:
            out.write(struct.pack("<IIII", *divmod(time, 10**9), len(data), len(data)) + data)
            time += interval_ns
            written += 1
    return written


def main() -> None:
    """Write a pcap from the command line."""
    parser = argparse.ArgumentParser(description="Write a nanosecond pcap of mixed traffic.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"{write_pcap(args.out, mix(args.count, args.seed))} packets written to {args.out}")


if __name__ == "__main__":
    main()
