# SPDX-License-Identifier: BSD-3-Clause
"""-d, -dd and -ddd print what tcpdump prints."""

from __future__ import annotations

import subprocess

import pytest

from dpcap.capture.cli import main

EXPRESSIONS = [
    "",
    "udp port 2152",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) != 0",
    "vlan 100 and host 10.0.0.1",
    "ip6 and not icmp6",
    "ether host 02:00:00:00:00:01 or arp",
    "net 10.0.0.0/8 and greater 100",
    "less 64",
]


def tcpdump(*argv):
    return subprocess.run(
        ["tcpdump", "-y", "EN10MB", *argv], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize(
    "options", [["-d"], ["-dd"], ["-ddd"], ["-d", "-s", "96"], ["-d", "-O"]], ids="".join
)
def test_as_tcpdump_prints_it(options, expression, capsys):
    assert main([*options, *expression.split()]) == 0
    assert capsys.readouterr().out == tcpdump(*options, *expression.split())


def test_the_filter_may_come_from_a_file_with_comments(tmp_path, capsys):
    file = tmp_path / "filter"
    file.write_text("udp # not tcp\nport 53 # DNS\n")
    assert main(["-d", "-F", str(file)]) == 0
    assert capsys.readouterr().out == tcpdump("-d", "-F", str(file))
