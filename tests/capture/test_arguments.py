# SPDX-License-Identifier: BSD-3-Clause
"""The command line of a capture."""

from __future__ import annotations

import subprocess

import pytest

from dpcap.capture.arguments import parse
from dpcap.capture.cli import COMMANDS
from dpcap.capture.errors import UsageError
from dpcap.capture.manual import help_text
from dpcap.capture.options import PRINTER_FLAGS

HELP = help_text()


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("udp port 2152", "filter", ["udp", "port", "2152"]),
        ("-i port0 udp -c 5 port 53", "filter", ["udp", "port", "53"]),
        ("-i port0 -i net_pcap1", "interfaces", ["port0", "net_pcap1"]),
        ("-iport0", "interfaces", ["port0"]),
        ("-c5", "count", 5),
        ("-s 0", "snaplen", 262144),
        ("-s96", "snaplen", 96),
        ("-Q in", "direction", "in"),
        ("--direction out", "direction", "out"),
        ("-w -", "write", "-"),
        ("-nnvvi port1", "printer_flags", ["-n", "-n", "-v", "-v"]),
        ("-XX -A", "printer_flags", ["-X", "-X", "-A"]),
        ("-tttt", "time_format", 4),
        ("-ddd", "dump", 3),
        ("-#", "number", True),
        ("-l -U -p --immediate-mode", "filter", []),
        ("", "direction", "inout"),
        ("", "snaplen", 262144),
    ],
)
def test_options_are_read_as_tcpdump_reads_them(line, field, value):
    assert getattr(parse(line.split()), field) == value


def test_an_expression_in_one_word_may_hold_anything():
    assert parse(["tcp[tcpflags] & tcp-syn != 0"]).filter == ["tcp[tcpflags] & tcp-syn != 0"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-c 0", "invalid packet count 0"),
        ("-c -3", "invalid packet count -3"),
        ("-c ten", "invalid packet count ten"),
        ("-s 262145", "invalid snapshot length 262145"),
        ("-Q sideways", "'sideways'"),
        ("--engine rust", "'rust'"),
        ("--no-such-option", "--no-such-option"),
        ("--inter port0", "--inter"),
        ("-i", "expected one argument"),
        ("--json", "--json goes with -D"),
        ("-F file udp", "given twice"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(line, said):
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_fits_a_screen():
    lines = HELP.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "option",
    ["-i", "-w", "-c", "-s", "-Q", "-F", "-D", "-d", "-h", "-t", "--pid", "--file-prefix", "--engine",
     "--json", "--dump", "--version", "--nano",
     *(f"-{flag}" for flag in PRINTER_FLAGS), *(c.name for c in COMMANDS)],
)  # fmt: skip
def test_help_tells_of_every_option(option):
    words = HELP.replace(",", " ").replace("|", " ").split()
    assert option in words


def test_printer_flags_are_options_of_tcpdump():
    usage = subprocess.run(["tcpdump", "--help"], capture_output=True, text=True, check=True)
    known = (usage.stdout + usage.stderr).split("[-", 1)[1].split("]", 1)[0]
    assert set(PRINTER_FLAGS) <= set(known)
