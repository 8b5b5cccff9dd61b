# SPDX-License-Identifier: BSD-3-Clause
"""A process that writes rings, and a session that reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.rings import Producer, Running

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def producer_program(tmp_path_factory):
    program = tmp_path_factory.mktemp("producer") / "ring_producer"
    library = ROOT / "build/cmake/shim/ring/libdpcap_ring.a"
    if not library.exists():
        pytest.skip("not built here: ./dev build")
    subprocess.run(
        ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-I", ROOT / "shim/ring",
         "-I", ROOT / "shim/dpdk", ROOT / "tests/support/ring_producer.c", library, "-o", program],
        check=True,
    )  # fmt: skip
    return program


@pytest.fixture
def producer(producer_program):
    with Producer(producer_program) as p:
        yield p


@pytest.fixture
def running(tmp_path):
    return Running(tmp_path / "out.pcapng")
