# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E501 - tables read better with one entry a line
"""Filter expressions of every primitive in pcap-filter(7), as far as Ethernet has it."""

from __future__ import annotations

_HOSTS = ("10.0.0.1", "192.168.1.1", "10.0.1.6", "2001:db8::1", "fe80::1")
_MAC = "02:00:00:00:00:01"

HOSTS = [
    *(f"{direction}host {host}" for host in _HOSTS for direction in ("", "src ", "dst ")),
    *(f"{direction} host 10.0.0.1" for direction in ("src or dst", "src and dst")),
    "ip host 10.0.0.1",
    "ip src host 10.0.0.1",
    "ip6 host 2001:db8::1",
    "ip6 dst host fe80::1",
    "arp host 10.0.0.1",
    "arp dst host 10.0.0.1",
    "rarp host 10.0.0.1",

    "host 10.0.0.1 or 10.0.0.2 or 10.0.0.3",
    "not host 10.0.0.1",
    "host 10.0.0.1 and not host 10.0.0.2",
    *(f"{direction}net {net}" for net in ("10.0.0.0/8", "192.168", "10.1.2.0/23") for direction in ("", "src ", "dst ")),
    "net 10.0.0.0 mask 255.0.0.0",
    "net 192.168.0.0 mask 255.255.254.0",
    "ip net 10.0.0.0/8",
    "arp net 10.0.0.0/8",
    "net 2001:db8::/32",
    "src net 2001:db8::/33",
    "dst net fe80::/10",
    "ip6 net ff00::/8",
    "net 0.0.0.0/0",
    "src net 10.0.0.0/8 and dst net 192.168.0.0/16",
]  # fmt: skip

PORTS = [
    *(f"{proto}{direction}port 53" for proto in ("", "udp ", "tcp ") for direction in ("", "src ", "dst ")),
    *(f"{proto}{direction}portrange 1000-2152" for proto in ("", "udp ", "tcp ") for direction in ("", "src ", "dst ")),
    "udp port 2152",
    "tcp port 80",
    "port domain",
    "port http or port https",
    "tcp dst port 443 or udp dst port 443",
    "sctp port 38412",
    "sctp portrange 1-100",
    "src and dst port 2152",
    "port 0",
    "port 65535",
    "portrange 0-65535",
    "portrange 100-100",
    "not port 22",
    "port 53 or port 67 or port 68 or port 123 or port 161 or port 500 or port 4500 or port 2152",
    "ip and udp dst port 2152",
    "ip6 and tcp portrange 1-1024",
    "udp src port 53 and udp dst port 53",
]  # fmt: skip

PROTOCOLS = [
    "", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "ah", "esp",
    "vrrp", "carp", "ip proto 47", "ip proto 89", "ip6 proto 58", "proto 17", "proto \\tcp", "ip proto \\udp",
    "ip6 proto \\tcp", "ip proto \\icmp", "icmp or icmp6", "ip6 and tcp", "not ip and not ip6",
    "ether proto 0x88cc", "ether proto \\ip", "ether proto \\arp", "ether proto \\ip6", "ether proto 0x100",
    "atalk", "aarp", "decnet", "iso", "stp", "ipx", "netbeui", "lat", "moprc", "mopdl", "sca",
    "clnp", "esis", "isis", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "iso proto 0x82",
    "decnet src 10.15", "decnet host 1.2", "llc", "llc i", "llc s", "llc u", "llc rr", "llc rnr", "llc rej", "llc ui",
    "llc ua", "llc disc", "llc sabme", "llc test", "llc xid", "llc frmr",
    "broadcast", "multicast", "ether broadcast", "ether multicast", "ip multicast", "ip6 multicast", "not broadcast",
]  # fmt: skip

ETHER = [
    *(f"ether {direction}host {_MAC}" for direction in ("", "src ", "dst ")),
    f"ether src {_MAC}",
    f"ether dst {_MAC} and ip",
    f"ether host {_MAC} or ether host ff:ff:ff:ff:ff:ff",
    f"not ether host {_MAC}",
    f"ether src or dst {_MAC}",
    f"ether src and dst {_MAC}",
    f"wlan host {_MAC}",
    "ether host 01:80:c2:00:00:00",
]

