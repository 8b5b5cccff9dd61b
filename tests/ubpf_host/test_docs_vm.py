# SPDX-License-Identifier: BSD-3-Clause
"""What docs/vm.md shows is what the VM does."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

import pytest

from dpcap.ubpf_host import engines
from dpcap.ubpf_host.program import Program

pytest.importorskip("capstone")

DOCS = Path(__file__).parents[2] / "docs" / "vm.md"
BLOCK = re.compile(r"<!-- generated: single -->\n```\n(.*?)```\n<!-- end -->", re.DOTALL)
# Width of the left column: the program. On the right, its machine code.
LEFT = 38


def _native(program: Program) -> list[str]:
    """Offset and text of each machine instruction, without its bytes."""
    rows = (line.split(maxsplit=2) for line in program.disassemble_native().splitlines())
    return [f"{offset:>4} {text}" for offset, _code, text in rows]


@pytest.mark.skipif(engines.default() != "jit", reason="no JIT for this machine")
def test_the_example_is_what_the_jit_makes() -> None:
    shown = BLOCK.search(DOCS.read_text())
    assert shown
    source = [line[:LEFT].strip() for line in shown[1].splitlines()]
    source = source[: source.index("exit", source.index("out:")) + 1]
    rows = zip_longest(source, _native(Program("\n".join(source))), fillvalue="")
    generated = "".join(f"{left:{LEFT}}{right}\n" for left, right in rows)
    assert shown[1] == generated, f"put this into {DOCS.name}:\n{generated}"
