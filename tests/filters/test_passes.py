# SPDX-License-Identifier: BSD-3-Clause
"""Each pass by itself: the decisions before and after it give the same for every packet."""

from __future__ import annotations

import os

import pytest
from hypothesis import assume, given, settings

from dpcap.filters import cbpf, evaluate, libpcap
from dpcap.filters.build import TooManyPathsError, build
from dpcap.filters.ir import Graph, order, text
from dpcap.filters.passes import bounds, clamp, earlyout, ifconvert, ihl, implied, offset, sets
from support.packets import assorted
from support.programs import packets, programs

more = settings(max_examples=int(os.environ.get("DPCAP_TEST_EXAMPLES", "25")), deadline=None)
AVAILABLE = 60


def merge_checks(graph, root):
    return bounds.merge_checks(graph, root)


def drop_known(graph, root):
    return bounds.drop_known(graph, root, AVAILABLE)


def speculate(graph, root):
    fixed, strays = ihl.speculate(graph, root)
    for stray in strays:
        fixed = graph.branch(graph.has(stray.args[0] + 1), graph.branch(stray, root, fixed), root)
    return fixed


def find_sets(graph, root):
    return sets.find_sets(graph, root, merge=False)


def merge_chains(graph, root):
    return sets.find_sets(graph, root, merge=True)


def drop_implied(graph, root):
    return implied.drop_implied(graph, root)


def if_convert(graph, root):
    """With clamping, without which the loads of both sides would not be safe, and offset selection."""
    value = ifconvert.accepted_value(root)
    if value is None:
        return root
    condition = clamp.clamp(graph, ifconvert.condition_of(graph, root), AVAILABLE)
    condition = offset.select_offsets(graph, condition, AVAILABLE)
    return graph.branch(condition, graph.ret(value), graph.ret(graph.const(0)))


def early_out(graph, root):
    first = earlyout.necessary(graph, root, AVAILABLE)
    if first is None:
        return root
    return graph.branch(first, if_convert(graph, root), graph.ret(graph.const(0)))


def without_what_is_known(graph, root):
    value = ifconvert.accepted_value(root)
    first = earlyout.necessary(graph, root, AVAILABLE)
    if first is None or value is None:
        return root
    reject = graph.ret(graph.const(0))
    rest = earlyout.without(graph, ifconvert.condition_of(graph, root), first)
    rest = graph.branch(clamp.clamp(graph, rest, AVAILABLE), graph.ret(value), reject)
    return graph.branch(first, rest, reject)


# What a pass takes for granted: the bytes that every packet has.
PASSES = {
    merge_checks: 0,
    drop_known: AVAILABLE,
    speculate: 0,
    find_sets: 0,
    merge_chains: 0,
    drop_implied: 0,
    if_convert: AVAILABLE,
    early_out: AVAILABLE,
    without_what_is_known: AVAILABLE,
}


def check(program, packet, apply):
    graph = Graph()
    try:
        before = build(graph, program)
    except TooManyPathsError:
        assume(False)
    after = apply(graph, before)
    oracle = libpcap.Oracle(program)
    for length in sorted({*range(PASSES[apply], len(packet), 7), 14, 34, 58, 61, len(packet)}):
        if not PASSES[apply] <= length <= len(packet):
            continue
        cut = packet[:length]
        wanted = oracle.run(cut, len(packet))
        for what, root in (("before", before), (apply.__name__, after)):
            result = evaluate.run(root, cut, len(packet))
            assert result == wanted, (
                f"{what}: {result}, not {wanted}, for {cut.hex()} of {len(packet)}\n"
                f"{libpcap.format_text(program)}\nbefore\n{text(before)}\n"
                f"after {apply.__name__}\n{text(after)}"
            )


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
