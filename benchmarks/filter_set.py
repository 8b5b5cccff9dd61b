# SPDX-License-Identifier: BSD-3-Clause
"""
The filters of the filter benchmark: name|expression. And lists of growing length.

    ./dev bench filter_set

prints for lists of 10 to 10,000 members how long they take to compile, what the program is like,
and what a lookup costs: nanoseconds a packet of mixed ones, every second of which matches, in
jit-burst's fastest form.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import TYPE_CHECKING

import filter_engines as engines
import inputs

from dpcap.filters import compile  # noqa: A004 - as re.compile

if TYPE_CHECKING:
    from collections.abc import Callable

_HOSTS = [
    "10.0.0.1",
    "10.0.1.6",
    "10.0.2.11",
    "10.0.3.16",
    "10.0.4.21",
    "10.0.0.6",
    "10.0.6.31",
    "10.0.0.36",
    "10.0.1.41",
    "10.0.2.46",
    "10.0.0.11",
    "10.0.4.56",
    "10.0.5.61",
    "10.0.6.66",
    "10.0.0.71",
    "10.0.0.16",
    "10.1.2.81",
    "10.1.3.86",
    "10.1.4.91",
    "10.1.5.96",
    "10.0.0.21",
    "10.1.0.106",
    "10.1.1.111",
    "10.1.2.116",
    "10.1.3.121",
    "10.0.0.26",
    "10.1.5.131",
    "10.1.6.136",
    "10.1.0.141",
    "10.1.1.146",
    "10.0.0.31",
    "10.1.3.156",
    "10.2.4.161",
    "10.2.5.166",
    "10.2.6.171",
    "10.0.0.36",
    "10.2.1.181",
    "10.2.2.186",
    "10.2.3.191",
    "10.2.4.196",
    "10.0.0.41",
    "10.2.6.206",
    "10.2.0.211",
    "10.2.1.216",
    "10.2.2.221",
    "10.0.0.46",
    "10.2.4.231",
    "10.2.5.236",
    "10.3.6.241",
    "10.3.0.246",
]

FILTERS = [
    "empty|",
    "ip|ip",
    "arp|arp",
    "ip6tcp|ip6 and tcp",
    "udp2152|udp port 2152",
    "udpdst2152|ip and udp dst port 2152",
    "synfin|tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "vlan_gtp|vlan 100 and udp port 2152",
    "hostports|host 10.0.0.1 and (port 80 or port 443 or portrange 1000-2000)",
    "net_notarp|net 192.168.0.0/16 and not arp",
    "hosts50|" + " or ".join(f"host {host}" for host in _HOSTS),
    "greater|greater 1000",
    "fragudp|ip[6:2] & 0x1fff = 0 and udp[8:4] & 0xff000000 = 0x30000000",
    "gtp_teid|udp dst port 2152 and udp[8] & 0xf8 = 0x30 and udp[9] = 0xff and udp[12:4] = 0x11223344",
    "gtp_inner|udp port 2152 and udp[9] = 255 and (udp[28:4] = 0x0a2d0001 or udp[32:4] = 0x0a2d0001)",
    "etherhost|ether host 02:00:00:00:00:01",
    "ethmcast|ether multicast or ether proto 0x88cc",
    "icmps|icmp or icmp6",
    "v6dns|ip6 host 2001:db8::1 and udp port 53",
    "mpls_gtp|mpls 1000 and udp port 2152",
    "qinq|vlan 200 and vlan 100 and tcp port 443",
    "httpdata|tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "httpget|tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "manyports|port 53 or port 67 or port 68 or port 123 or port 161 or port 500 or port 4500 or port 2152",
    "ttldscp|ip and (ip[8] < 5 or ip[1] & 0xfc != 0)",
    "vxlan|udp dst port 4789 and udp[12:4] >> 8 = 5000",
    "netsrange|src net 10.0.0.0/8 and dst net 192.168.0.0/16 and tcp portrange 20-30000",
    "sctp|sctp",
    "small_ip|len <= 128 and ip",
    "mixed|(tcp[13] & 2 != 0 and not src net 192.168.0.0/16) or (udp port 53 and greater 80) or icmp",
]

_NUMBERS = random.Random(1)
_V6 = bytes.fromhex("86dd6000000000401140")


def _ipv4(src: bytes, ports: bytes = bytes(4)) -> bytes:
    return bytes(12) + bytes.fromhex("0800450000320001000040110000") + src + bytes(4) + ports + bytes(30)


def _ipv6(src: bytes) -> bytes:
    return bytes(12) + _V6 + src + bytes(60)


def _port(n: int) -> bytes:
    return _ipv4(b"\x0a\0\0\1", n.to_bytes(2, "big") + b"\xff\xff")


def _text6(address: bytes) -> str:
    return ":".join(address[i : i + 2].hex() for i in range(0, 16, 2))


def _random(size: int) -> bytes:
    return _NUMBERS.randbytes(size)


# Of each kind: a member, how it is written, and a packet of it.
LISTS: dict[str, tuple[Callable[[int], bytes], Callable[[bytes], str], Callable[[bytes], bytes]]] = {
    "host (IPv4)": (lambda _: b"\x0a" + _random(3), lambda m: f"host {'.'.join(map(str, m))}", _ipv4),
    "src net /24": (
        lambda i: b"\x0a" + i.to_bytes(2, "big"),
        lambda m: f"src net {'.'.join(map(str, m))}.0/24",
        lambda m: _ipv4(m + b"\7"),
    ),
    "host (IPv6)": (lambda _: _random(16), lambda m: f"host {_text6(m)}", _ipv6),
    "src net /48": (
        lambda _: _random(6),
        lambda m: f"src net {_text6(m + bytes(10))}/48",
        lambda m: _ipv6(m + bytes(10)),
    ),
    "ether host": (
        lambda _: _random(6),
        lambda m: f"ether host {m.hex(':')}",
        lambda m: bytes(6) + m + _ipv4(bytes(4))[12:],
    ),
    "port": (
        lambda i: (5 * i + 1).to_bytes(2, "big"),
        lambda m: f"port {int.from_bytes(m, 'big')}",
        lambda m: _port(int.from_bytes(m, "big")),
    ),
    "udp portrange": (
        lambda i: (6 * i + 1).to_bytes(2, "big"),
        lambda m: f"udp portrange {int.from_bytes(m, 'big')}-{int.from_bytes(m, 'big') + 2}",
        lambda m: _port(int.from_bytes(m, "big") + 1),
    ),
}


def main() -> int:
    """Measure lists."""
    parser = argparse.ArgumentParser(description="Compile long lists and look packets up in them.")
    parser.add_argument("--longest", type=inputs.count, default=10_000, help="members of the longest list")
    parser.add_argument("--runs", type=inputs.count, default=15, help="runs of which the fastest counts")
    arguments = parser.parse_args()
    timer = engines.Timer()
    print(f"{'list':<14}{'members':>8}{'compile s':>11}{'eBPF':>7}{'table B':>9}{'ns':>7}{'of 10':>7}   form")
    for name, (make, write, packet_of) in LISTS.items():
        base = None
        for count in (n for n in (10, 100, 1000, 10_000) if n <= arguments.longest):
            members = [make(i) for i in range(count)]
            expression = " or ".join(map(write, members))
            start = time.perf_counter()
            tap = compile(expression)
            took = time.perf_counter() - start
            chosen = _NUMBERS.choices(members, k=64)
            others = [_ipv4(b"\x7f" + _random(3)), _ipv6(bytes(16)), *(_port(65500 + i) for i in range(30))]
            packets = [packet_of(m) for m in chosen] + others * 2
            order = engines.Packets(packets).order(_NUMBERS.choices(range(128), k=16384), shuffled=True)
            forms = {f: engines.jit_burst(tap, f) for f in tap.forms if tap.is_accepted(f)}
            times = {f: timer.measure(timed, order, arguments.runs)[0] for f, timed in forms.items()}
            best = min(times, key=times.__getitem__)
            base = base or times[best]
            form = tap.forms[best]
            print(
                f"{name:<14}{count:>8}{took:>11.2f}{len(form.code) // 8:>7}{len(form.rodata):>9}"
                f"{times[best]:>7.2f}{times[best] / base:>7.2f}   {best}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
