# SPDX-License-Identifier: BSD-3-Clause
"""Hundreds of alternatives, compiled some at a time: the program that libpcap would have made of all."""

from __future__ import annotations

import pytest

from dpcap.filters import cbpf, compile, libpcap  # noqa: A004 - as re.compile
from dpcap.filters.alternatives import compile_alternatives
from support.packets import assorted

COUNT = 160
TERMS = {
    "pairs": [f"(src host 10.0.{i % 7}.{5 * i % 256} and dst port {i + 1})" for i in range(COUNT)],
    "bytes": [f"tcp[{i % 40}] = {i % 256}" for i in range(COUNT)],
    "kinds": [
        (
            f"host 10.0.{i % 7}.{i}",
            f"port {i + 1}",
            f"ether host 02:00:00:00:00:{i:02x}",
            "not ip and arp",
            "icmp6",
        )[i % 5]
        for i in range(COUNT)
        if i % 5 != 3
    ],
    "negated": [f"not (ip and port {i} or ip6)" for i in range(COUNT)],
}


@pytest.mark.parametrize("kind", TERMS)
def test_against_libpcap(kind):
    expression = " or ".join(TERMS[kind])
    program = compile_alternatives(expression)
    assert program is not None
    ours = libpcap.Oracle(cbpf.validate(program))
    reference = libpcap.Oracle(libpcap.compile_cbpf(expression, optimize=False))
    for packet in assorted():
        for length in range(0, min(len(packet), 90) + 1, 2):
            cut = packet[:length]
            assert ours.run(cut, len(packet)) == reference.run(cut, len(packet)), (packet.hex(), length)


@pytest.mark.parametrize(
    "expression",
    [
        " or ".join(TERMS["bytes"][:20]),
        " or ".join(["vlan 1", *TERMS["bytes"]]),
        " or ".join(["udp port 1", "2", *TERMS["bytes"]]),
        " or ".join(["src host 10.0.0.1", "10.0.0.2", *TERMS["bytes"]]),
        " or ".join([*TERMS["bytes"], "ip"]) + " and udp",
        " or ".join([*TERMS["bytes"], "ip prot 3"]),
    ],
)
def test_what_is_left_to_libpcap(expression):
    assert compile_alternatives(expression) is None


def test_many_terms_of_all_kinds_together():
    """With libpcap alone this takes minutes, with its optimiser forever."""
    tap = compile(" or ".join(term for terms in zip(*TERMS.values(), strict=False) for term in terms))
    assert len(tap.cbpf) > 10000
    assert assorted()[0] in tap
