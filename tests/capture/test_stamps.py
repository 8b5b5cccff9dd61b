# SPDX-License-Identifier: BSD-3-Clause
"""Times are printed as tcpdump prints them."""

from __future__ import annotations

import subprocess

import pytest

from dpcap.capture.sinks.stamps import Stamper
from support.captures import read_pcap

# An hour and more apart, backwards too, with every digit in use.
TIMES = [1_700_000_000_000_000_000, 1_700_003_723_123_456_789, 1_699_999_999_999_999_999, 86_399_000_000_001]
ARP = bytes(12) + bytes.fromhex("0806000108000604000100000000000000000000000000000000") + bytes(22)


@pytest.fixture(scope="module")
def pcap(tmp_path_factory):
    """Nanosecond pcap of a packet for each of TIMES."""
    from scapy.utils import PcapWriter  # noqa: PLC0415 - a second to import

    path = tmp_path_factory.mktemp("stamps") / "times.pcap"
    with PcapWriter(str(path), linktype=1, nano=True) as writer:
        writer.write_header(b"")
        for ns in TIMES:
            writer.write_packet(ARP, sec=ns // 10**9, usec=ns % 10**9, caplen=60, wirelen=60)
    assert [p.time for p in read_pcap(path)] == TIMES
    return path


@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("form", range(6))
def test_as_tcpdump(pcap, form, nano):
    options = [*(["-" + "t" * form] if form else []), *(["--nano"] if nano else [])]
    done = subprocess.run(["tcpdump", *options, "-r", pcap], capture_output=True, text=True, check=True)
    printed = [line.split("ARP")[0] for line in done.stdout.splitlines()]
    stamper = Stamper(form, nano=nano)
    assert [stamper(ns) for ns in TIMES] == printed
