# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import hashlib
import statistics
from typing import TYPE_CHECKING

import pytest
import traffic

from support.captures import capinfos, read_pcap, tcpdump_count, tshark_fields

if TYPE_CHECKING:
    from pathlib import Path

CHECKSUMS = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]


@pytest.mark.parametrize(
    ("expression", "share"),
    [
        ("udp port 2152", 0.20),
        ("vlan", 0.12),
        ("ip6", 0.18),
        ("udp port 5060", 0.01),
        ("vlan 200 and vlan 100", 0.04),
    ],
)
def test_shares(mix_pcap: Path, expression: str, share: float) -> None:
    assert tcpdump_count(mix_pcap, expression) / 4096 == pytest.approx(share, abs=0.001)


def test_mean_size_is_that_of_the_capture_benchmark() -> None:
    assert statistics.mean(len(frame) for frame in traffic.mix()) == pytest.approx(363, abs=3)


def test_wireshark_finds_no_error(mix_pcap: Path) -> None:
    errors = "_ws.malformed or _ws.expert.severity == error or _ws.expert.group == checksum"
    assert (
        tshark_fields(
            mix_pcap, "frame.number", "_ws.expert.message", display_filter=errors, options=CHECKSUMS
        )
        == []
    )


def test_wireshark_would_find_a_wrong_checksum(tmp_path: Path) -> None:
    broken = bytearray(next(frame for frame in traffic.mix() if frame[12:14] == b"\x08\x00"))
    broken[24] ^= 1  # IPv4 header checksum
    path = tmp_path / "broken.pcap"
    traffic.write_pcap(path, [bytes(broken)])
    found = tshark_fields(
        path, "frame.number", display_filter="_ws.expert.group == checksum", options=CHECKSUMS
    )
    assert found == [["1"]]


def test_same_seed_same_traffic() -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(b"".join(traffic.mix(500, seed))).hexdigest()

    assert digest(1) == digest(1) != digest(2)


def test_pcap_keeps_packets_and_nanoseconds(mix_pcap: Path) -> None:
    packets = read_pcap(mix_pcap)
    assert [packet.data for packet in packets] == list(traffic.mix())
    assert packets[1].time - packets[0].time == 10_007
    assert capinfos(mix_pcap)["File timestamp precision"] == "nanoseconds (9)"