TAGS = [
    "vlan", "vlan 100", "vlan 0", "vlan 4095", "vlan and ip", "vlan 100 and udp port 2152", "vlan 100 and vlan 200",
    "vlan and vlan", "vlan and vlan and ip", "vlan 200 and vlan 100 and tcp port 443", "not vlan", "vlan 100 or vlan 200",
    "vlan and host 10.0.0.1", "vlan and arp", "vlan and ip6 and tcp", "vlan 100 and not port 53",
    "mpls", "mpls 1000", "mpls and ip", "mpls 1000 and udp port 2152", "mpls and mpls", "mpls and mpls 1000 and host 10.0.0.1",
    "vlan and mpls", "mpls 3 and ip6", "not mpls",
    "pppoed", "pppoes", "pppoes 1", "pppoes and ip", "pppoes 0x27 and tcp port 80", "pppoes and ip6", "vlan and pppoes",
    "geneve", "geneve 1", "geneve and ip", "geneve 0xb and udp port 53", "geneve and tcp", "vlan and geneve and ip6",
]  # fmt: skip

LENGTHS = [
    "less 64", "greater 100", "greater 1000", "len = 60", "len > 100", "len <= 128 and ip", "len >= 1500", "len != 98",
    "len % 7 = 3", "len / 16 > 4", "len - 14 = ip[2:2]", "len = 0", "greater 0", "less 0",
]  # fmt: skip

INDEXES = [
    "ether[0] & 1 = 0", "ether[0] & 1 != 0", "ether[12:2] = 0x800", "ether[6:4] = 0x02000000", "ether[12:2] > 1500",
    "ether[60] = 0", "ether[100:4] = 0", "ether[1000] = 1", "ether[70000:4] = 1", "ether[0:4] = ether[4:4]",
    "ip[0] & 0xf != 5", "ip[0] = 0x45", "ip[8] < 5", "ip[8] < 5 or ip[1] & 0xfc != 0", "ip[9] = 17", "ip[2:2] > 576",
    "ip[6:2] & 0x1fff = 0", "ip[6:2] & 0x2000 != 0", "ip[12:4] = 0x0a000001", "ip[12:4] = ip[16:4]", "ip[12:4] > ip[16:4]",
    "ip[16] >= 224", "ip[20:4] = 0", "ip[19:2] = 0x0100",
    "ip6[6] = 17", "ip6[0:4] & 0x000fffff = 0", "ip6[7] < 64", "ip6[8:4] = 0x20010db8", "ip6[40] = 128",
    "arp[6:2] = 1", "arp[7] = 2", "arp[14:4] = 0x0a000001", "rarp[6:2] = 3",
    "tcp[13] = 2", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[tcpflags] & tcp-syn != 0", "tcp[13] & 7 == 2",
    "tcp[tcpflags] == tcp-syn|tcp-ack", "tcp[tcpflags] & tcp-rst != 0 or tcp[tcpflags] & tcp-push != 0",
    "tcp[tcpflags] & (tcp-urg|tcp-ece|tcp-cwr) = 0", "tcp[0:2] = tcp[2:2]", "tcp[2:2] > 1023",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "tcp[(tcp[12]>>2):2] = 0x1603",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "udp[4:2] > 100", "udp[8:4] & 0xff000000 = 0x30000000", "udp[8] & 0xf8 = 0x30", "udp[1] ^ udp[3] = 0",
    "udp dst port 2152 and udp[8] & 0xf8 = 0x30 and udp[9] = 0xff and udp[12:4] = 0x11223344",
    "udp port 2152 and udp[9] = 255 and (udp[28:4] = 0x0a2d0001 or udp[32:4] = 0x0a2d0001)",
    "udp dst port 4789 and udp[12:4] >> 8 = 5000", "ip[6:2] & 0x1fff = 0 and udp[8:4] & 0xff000000 = 0x30000000",
    "icmp[icmptype] = icmp-echo", "icmp[icmptype] != icmp-echoreply", "icmp[icmptype] = icmp-unreach and icmp[icmpcode] = 3",
    "icmp[0] < icmp[1]", "icmp6[icmp6type] = icmp6-echo", "icmp6[icmp6type] = icmp6-neighborsolicit", "icmp6[icmp6code] = 0",
    "sctp[0:2] = 36412", "igmp[0] = 0x16", "sctp[12] = 0", "carp[0] & 0xf0 = 0x20", "vrrp[0] = 0x21", "pim[0] = 0x20",
    "ip[ip[0]-20:4] = 3", "ip[ip[2:2]:1] = 0", "ip[(ip[0]&0xf)*4:2] = 53", "ether[ether[14]:2] = ether[12:2]",
    "ip[2:2] + 14 = len", "-ip[0] > 4294967290", "ip[0] * ip[1] = 0", "ip[2:2] / ip[8] > 3", "ip[2:2] % ip[9] = 2",
    "ip[4:2] / 256 = ip[4]", "ip[4:2] % 10 = 3", "ip[4:2] | 1 = ip[4:2]", "ip[4:2] ^ 0xffff > 100", "(ip[4:2] << 4) & 0xff = 0x30",
    "ip[4:4] >> ip[8] = 0", "ip[0] << ip[9] = 0x45", "ip[4:2] >> 3 > 100", "1 = 1", "1 = 2", "5 > 3 and ip", "ip[0]/ip[10] = 0",
    "ip[10:2] * 3 - 7 > ip[4:2] + 100", "ip[0] + ip[1] + ip[2] + ip[3] + ip[4] + ip[5] + ip[6] + ip[7] > 700",
    "ether[14:4] - ether[18:4] < ether[22:4] * ether[26:4]", "(ip[0] & 0xf) * 4 + (tcp[12] >> 4) * 4 = ip[2:2]",
    "udp[8 + udp[8]] = 0", "udp[udp[4:2] - 1] = 0", "ip[4294967295] = 0", "ether[ip[4:2] << 16] = 1",
]  # fmt: skip

