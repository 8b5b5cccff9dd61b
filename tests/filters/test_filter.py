# SPDX-License-Identifier: BSD-3-Clause
"""Which of a filter's forms is run."""

from __future__ import annotations

import pytest

from dpcap.filters import compile  # noqa: A004 - as re.compile
from dpcap.filters.forms import Form
from dpcap.ubpf_host.asm import assemble

ARP = bytes.fromhex("ffffffffffff020000000001 0806") + bytes(46)


def refused() -> Form:
    """A load that no length check goes before."""
    return Form(assemble("ldxh %r0, [%r1+12]\nexit"), b"")


@pytest.fixture
def tap():
    return compile("arp")


def test_first_form_is_the_default(tap):
    assert tap.default_form == next(iter(tap.forms))
    assert tap.ebpf == tap.forms[tap.default_form].code


def test_a_form_that_the_verifier_refuses_is_passed_over(tap):
    wanted = next(iter(tap.forms))
    tap.forms = {"refused": refused(), **tap.forms}
    assert tap.default_form == wanted
    assert ARP in tap


def test_the_plain_translation_is_the_last_resort(tap):
    tap.forms = {"refused": refused()}
    assert tap.default_form == "plain"
    assert ARP in tap
    assert ARP[:12] + b"\x08\x00" + ARP[14:] not in tap
