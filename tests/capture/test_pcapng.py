# SPDX-License-Identifier: BSD-3-Clause
"""The blocks that are not packets, read back by Wireshark's tools and tcpdump."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from dpcap.capture import pcapng
from support.captures import blocks, options

INTERFACES = [
    pcapng.Interface(
        name="port0",
        description="net_pcap0 of upf",
        mac=bytes.fromhex("020304050607"),
        speed=10**10,
        filter="udp port 2152",
        os="Linux",
        hardware="net_pcap",
    ),
    pcapng.Interface("port1", "0000:03:00.0"),
]
START, END = 1_700_000_000_123_456_789, 1_700_000_009_000_000_001
STATISTICS = pcapng.Statistics(START, END, received=2**40, accepted=500, dropped=7, delivered=493)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pcapng") / "x.pcapng"
    path.write_bytes(
        pcapng.section(hardware="a CPU", os="Linux 6.1", application="dpcap 1.2.3")
        + b"".join(i.block(1500) for i in INTERFACES)
        + STATISTICS.block(0)
        + STATISTICS.block(1)
    )
    return path


def test_capinfos_tells_all_of_it(file):
    said = subprocess.run(["capinfos", file], capture_output=True, text=True, check=True).stdout
    for text in (
        "Capture hardware:    a CPU",
        "Capture oper-sys:    Linux 6.1",
        "Capture application: dpcap 1.2.3",
        "Number of interfaces in file: 2",
        "Name = port0",
        "Description = net_pcap0 of upf",
        "Encapsulation = Ethernet (1 - ether)",
        "Hardware = net_pcap",
        "Speed = 10000000000",
        "Filter string = udp port 2152",
        "Operating system = Linux",
        "Time precision = nanoseconds (9)",
        "Capture length = 1500",
        "Name = port1",
        "Number of stat entries = 1",
    ):
        assert text in said


def test_tcpdump_takes_it(file):
    done = subprocess.run(["tcpdump", "-r", file], capture_output=True, text=True, check=True)
    assert "EN10MB (Ethernet), snapshot length 1500" in done.stderr


def test_tshark_shows_the_counters(file):
    done = subprocess.run(
        ["tshark", "-r", file, "-X", "read_format:MIME Files Format", "-V"],
        capture_output=True,
        text=True,
        check=True,
    )
    # The pcapng dissector of the file itself.
    for text in (str(2**40), "500", "493", "start time", "end time"):
        assert text.lower() in done.stdout.lower()


def test_counters_have_their_codes():
    """By the draft's table of ISB options; times are two words, the high one first."""
    block = STATISTICS.block(3)
    time = struct.pack("=II", END >> 32, END & 0xFFFFFFFF)
    assert block[8:20] == struct.pack("=I", 3) + time
    found = options(block[20:-4])
    assert found.pop(2) == struct.pack("=II", START >> 32, START & 0xFFFFFFFF)
    assert found.pop(3) == time
    counters = {code: int.from_bytes(value, sys.byteorder) for code, value in found.items()}
    assert counters == {4: 2**40, 5: 7, 6: 500, 7: 0, 8: 493}


def test_blocks_are_whole_words(file):
    assert len(list(blocks(file))) == 5
    for length in range(4, 9):  # every padding
        block = pcapng.Interface("x" * length).block(64)
        assert len(block) % 4 == 0
        assert block[4:8] == block[-4:] == len(block).to_bytes(4, "little")


def test_a_filter_too_long_for_an_option_is_cut():
    block = pcapng.Interface("port0", filter="host 10.0.0.1 or " * 10_000).block(64)
    assert len(block) < 1 << 17
