# SPDX-License-Identifier: BSD-3-Clause
"""Random programs and expressions: ours and libpcap's interpreter agree."""

from __future__ import annotations

import os

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from dpcap.filters import Filter, FilterError, compile  # noqa: A004 - as re.compile
from dpcap.ubpf_host import engines
from support.guarded import GuardedMemory
from support.packets import assorted
from support.programs import expressions, packets, programs

ENGINES = sorted({"interp", engines.default()})
MEMORY = GuardedMemory(132)
more = settings(max_examples=int(os.environ.get("DPCAP_TEST_EXAMPLES", "200")), deadline=None)


def agree(tap, packet, wirelen, longest=130):
    for view in MEMORY.truncations(packet, longest):
        wanted = tap.run(view, wirelen, "libpcap")
        for form in tap.forms:
            for engine in ENGINES if form == "plain" else ENGINES[-1:]:
                assert tap.run(view, wirelen, engine, form=form) == wanted, (form, engine, len(view))


@more
@given(programs(), packets, st.integers(0, 2000), st.booleans())
def test_programs(program, packet, wirelen, optimize):
    agree(Filter.from_cbpf(program, optimize=optimize), packet, wirelen)


@more
@given(programs(), st.sampled_from(assorted()))
def test_programs_on_real_packets(program, packet):
    agree(Filter.from_cbpf(program), packet, len(packet), 80)


@more
@given(expressions, st.one_of(packets, st.sampled_from(assorted())), st.booleans())
def test_expressions(expression, packet, optimize):
    assume("inbound" not in expression)
    try:
        tap = compile(expression, optimize=optimize)
    except FilterError as error:
        # Impossible (`vlan and not vlan`), or a shift by 32 that libpcap folded.
        event(error.message)
        return
    agree(tap, packet, len(packet))


@more
@given(st.lists(st.tuples(*[st.integers(0, 1 << 16)] * 4), max_size=5))
def test_any_numbers_are_a_program_or_an_error(instructions):
    try:
        tap = Filter.from_cbpf(instructions)
    except FilterError:
        return
    tap.run(bytes(60))


def test_a_long_program():
    """Jumps and rejections stay within reach in a program of tens of thousands of instructions."""
    body = []
    for i in range(7000):
        body += [(0x30, 0, 0, i % 60), (0x15, 0, 1, i % 251), (0x06, 0, 0, i + 1)]
    program = [(0x28, 0, 0, 12), (0x15, 0, 1, 0x806), (0x05, 0, 0, len(body)), *body, (0x06, 0, 0, 77)]
    for optimize in (False, True):
        tap = Filter.from_cbpf(program, optimize=optimize)
        agree(tap, bytes(range(100)), 100, 30)
        agree(tap, bytes(12) + b"\x08\x06", 100, 30)


def test_a_program_too_long():
    with pytest.raises(FilterError, match=r"the filter is too big: .* 65536 are possible"):
        Filter.from_cbpf([(0x30, 0, 0, 1)] * 40000 + [(0x06, 0, 0, 0)], optimize=False)
