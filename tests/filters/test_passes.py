# SPDX-License-Identifier: BSD-3-Clause
"""Each pass by itself: the decisions before and after it give the same for every packet."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings

from dpcap.filters import cbpf, libpcap
from dpcap.filters.build import build
from dpcap.filters.ir import Graph, order
from dpcap.filters.passes import bounds, ihl
from support.packets import assorted
from support.passes import (
    AVAILABLE,
    PASSES,
    check,
    drop_implied,
    if_convert,
    merge_chains,
    merge_checks,
    speculate,
)
from support.programs import packets, programs

more = settings(max_examples=int(os.environ.get("DPCAP_TEST_EXAMPLES", "25")), deadline=None)


@pytest.mark.parametrize("apply", PASSES, ids=lambda f: f.__name__)
@more
@given(program=programs(), packet=packets)
def test_random_programs(apply, program, packet):
    check(program, packet, apply)


@pytest.mark.parametrize("apply", PASSES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "expression",
    [
        "udp port 2152",
        "host 10.0.0.1 and (port 80 or port 443 or portrange 1000-2000)",
        "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
        "vlan 100 and udp port 2152",
        " or ".join(f"host 10.0.{i % 7}.{1 + 5 * i}" for i in range(8)),
        "port 53 or port 67 or port 68 or port 123 or port 161 or port 500 or port 4500 or port 2152",
        "ip6 host 2001:db8::1 or icmp6",
        "ether[100:4] = 0 or udp[28:4] = 0x0a2d0001",
    ],
)
def test_expressions(apply, expression):
    program = cbpf.validate(libpcap.compile_cbpf(expression))
    for packet in assorted()[::8]:
        check(program, packet[:100], apply)


def changes(apply, expression):
    graph = Graph()
    before = build(graph, cbpf.validate(libpcap.compile_cbpf(expression)))
    return before, apply(graph, before)


def test_the_furthest_byte_is_asked_for_once():
    _, after = changes(merge_checks, "ip and udp dst port 53")
    assert [repr(n) for n in order(after)][:3] == ["if len >= 24", "if P[12:2] == 0800", "if P[23:1] == 11"]


def test_header_lengths_become_fixed():
    _, after = changes(speculate, "ip and udp dst port 53")
    assert any("P[36:2] == 0035" in repr(n) for n in order(after))
    assert any(n.op == "branch" and n.args[0].op == "stray" for n in order(after))


def test_header_lengths_without_a_type_stay():
    """`ip[0]` of a packet that need not be IPv4: nothing tells a stray."""
    graph = Graph()
    root = build(graph, cbpf.validate([(0xB1, 0, 0, 14), (0x48, 0, 0, 16), (0x16, 0, 0, 0)]))
    assert ihl.speculate(graph, root) == (root, [])


def test_lists_become_sets():
    _, after = changes(merge_chains, " or ".join(f"src host 10.0.0.{i}" for i in range(1, 9)))
    assert sum("in {8 numbers}" in repr(n) for n in order(after)) == 2  # IPv4; ARP and RARP


def test_the_type_is_asked_for_once():
    graph = Graph()
    program = libpcap.compile_cbpf("host 10.0.0.1 or host 10.0.0.2", optimize=False)
    before = build(graph, cbpf.validate(program))
    after = drop_implied(graph, before)
    asked = [sum(repr(n) == "if P[12:2] == 0800" for n in order(root)) for root in (before, after)]
    assert asked[0] > 1
    assert asked[1] == 1


def test_ports_of_both_ip_versions_are_tested_once():
    graph = Graph()
    root = build(graph, cbpf.validate(libpcap.compile_cbpf("udp port 53")))
    fixed, _ = ihl.speculate(graph, root)
    after = if_convert(graph, bounds.drop_known(graph, fixed, AVAILABLE))
    assert repr(after).count("== 0x35") == 2
