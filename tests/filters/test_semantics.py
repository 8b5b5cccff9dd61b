# SPDX-License-Identifier: BSD-3-Clause
"""Every translation gives what libpcap's bpf_filter() gives: each expression, packet and truncation."""

from __future__ import annotations

import os

import pytest

from dpcap.filters import Filter, FilterError, compile  # noqa: A004 - as re.compile
from dpcap.ubpf_host import engines
from support import expressions
from support.captures import read_pcap
from support.guarded import GuardedMemory
from support.packets import assorted
from support.shared import shared

# Packets are cut to every length up to this one: beyond all headers that filters look at.
LONGEST = 130
ENGINES = sorted({"interp", engines.default()})


@pytest.fixture(scope="module")
def memory():
    return GuardedMemory(LONGEST + 2)


def differences(tap, packets, memory):
    """(form, engine, packet, length, result, wanted) of each difference."""
    for packet in packets:
        for view in memory.truncations(packet, LONGEST):
            wanted = tap.run(view, len(packet), "libpcap")
            for form in tap.forms:
                # The engines are compared by tests of their own.
                for engine in ENGINES if form == "plain" else [engines.default()]:
                    result = tap.run(view, len(packet), engine, form=form)
                    if result != wanted:
                        yield form, engine, packet.hex(), len(view), result, wanted


@pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "plain"])
@pytest.mark.parametrize(
    "group", ["HOSTS", "PORTS", "PROTOCOLS", "ETHER", "TAGS", "LENGTHS", "INDEXES", "COMBINED"]
)
def test_expressions_on_assorted_packets(group, optimize, memory):
    packets = assorted()
    for expression in getattr(expressions, group):
        if optimize and expression in expressions.IMPOSSIBLE:
            with pytest.raises(FilterError, match="rejects all packets"):
                compile(expression)
            continue
        tap = compile(expression, optimize=optimize)
        assert not list(differences(tap, packets, memory)), expression


def test_expressions_on_shared_captures(memory):
    """Some expressions of each kind on packets that people met; DPCAP_TEST_PACKETS=all takes hours."""
    files = sorted(shared("pcaps").glob("*.pcap"))
    everything = os.environ.get("DPCAP_TEST_PACKETS") == "all"
    taps = [compile(e, optimize=False) for e in expressions.ALL[:: 1 if everything else 12]]
    packets = []
    for path in files if everything else files[::8]:
        if path.read_bytes()[20:22] == b"\1\0":  # Ethernet, as captured on a little-endian machine
            packets += [p.data for p in read_pcap(path)[: None if everything else 1]]
    assert packets
    for tap in taps:
        assert not list(differences(tap, packets, memory)), tap.expression


@pytest.mark.parametrize(
    ("expression", "direction", "port", "accepted"),
    [
        ("inbound", "in", 0, True),
        ("inbound", "out", 0, False),
        ("outbound", "out", 0, True),
        ("outbound", "in", 0, False),
        ("outbound and arp", "out", 0, False),
        ("ifindex 3", "in", 3, True),
        ("ifindex 3", "in", 4, False),
        ("ifindex 65535 and outbound", "out", 65535, True),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_direction_and_port(expression, direction, port, accepted, engine):
    for optimize in (True, False):
        tap = compile(expression, optimize=optimize)
        assert bool(tap.run(bytes(60), engine=engine, direction=direction, port=port, queue=7)) == accepted


@pytest.mark.parametrize("engine", ENGINES)
def test_queue_and_tag_of_the_metadata(engine):
    queue = Filter.from_cbpf([(0x20, 0, 0, 0xFFFFF018), (0x16, 0, 0, 0)])
    assert queue.run(b"", engine=engine, direction="out", port=9, queue=41) == 41
    tag_present = Filter.from_cbpf([(0x30, 0, 0, 0xFFFFF030), (0x16, 0, 0, 0)])
    assert tag_present.run(bytes(60), engine=engine) == 0


@pytest.mark.parametrize("expression", expressions.METADATA)
def test_libpcap_knows_no_metadata(expression):
    with pytest.raises(ValueError, match="knows neither direction, port nor queue"):
        compile(expression).run(bytes(60), engine="libpcap")


def test_a_filter_is_a_container():
    tap = compile("udp port 53")
    assert [packet in tap for packet in assorted()[:4]] == [True, True, False, False]
    assert repr(tap) == "<Filter 'udp port 53'>"


def test_the_empty_expression_accepts_everything():
    assert compile("").run(b"") == 262144


def test_errors_show_the_expression():
    with pytest.raises(ValueError, match=r"syntax error\n  udp prot 3\n      \^~~~$"):
        compile("udp prot 3")
    with pytest.raises(ValueError, match=r"jumps back to \d+: loops"):
        compile("ip6 protochain 17")
