# SPDX-License-Identifier: BSD-3-Clause
"""Packet programs in C: what Linux accepts is accepted here, and gives the same results."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from support.kernel_bpf import needs_kernel_bpf
from support.packets import assorted

SOURCES = Path(__file__).parent / "bpf" / "xdp"
COMPARE = Path(__file__).parents[2] / "build" / "cmake" / "tests" / "shim" / "vm" / "vm_xdp_compare"
FILES = ["headers", "protocols", "loops", "state", "memory"]


def packets() -> bytes:
    """Packets of every kind, cut off, with bytes changed where headers have their lengths, and noise."""
    rng = random.Random(3)
    found = [packet[:1500] for packet in assorted()]
    found += [packet[: rng.randrange(14, len(packet) + 1)] for packet in found]
    for packet in found * 3:
        changed = bytearray(packet)
        for _ in range(rng.choice([1, 2, 4])):
            changed[rng.randrange(12, min(len(changed), 72))] = rng.choice(
                [0, 1, 4, 0x45, rng.randrange(256)]
            )
        found.append(bytes(changed))
    found += [bytes(12) + b"\x08\x00" + rng.randbytes(rng.randrange(90)) for _ in range(100)]
    # Small numbers are short lengths: names, options and chunks that go on for a while.
    found += [bytes(rng.choices(range(8), k=rng.randrange(14, 150))) for _ in range(100)]
    return b"".join(struct.pack("<H", len(packet)) + packet for packet in found)


def compare(name: str, machine: str, folder: Path) -> list[list[str]]:
    """Rows of program, our answer, the kernel's answer, packets run with equal results."""
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    needs_kernel_bpf()
    target = folder / f"{name}.o"
    options = ["-target", "bpf", f"-mcpu={machine}", "-O2", "-g", "-Wno-address-of-packed-member"]
    subprocess.run(["clang", *options, "-c", SOURCES / f"{name}.c", "-o", target], check=True)
    run = subprocess.run([COMPARE, target], input=packets(), capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return [line.split("\t") for line in run.stdout.decode().splitlines()]


@pytest.mark.parametrize("machine", ["v2", "v3"])
@pytest.mark.parametrize("name", FILES)
def test_what_linux_accepts_is_accepted(name: str, machine: str, tmp_path: Path) -> None:
    rows = compare(name, machine, tmp_path)
    assert len(rows) >= 10
    refused = [(program, ours) for program, ours, kernel, _ in rows if ours != kernel == "accepted"]
    assert not refused
    if all(kernel == "skipped" for _, _, kernel, _ in rows):
        pytest.skip("bpf(2) is not allowed: our engines have been compared with each other only")
    assert all(int(runs) > 500 for _, ours, _, runs in rows if ours == "accepted")


@pytest.mark.parametrize("machine", ["v2", "v3"])
def test_what_nobody_should_accept_is_refused(machine: str, tmp_path: Path) -> None:
    rows = compare("refused", machine, tmp_path)
    accepted = {program for program, ours, _, _ in rows if ours == "accepted"}
    by_linux = {program for program, _, kernel, _ in rows if kernel == "accepted"}
    assert len(rows) >= 12
    assert not accepted
    # Since 6.3, Linux lets root read stack that was never written.
    assert by_linux <= {"uninitialised"}
