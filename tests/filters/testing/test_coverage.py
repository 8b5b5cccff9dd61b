# SPDX-License-Identifier: BSD-3-Clause
"""Coverage of the branches of filters."""

from __future__ import annotations

import json

import pytest

from dpcap.filters import Filter, compile  # noqa: A004 - as re.compile
from dpcap.filters.testing.coverage import Coverage, FilterCoverage
from dpcap.testing import Packet
from support.expressions import ALL, METADATA
from support.packets import assorted

UDP_TO_2152 = assorted()[2].hex()
UDP = assorted()[0].hex()
REPORT = """\
udp dst port 2152 or outbound                                   9 of   16 sides   56 %
    eth.type == 0x86dd          never true
    ipv6.nxt == 17              never tested
    udp.dstport == 2152 (IPv6)  never tested
    eth.type == 0x0800          never false
    ip.frag_offset == 0         never false
tcp                                                             2 of   12 sides   17 %
    eth.type == 0x0800     never true
    ip.proto == 6          never tested
    eth.type == 0x86dd     never true
    ipv6.nxt == 6          never tested
    ipv6.nxt == 44         never tested
    ipv6.fraghdr.nxt == 6  never tested
all filters                                                    11 of   28 sides   39 %
"""


def measured(tap, *packets):
    coverage = FilterCoverage(tap)
    for packet in packets:
        coverage.observe(Packet(packet))
    return {test.text: (test.true, test.false) for test in coverage.tests()}


def test_sides_are_counted_once_for_each_packet():
    tap = compile("ip and udp dst port 1024")
    assert measured(tap, UDP, UDP, UDP_TO_2152) == {
        "eth.type == 0x0800": (2, 0),
        "ip.proto == 17": (2, 0),
        "ip.frag_offset == 0": (2, 0),
        "udp.dstport == 1024": (1, 1),
    }


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("ip and port 53", ["sctp/tcp/udp.srcport == 53", "sctp/tcp/udp.dstport == 53"]),
        ("udp dst port 53", ["udp.dstport == 53 (IPv6)", "udp.dstport == 53 (IPv4)"]),
        ("vlan 100 and src net 10.0.0.0/8", ["vlan.id == 100", "ip.src == 10.0.0.0/8"]),
        ("udp dst port 2152 and udp[12:4] = 7", ["gtp.teid == 0x00000007"]),
        ("udp dst port 2152 and udp[28:4] = 0x0a2d0001", ["inner.ip.src == 10.45.0.1"]),
        ("udp dst port 4789 and udp[12:4] >> 8 = 5000", ["vxlan.vni == 5000"]),
        ("udp dst port 4789 and udp[46:4] = 0x0a000001", ["inner.ip.dst == 10.0.0.1"]),
        ("mpls 1000", ["mpls.label == 1000"]),
        ("tcp[tcpflags] & tcp-syn != 0", ["tcp.flags & 0x02 == 0x00"]),
        ("tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", ["payload[0:4] == 47:45:54:20"]),
        ("outbound and len > 100", ["direction == outbound", "frame.len > 100"]),
        ("ip6 proto 58", ["ipv6.nxt == 58", "ipv6.fraghdr.nxt == 58"]),
    ],
)
def test_what_was_never_tested_has_words(expression, names):
    tests = measured(compile(expression))
    assert set(names) <= set(tests)
    assert set(tests.values()) == {(0, 0)}


@pytest.mark.parametrize("expression", [*ALL[::5], *METADATA])
def test_every_filter_can_be_measured(expression):
    for optimize in (True, False):
        coverage = FilterCoverage(compile(expression, optimize=optimize))
        for packet in assorted():
            for size in (len(packet), 40, 17):
                coverage.observe(Packet(packet[:size], wirelen=len(packet)))
        assert 0 <= coverage.taken <= coverage.sides
        assert coverage.taken > 0 or coverage.sides == 0 or "70000" in expression  # longer than packets are


def test_the_last_side_taken_says_how_it_ended():
    """A filter of one test: the counts are those of the filter."""
    tap = compile("len > 60")
    ((true, false),) = measured(tap, *assorted()).values()
    different = {Packet(packet) for packet in assorted()}
    assert true == sum(packet in tap for packet in different)
    assert true + false == len(different)


def test_a_long_list_is_measured_member_by_member():
    tap = compile("ip and src host (" + " or ".join(f"1.2.3.{i}" for i in range(250)) + ")")
    tests = measured(tap, UDP)
    assert tests["ip.src == 1.2.3.249"] == (0, 1)
    assert sum(text.startswith("ip.src") for text in tests) == 250


def test_filters_without_an_expression_and_without_decisions():
    coverage = Coverage()
    coverage.observe(Filter.from_cbpf([(0x28, 0, 0, 12), (0x15, 0, 1, 0x800), (6, 0, 0, 1), (6, 0, 0, 0)]))
    coverage.observe(compile(""))
    named, empty = coverage.filters
    assert (named.name, named.sides) == ("4 cBPF instructions", 2)
    assert (empty.name, empty.sides) == ("", 0)
    assert coverage.percent == 0


MODULE = f"""
def test(dpcap):
    from dpcap.testing import Packet
    tap = dpcap("udp dst port 2152 or outbound")
    assert "{UDP_TO_2152}" in tap
    assert Packet("{UDP}", direction="out") in tap
    assert "{UDP}" not in tap
    assert "{assorted()[5].hex()}" not in tap
    assert "{assorted()[24].hex()}" not in dpcap("tcp")
"""


def run(pytester, *argv):
    pytester.makepyfile(MODULE)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *argv)


def test_the_report(pytester):
    done = run(pytester, "--dpcap-coverage", "--dpcap-engine=jit,interp")
    done.assert_outcomes(passed=2)
    assert REPORT in done.stdout.str()
    done.stdout.fnmatch_lines(["*= dpcap: coverage of filter branches =*", "all filters *11 of *"])


def test_the_report_as_json(pytester):
    run(pytester, "--dpcap-coverage=json:out.json").assert_outcomes(passed=1)
    found = json.loads((pytester.path / "out.json").read_text())
    assert [f["filter"] for f in found["filters"]] == ["udp dst port 2152 or outbound", "tcp"]
    assert (found["taken"], found["sides"], found["percent"]) == (11, 28, 39.3)
    assert {"test": "udp.dstport == 2152 (IPv4)", "true": 1, "false": 2} in found["filters"][0]["tests"]


@pytest.mark.parametrize(("limit", "code"), [("39", 0), ("40", 1)])
def test_too_little_coverage_fails(pytester, limit, code):
    done = run(pytester, f"--dpcap-coverage-fail-under={limit}")
    assert done.ret == code
    failed = (
        "FAIL: 39 % of the filters' sides were taken, --dpcap-coverage-fail-under=40" in done.stdout.str()
    )
    assert failed == bool(code)


def test_a_report_that_does_not_exist(pytester):
    done = run(pytester, "--dpcap-coverage", "tests")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*'tests' is neither term nor json:FILE (write --dpcap-coverage=term)"])


def test_other_processes_are_not_measured(pytester):
    pytest.importorskip("xdist")
    done = run(pytester, "--dpcap-coverage=term", "-n1")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--dpcap-coverage does not see other processes: run pytest without -n"])


def test_nothing_to_measure(pytester):
    pytester.makepyfile("def test(): pass")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--dpcap-coverage")
    done.stdout.fnmatch_lines(["no filter was made by the dpcap fixture"])
