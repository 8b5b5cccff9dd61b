# SPDX-License-Identifier: BSD-3-Clause
"""The forms of filters in the kernel, the JIT and the interpreter. On everything: ./dev prove."""

from __future__ import annotations

import pytest

from dpcap.filters import compile  # noqa: A004 - as re.compile
from support.kernel import Engines, NotAllowedError
from support.packets import assorted

HOSTS = " or ".join(f"host 10.0.{i % 7}.{1 + 5 * i}" for i in range(50))


@pytest.fixture(scope="module")
def engines():
    try:
        found = Engines()
    except NotAllowedError as error:
        pytest.skip(str(error))
    with found:
        yield found


@pytest.mark.parametrize(
    "expression",
    [
        "udp port 2152",
        "inbound and vlan 100",
        "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
        "ip6 host 2001:db8::1 or icmp6",
        "greater 100",
        HOSTS,
    ],
)
def test_results_are_the_same(engines, expression):
    tap = compile(expression)
    with engines.load(tap) as forms:
        assert {form.name for form in forms} >= set(tap.forms)
        assert [form.refusal for form in forms if form.kernel < 0] == []
        before = engines.counts.kernel
        assert engines.compare(forms, assorted()[::6]) == ""
        assert engines.counts.kernel > before


def test_the_form_for_uprobes_gets_what_that_copies(engines):
    with engines.load(compile("udp port 2152")) as forms:
        assert [form.reach for form in forms if form.name == "uprobe"] == [14 + 60 + 4]


def test_a_difference_is_found(engines):
    with engines.load(compile("udp port 53")) as right, engines.load(compile("udp port 67")) as wrong:
        mixed = [right[0]._replace(kernel=wrong[0].kernel)]
        assert "the kernel gives 0x0, the interpreter 0x40000" in engines.compare(mixed, assorted()[:1])


def test_what_its_verifier_cannot_follow_is_refused(engines):
    """A length of 16 bits may lead beyond what the kernel knows to be there."""
    with engines.load(compile("ip[ip[2:2]:1] = 0")) as forms:
        refused = {form.name: form.refusal for form in forms if form.kernel < 0}
        assert "memory range" in refused["branch-free"]
        assert "plain" not in refused
