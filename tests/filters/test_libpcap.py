# SPDX-License-Identifier: BSD-3-Clause
"""Expressions to cBPF, printed as tcpdump prints it, and errors that show the place."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpcap.filters import cbpf, libpcap
from dpcap.filters.errors import FilterError
from dpcap.filters.locate import locate

EXPRESSIONS = [
    "",
    "udp port 2152",
    "inbound",
    "ip[ip[0]-20:4] = 3",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "ip6 protochain 17",
    "vlan 100 and udp port 2152",
    "len % 7 = ip[0] ^ 3",
    "-ip[0] > 4294967290",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("optimize", [True, False])
def test_dumps_are_those_of_tcpdump(expression, optimize):
    program = libpcap.compile_cbpf(expression, optimize=optimize)
    for option, text in (
        ("-d", libpcap.format_text(program)),
        ("-dd", cbpf.format_c(program)),
        ("-ddd", cbpf.format_decimal(program)),
    ):
        command = ["tcpdump", "-y", "EN10MB", option, *([] if optimize else ["-O"]), "--", expression]
        expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert text == expected


@pytest.mark.parametrize(
    ("expression", "message", "marked"),
    [
        ("udp prot 3", "syntax error", "prot"),
        ("udp port", "syntax error", None),
        ("(ip or arp", "syntax error", None),
        ("ip) or arp", "syntax error", ")"),
        ("port 80 or or", "syntax error", "or"),
        ("tcp port 80 and hots 10.0.0.1 or udp", "unknown port 'hots'", "hots"),
        ("hots 10.0.0.1 or udp", "syntax error", "hots"),
        ("ip[0 = 3", "syntax error", "="),
        ("ip[2:2] > 100 and ip[", "syntax error", None),
        ("net 10.0.0.0/8 mask", "syntax error", "mask"),
        ("ether host 00:11:22:33:44:55:66 and ip", "bogus ethernet address", "00:11:22:33:44:55:"),
        ("tcp or host nosuchhost.invalid", "unknown host 'nosuchhost.invalid'", "nosuchhost.invalid"),
        ("udp and port nosuchport", "unknown port 'nosuchport'", "nosuchport"),
        ("host 1.2.3.4/8", 'non-network bits set in "1.2.3.4/8"', "1.2.3.4/8"),
        ("tcp and arp", "expression rejects all packets", ""),
        ("ip[0] << 33 = 0", "shift by more than 31 bits", ""),
        ("ip\0or arp", "NUL", ""),
    ],
)
def test_errors_show_the_place(expression, message, marked):
    with pytest.raises(FilterError) as caught:
        libpcap.compile_cbpf(expression)
    error = locate(caught.value)
    assert message in error.message
    assert "\n" not in error.message
    if marked == "":
        assert error.place is None
        assert str(error) == error.message
        return
    assert error.place is not None
    start, end = error.place
    assert expression[start:end] == (marked or "")
    line, caret = str(error).split("\n")[1:]
    assert line.strip() == expression.replace("\n", " ")
    assert caret.index("^") - 2 == start


def test_a_long_expression_is_shown_around_the_place():
    expression = (
        " or ".join(f"host 10.0.0.{i}" for i in range(60)) + " or prot 3 or " + "tcp or " * 60 + "udp"
    )
    with pytest.raises(FilterError) as caught:
        libpcap.compile_cbpf(expression)
    _, line, caret = str(locate(caught.value)).split("\n")
    assert len(line) < 90
    assert line[caret.index("^") :].startswith("prot")


def test_long_expressions_do_not_exhaust_the_stack():
    expression = " or ".join(f"ip[{i}] = {i}" for i in range(2500))
    program = libpcap.compile_cbpf(expression, optimize=False)
    assert len(program) > 5000


def outcome(expression):
    """The program in C on one line, or the error's one line."""
    try:
        return cbpf.format_c(libpcap.compile_cbpf(expression, optimize=False)).replace("\n", " ")
    except FilterError as error:
        return error.message


@pytest.mark.parametrize(
    "expression", ["(" * 20000 + "ip", "not " * 20000 + "ip", "\xff\udcff", "ip\n and\ttcp"]
)
def test_odd_input_gives_a_program_or_an_error(expression):
    assert outcome(expression)


@given(st.text(max_size=40))
def test_any_text_gives_a_program_or_an_error(expression):
    assert "\n" not in outcome(expression.replace("host", ""))  # no name lookups


def test_threads_may_compile_at_once():
    expected = {e: libpcap.compile_cbpf(e) for e in EXPRESSIONS}
    with ThreadPoolExecutor(8) as pool:
        work = EXPRESSIONS * 20
        for expression, program in zip(work, pool.map(libpcap.compile_cbpf, work), strict=True):
            assert program == expected[expression]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([], "empty program"),
        ([(0x06, 0, 0, 1 << 32)], "instruction 0: field out of range"),
        ([(0x18, 0, 0, 0), (0x06, 0, 0, 0)], "instruction 0: unknown code 0x0018"),
        ([(0x60, 0, 0, 16), (0x06, 0, 0, 0)], "there is no M[16]"),
        ([(0x34, 0, 0, 0), (0x06, 0, 0, 0)], "division by zero"),
        ([(0x64, 0, 0, 32), (0x06, 0, 0, 0)], "shift by more than 31"),
        ([(0x15, 1, 0, 0), (0x06, 0, 0, 0)], "instruction 0: jumps past the last instruction"),
        ([(0x05, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)], "jumps back to 0"),
        ([(0x00, 0, 0, 0)], "instruction 0: the last instruction does not return"),
        ([(0x20, 0, 0, 0xFFFFF014), (0x06, 0, 0, 0)], "the kernel's mark"),
        ([(0x20, 0, 0, 0xFFF00000), (0x06, 0, 0, 0)], "special offset 0xfff00000"),
    ],
)
def test_invalid_programs_are_refused(program, message):
    with pytest.raises(FilterError, match=message.replace("[", r"\[")):
        cbpf.validate(program)


def test_protochain_is_refused():
    with pytest.raises(FilterError, match="jumps back to 4: loops"):
        cbpf.validate(libpcap.compile_cbpf("ip6 protochain 17"))
