# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of filters runs, takes the files of users, and says what is wrong with others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "filters.py"


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it, as short as it can be."""
    argv = [sys.executable, str(BENCHMARK), "--runs", "1", *map(str, arguments)]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


def pcap(path: Path, *packets: bytes, link: int = 1, magic: int = 0xA1B2C3D4, order: str = "little") -> Path:
    """A capture file, of either byte order."""

    def words(*numbers: int) -> bytes:
        return b"".join(n.to_bytes(4, order) for n in numbers)  # type: ignore[arg-type]

    head = words(magic) + b"".join(n.to_bytes(2, order) for n in (2, 4)) + words(0, 0, 65535, link)  # type: ignore[arg-type]
    path.write_bytes(head + b"".join(words(1, 2, len(p), len(p)) + p for p in packets))
    return path


IPV4 = bytes(12) + b"\x08\0" + bytes(46)


def test_figures_of_given_filters_and_packets(tmp_path: Path) -> None:
    expressions, out = tmp_path / "filters.txt", tmp_path / "out.json"
    expressions.write_text("# a comment\n\nall|\nip|ip\neither|ip || arp\n")
    packets = pcap(tmp_path / "big-endian.pcap", IPV4, bytes(60), magic=0xA1B23C4D, order="big")
    ran = bench("--expressions", expressions, "--pcap", packets, "--json", out)
    assert ran.returncode == 0, ran.stderr
    assert "geometric mean" in ran.stdout
    figures = json.loads(out.read_text())
    assert [row["name"] for row in figures["rows"]] == ["all", "ip", "either"]
    for row in figures["rows"]:
        assert not {"jit", "jit-burst", "interp"} & set(row["wrong"])
    for load in ("W1", "W2"):
        assert {"jit-burst", "jit", "interp", "libpcap"} <= set(figures["geomean"][load])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pcap", "none.pcap"], "none.pcap: No such file or directory"),
        (["--pcap", "text"], "text: unknown file format"),
        (["--pcap", "empty.pcap"], "empty.pcap: there is no packet in it"),
        (["--pcap", "raw.pcap"], "raw.pcap: its packets are no Ethernet frames, which filters are for"),
        (
            ["--pcap", "cut.pcap"],
            "cut.pcap: truncated dump file; tried to read 60 captured bytes, only got 59",
        ),
        (["--expressions", "none.txt"], "none.txt: No such file or directory"),
        (["--expressions", "text"], "text:1: not name|expression"),
        (["--expressions", "wrong.txt"], "wrong.txt:2: can't parse filter expression: syntax error"),
        (["--expressions", "twice.txt"], "twice.txt:2: there is a filter 'a' above"),
        (["--expressions", "nothing.txt"], "there is no filter to measure"),
        (["--expressions", "raw.pcap"], "raw.pcap: this is no text"),
        (["--only", "nobody"], "there is no filter 'nobody'"),
        (["--json", "no/such/folder.json"], "no/such/folder.json"),
    ],
)
def test_one_line_for_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("this is a text file of more than twenty-four bytes\n")
    Path("wrong.txt").write_text("a|ip\nb|udp prot 3\n")
    Path("twice.txt").write_text("a|ip\na|arp\n")
    Path("nothing.txt").write_text("\n# nothing\n")
    pcap(Path("empty.pcap"))
    pcap(Path("raw.pcap"), b"\x80\xff" * 30, link=101)
    cut = pcap(Path("cut.pcap"), IPV4)
    cut.write_bytes(cut.read_bytes()[:-1])
    ran = bench(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("bench filters: ")
