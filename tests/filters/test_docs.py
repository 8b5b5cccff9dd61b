# SPDX-License-Identifier: BSD-3-Clause
"""The stages in the documentation are those of the compiler."""

from __future__ import annotations

import os
from pathlib import Path

from dpcap.filters import compile  # noqa: A004 - as re.compile
from dpcap.filters.explain import stages

PAGE = Path(__file__).parents[2] / "docs" / "filter-compiler.md"
BEGIN, END = "<!-- stages -->\n", "<!-- end of stages -->"


def test_the_page_shows_what_the_compiler_does():
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    shown = "".join(
        f"### {stage.title}\n\n```\n{stage.text}```\n\n"
        for stage in stages(compile("udp port 2152"), native=False)
    )
    wanted = f"{before}{BEGIN}\n{shown}{END}{after}"
    if os.environ.get("DPCAP_UPDATE_DOCS"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "run this test with DPCAP_UPDATE_DOCS=1"
