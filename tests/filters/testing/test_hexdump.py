# SPDX-License-Identifier: BSD-3-Clause
"""Packets are read back from what other programs print."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from dpcap.filters.explain import dump
from dpcap.filters.hexdump import parse
from support.packets import assorted

PACKETS = [packet[:size] for packet in assorted() for size in (len(packet), 40, 32, 25, 9, 2)]


def printed_by(*argv):
    if shutil.which(argv[0]) is None:
        pytest.skip(f"no {argv[0]} here")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "argv",
    [["xxd"], ["xxd", "-g1", "-c24"], ["xxd", "-a"], ["hexdump", "-C"], ["od", "-Ax", "-tx1"]],
    ids=" ".join,
)
def test_dumps_of_other_programs(argv, tmp_path):
    file = tmp_path / "packet"
    for packet in PACKETS[::3]:
        file.write_bytes(packet)
        assert parse(printed_by(*argv, file)) == packet


@pytest.mark.parametrize("argv", [["tcpdump", "-xx"], ["tcpdump", "-XX"], ["tshark", "-x"]], ids=" ".join)
def test_dumps_of_captures(argv, tmp_path):
    from scapy.utils import RawPcapWriter  # noqa: PLC0415 - a second to import

    for number, packet in enumerate(assorted()[::17]):
        path = tmp_path / f"{number}.pcap"
        with RawPcapWriter(str(path), linktype=1) as writer:
            writer.write(packet)
        assert parse(printed_by(*argv, "-r", path)) == packet


def test_our_own_dump():
    for packet in PACKETS:
        assert parse(dump(packet, range(3, 9))) == packet
        assert parse(dump(packet)) == packet


@pytest.mark.parametrize("between", ["", " ", ":", "-", "\n", ".", " 0x"])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_digits(between, group):
    for packet in [*PACKETS, bytes(30), bytes(6) + b"\x5e"]:
        pieces = (packet[i : i + group].hex() for i in range(0, len(packet), group))
        assert parse(between.join(pieces)) == packet


def test_what_text2pcap_reads():
    assert parse("000000 00 e0 1e a7 05 6f\n000006 00 10 ........") == bytes.fromhex("00e01ea7056f0010")


def test_text_beside_the_bytes_that_looks_like_bytes():
    assert parse("0000  61 62 63 64   abcd\n0004  30 31 32 33   0123") == b"abcd0123"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0200 xyz", "not a packet in hexadecimal: 'x' is no digit of it"),
        ("02000", "the packet has half a byte too many: two hexadecimal digits make one"),
        (
            "0000: 0200 0000\n0010: 0200",
            "after 0x0004 bytes the dump goes on at 0x0010: lines are missing",
        ),
    ],
)
def test_what_is_no_packet(text, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse(text)
