# SPDX-License-Identifier: BSD-3-Clause
"""The reader: files of other programs, both byte orders, other units of time, and damage."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcap.capture import pcapng_read
from dpcap.capture.pcapng_read import Packet, PcapngError
from support import captures
from support.shared import shared


def block(order, kind, body):
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def option(order, code, value):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order, *options, snaplen=0):
    return block(order, 1, struct.pack(order + "HHI", 1, 0, snaplen) + b"".join(options))


def packet(order, timestamp, data, *options, interface_id=0):
    fixed = struct.pack(
        order + "IIIII", interface_id, timestamp >> 32, timestamp & 0xFFFFFFFF, len(data), 1000
    )
    return block(order, 6, fixed + data + bytes(-len(data) % 4) + b"".join(options))


def read(data):
    return list(pcapng_read.packets(io.BytesIO(data)))


@pytest.mark.parametrize("order", "<>")
def test_fields(order):
    file = (
        section(order)
        + interface(
            order, option(order, 2, b"port0"), option(order, 3, b"net_pcap0"), option(order, 9, b"\x09")
        )
        + packet(
            order,
            1_700_000_000_123_456_789,
            b"12345",
            option(order, 1, b"a comment"),
            option(order, 2, struct.pack(order + "I", 2 | 3 << 2)),
            option(order, 3, b"\x05\x01\x02\x03\x04"),
            option(order, 4, struct.pack(order + "Q", 7)),
            option(order, 6, struct.pack(order + "I", 3)),
        )
    )
    (p,) = read(file)
    assert (p.interface.name, p.interface.description) == ("port0", "net_pcap0")
    assert p.ns == 1_700_000_000_123_456_789
    assert (p.data, p.caplen, p.origlen) == (b"12345", 5, 1000)
    assert p.direction == pcapng_read.OUTBOUND
    assert (p.flags, p.queue, p.dropcount, p.hash) == (14, 3, 7, b"\x05\x01\x02\x03\x04")
    assert p.block.raw == file[-len(p.block.raw) :]


def test_units_of_time():
    file = (
        section("<")
        + interface("<")  # microseconds, when nothing is said
        + interface("<", option("<", 9, b"\x03"), option("<", 14, struct.pack("<q", -5)))
        + interface("<", option("<", 9, b"\x8a"))  # 2^-10
        + packet("<", 7_000_001, b"")
        + packet("<", 7_001, b"", interface_id=1)
        + packet("<", 1024 * 7 + 512, b"", interface_id=2)
    )
    assert [p.ns for p in read(file)] == [7_000_001_000, 2_001_000_000, 7_500_000_000]


def test_sections_and_other_blocks():
    """A second section has its own order and interfaces; unknown blocks are handed through."""
    unknown = block(">", 0xBAD, b"whatever")
    simple = block("<", 3, struct.pack("<I", 3) + b"abc\0")
    file = (
        section(">")
        + interface(">", option(">", 2, b"a"))
        + unknown
        + packet(">", 1, b"xy")
        + section("<")
        + interface("<", option("<", 2, b"b"), snaplen=2)
        + simple
    )
    items = list(pcapng_read.items(io.BytesIO(file)))
    assert b"".join(item.block.raw if isinstance(item, Packet) else item.raw for item in items) == file
    one, two = (item for item in items if isinstance(item, Packet))
    assert (one.interface.name, one.data, one.block.order) == ("a", b"xy", ">")
    assert (two.interface.name, two.data, two.origlen) == ("b", b"ab", 3)


GOOD = section("<") + interface("<") + packet("<", 1, b"12345678")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xd4\xc3\xb2\xa1" + bytes(20), "not a pcapng file"),
        (GOOD[:8] + b"\0\0\0\0" + GOOD[12:], "byte-order magic"),
        (GOOD + b"\x06", "ends in the middle of the block at byte 88"),
        (GOOD[:-1], "ends in the middle of the block at byte 48"),
        (GOOD[:-4] + struct.pack("<I", 44), "byte 48: the two lengths"),
        (GOOD + struct.pack("<II", 6, 8), "cannot be 8 bytes"),
        (GOOD + struct.pack("<II", 6, 34), "cannot be 34 bytes"),
        (GOOD + struct.pack("<II", 6, 0xFFFFFFFC), "cannot be 4294967292 bytes"),
        (section("<") + packet("<", 1, b""), "interface 0, which was not described"),
        (section("<") + block("<", 1, b""), "interface description block is too short"),
        (section("<") + interface("<") + block("<", 6, b""), "enhanced packet block is too short"),
        (
            section("<") + interface("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 4, 4)),
            "4 bytes in a block of 32",
        ),
        (section("<") + block("<", 3, bytes(8)), "no interface"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_named(data, message):
    with pytest.raises(PcapngError, match=message):
        read(data)


def test_nothing_is_nothing():
    assert read(b"") == []


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as pipes do."""

    def __init__(self, data):
        self._data = data

    def read(self, size=-1):
        size = min(size, 3)
        part, self._data = self._data[:size], self._data[size:]
        return part


def test_streams_may_give_less():
    assert [p.data for p in pcapng_read.packets(Dribble(GOOD))] == [b"12345678"]


@given(st.data())
@settings(max_examples=int(os.environ.get("DPCAP_TEST_EXAMPLES", "100")), deadline=None)
def test_any_damage_is_an_error_or_data(data):
    """Whatever bytes are changed, reading ends with packets or with a PcapngError, nothing else."""
    file = bytearray(GOOD + packet("<", 2, b"abc", option("<", 2, bytes(4))))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PcapngError):
        read(bytes(file[: data.draw(st.integers(0, len(file)))]))


def test_files_of_others():
    """Some pcapng files of the shared collection: the same packets as tshark finds."""
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed")
    seen = 0
    for path in sorted(shared("pcaps").glob("*.pcapng"))[::4]:
        with path.open("rb") as stream:
            packets = list(pcapng_read.packets(stream))
        rows = captures.tshark_fields(path, "frame.time_epoch", "frame.cap_len", "frame.len")
        assert [[str(p.caplen), str(p.origlen)] for p in packets] == [row[1:] for row in rows], path.name
        assert [p.ns for p in packets] == [int(row[0].replace(".", "")) for row in rows], path.name
        seen += len(packets)
    assert seen > 10


def test_big_endian_file_of_tcpdump_is_read_by_tcpdump_as_by_us(tmp_path):
    """The hand-made blocks above are what others take for pcapng."""
    if not shutil.which("tcpdump"):
        pytest.skip("tcpdump is not installed")
    path = tmp_path / "big.pcapng"
    path.write_bytes(section(">") + interface(">", snaplen=2000) + packet(">", 5_000_000, bytes(60)))
    done = subprocess.run(["tcpdump", "-tt", "-r", path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5.000000 ")
    assert [p.ns for p in read(path.read_bytes())] == [5_000_000_000]
