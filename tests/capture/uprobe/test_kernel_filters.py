# SPDX-License-Identifier: BSD-3-Clause
"""Filters for the kernel: how much of a packet they look at, and what the kernel's verifier says."""

from __future__ import annotations

import pytest

from dpcap import filters
from dpcap.capture.uprobe import libbpf, program
from dpcap.filters.kernel import kernel_forms
from support import expressions
from support.uprobes import needs_uprobes

EVERY = 12  # expressions; each takes a while to load


def all_expressions():
    lists = (value for name, value in sorted(vars(expressions).items()) if name.isupper())
    return list(dict.fromkeys(e for entries in lists if isinstance(entries, list) for e in entries))


@pytest.mark.parametrize(
    ("expression", "reach"),
    [
        ("ip", 14),
        ("ether[100] = 1", 101),
        ("ether[100:4] = 1", 104),
        ("tcp port 80", 14 + 60 + 4),
        ("udp[8:4] = 1", 14 + 60 + 12),
        ("tcp[tcp[12] / 4:2] = 1", None),  # a place that is computed
        ("greater 100", 0),
    ],
)
def test_reach(expression, reach):
    assert {form.reach for form in kernel_forms(filters.compile(expression))} == {reach}


@pytest.mark.parametrize("expression", [e for e in all_expressions()[::EVERY] if e])
def test_the_kernel_takes_it(expression):
    needs_uprobes()
    tap = filters.compile(expression)
    if tap.accepts_all:
        pytest.skip("looks at nothing")
    for form in kernel_forms(tap):
        config = program.Config(filter_bytes=max(1, program.MAX_DATA if form.reach is None else form.reach))
        try:
            with libbpf.Object(program.image(config, form.code), max_entries={"scratches": 1}, attach_type=0):
                return
        except libbpf.LoadError as error:
            refusal = error
    raise refusal


def test_a_long_list_has_no_place():
    hosts = " or ".join(f"host 10.1.{i // 250}.{i % 250 + 1}" for i in range(3000))
    forms = list(kernel_forms(filters.compile(hosts)))
    assert all(len(form.code) > program.filter_room() for form in forms)