COMBINED = [
    "host 10.0.0.1 and (port 80 or port 443 or portrange 1000-2000)",
    "net 192.168.0.0/16 and not arp",
    "ether multicast or ether proto 0x88cc",
    "ip6 host 2001:db8::1 and udp port 53",
    "src net 10.0.0.0/8 and dst net 192.168.0.0/16 and tcp portrange 20-30000",
    "(tcp[13] & 2 != 0 and not src net 192.168.0.0/16) or (udp port 53 and greater 80) or icmp",
    "not (tcp port 22 or udp port 53 or icmp)",
    "(ip or ip6) and (tcp or udp) and not port 22",
    "ip and not (src host 10.0.0.1 and dst host 10.0.0.2)",
    "tcp and (src port 80 or dst port 80) and (src host 10.0.0.1 or dst host 10.0.0.1)",
    "(src host 10.0.0.1 and dst host 10.0.0.2) or (src host 10.0.0.2 and dst host 10.0.0.1)",
    "ip and (ip[8] < 5 or ip[1] & 0xfc != 0)",
    "udp and ip[8] > 1 and ip[8] < 64 and ip[4:2] != 0",
    "arp or (ip6 and icmp6) or (ip and icmp)",
    "tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack = 0 and dst port 80",
    "(vlan and tcp) or udp",
    "ip or vlan",
    "udp port 53 or (vlan 100 and udp port 53)",
    "(tcp or udp) and (len > 100 or ip[8] = 1)",
    "(ip[8] = 1 or ip[8] = 2 or ip[8] = 3 or ip[8] = 4 or ip[8] = 5 or ip[8] = 64) and udp",
    "not not ip",
    "not (ip and udp) and not (ip and tcp)",
    "port 80 and port 443",
    "host 10.0.0.1 or host 10.0.0.2 or net 172.16.0.0/12 or tcp port 22 or ether host 02:00:00:00:00:01",
    " or ".join(f"host 10.0.{i % 7}.{1 + 5 * i}" for i in range(12)),
    " or ".join(f"src port {1000 + 7 * i}" for i in range(9)),
    "udp and (" + " or ".join(f"dst net 10.{i}.0.0/16" for i in range(8)) + ")",
]

METADATA = [
    "inbound",
    "outbound",
    "ifindex 3",
    "inbound and udp",
    "outbound or arp",
    "ifindex 0 and not inbound",
]

#: Expressions whose programs libpcap's own interpreter can run.
ALL = [*HOSTS, *PORTS, *PROTOCOLS, *ETHER, *TAGS, *LENGTHS, *INDEXES, *COMBINED]

#: Those that libpcap's optimiser refuses, because nothing matches.
IMPOSSIBLE = {"1 = 2"}
