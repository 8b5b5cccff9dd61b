# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of CSV files, and what is said when there is nothing to draw."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from support.command import run_dpcap

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "time,seconds,port,device,queue,direction,packets,bytes,busy\n"
ROWS = "".join(
    f"2026-01-02T03:04:{second:02}.000+00:00,1.0,port{port},net_null0,0,in,"
    f"{1000 * second},{64000 * second},0.5\n"
    for second in range(10)
    for port in range(2)
)
COUNTED = "".join(
    f"{1767323040 + second}.000,1.0,port0,net_null0,0,out,{tid},worker,{1000 * second},10,5\n"
    for second in range(5)
    for tid in (7, 8)
)


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "rates.csv"
    path.write_text(HEAD + ROWS)
    return path


def test_png(numbers: Path) -> None:
    done = run_dpcap("plot", numbers)
    assert done.returncode == 0, done.stderr
    picture = numbers.with_suffix(".png")
    assert done.stdout == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")


def test_svg_has_a_line_for_each_queue(numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.svg"
    done = run_dpcap("plot", numbers, "-o", out)
    assert done.returncode == 0, done.stderr
    root = ET.parse(out).getroot()  # noqa: S314 - our own
    lines = [e for e in root.iter() if e.get("id", "").startswith("line2d")]
    assert len(lines) >= 2 * 3  # packets, bytes, busy
    text = out.read_text()
    for word in ("port0 queue 0 in", "port1 queue 0 in", "packets/s", "Mbit/s", "busy"):
        assert word in text


def test_what_dpcap_count_writes(tmp_path: Path) -> None:
    path = tmp_path / "count.csv"
    path.write_text("time,seconds,port,device,queue,direction,tid,thread,packets,bursts,total\n" + COUNTED)
    done = run_dpcap("plot", path, "-o", tmp_path / "count.svg")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("a,b\n1,2\n", "no column time"),
        (HEAD, "nothing to draw"),
        (HEAD + "2026-01-02T03:04:05+00:00,1.0,port0\n", "too short"),
        (HEAD + "yesterday,1.0,port0,x,0,in,1,1,0.5\n", "makes no sense"),
        (HEAD + "2026-01-02T03:04:05+00:00,1.0,port0,x,0,in,many,1,0.5\n", "makes no sense"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_drawn(tmp_path: Path, content: str | None, word: str) -> None:
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    done = run_dpcap("plot", path)
    assert done.returncode != 0
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("output", ["x.jpeg", "x", "/nowhere/x.png"])
def test_where_it_cannot_be_written(numbers: Path, output: str) -> None:
    done = run_dpcap("plot", numbers, "-o", output)
    assert done.returncode in (2, 10)
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("command", "package", "extra"), [("plot", "matplotlib", "plot"), ("top", "rich", "top")]
)
def test_a_missing_extra_is_named(
    numbers: Path, tmp_path: Path, command: str, package: str, extra: str
) -> None:
    """A package that cannot be imported stands in the way of the installed one."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / f"{package}.py").write_text(f"raise ImportError('no {package}')\n")
    done = subprocess.run(
        [sys.executable, "-m", "dpcap", command, *([numbers] if command == "plot" else [])],
        env=os.environ | {"PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 11
    assert f"dpcap[{extra}]" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
