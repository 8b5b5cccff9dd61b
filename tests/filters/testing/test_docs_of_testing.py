# SPDX-License-Identifier: BSD-3-Clause
"""What the documentation shows is what runs."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from dpcap.ubpf_host import engines

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "testing-filters.md"
EXAMPLE = ROOT / "examples" / "test_gtpu_tap.py"
FILE = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```\n", re.DOTALL)
RUN = re.compile(r"(```console\n\$ pytest (.*?)\n)(.*?)(```\n)", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```\n", re.DOTALL)


@pytest.mark.skipif(engines.default() != "jit", reason="the page was made on a machine with a JIT")
def test_outputs_in_the_page_are_real(pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("CI", raising=False)
    text = PAGE.read_text()
    for name, source in FILE.findall(text):
        (pytester.path / name).write_text(source)

    def output(match):
        done = pytester.runpytest_subprocess("-p", "no:cacheprovider", *shlex.split(match[2]))
        shown = re.sub(r" in \d+\.\d+s", "", "\n".join(line.rstrip() for line in done.outlines))
        return f"{match[1]}{shown.strip()}\n{match[4]}"

    wanted = RUN.sub(output, text)
    if os.environ.get("DPCAP_UPDATE_DOCS"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "run this test with DPCAP_UPDATE_DOCS=1"


def test_code_in_the_page_is_valid():
    for source in PYTHON.findall(PAGE.read_text()):
        compile(source, PAGE, "exec")


def test_the_tests_in_the_page_pass(pytester, mix_pcap):
    """The failure above is the only one meant to fail."""
    sources = [s for s in PYTHON.findall(PAGE.read_text()) if "teid=8" not in s]
    for number, source in enumerate(sources):
        shown = source.replace("inbound and vlan 100", "len > 0").replace(
            "captures/issue-17.pcapng", str(mix_pcap)
        )
        (pytester.path / f"test_{number}.py").write_text(
            shown if "mix" not in shown else shown.split("    frame =")[0]
        )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=len(sources))


def test_the_example_passes_in_every_engine(pytester):
    (pytester.path / EXAMPLE.name).write_text(EXAMPLE.read_text())
    done = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--dpcap-engine=interp,libpcap", "--dpcap-coverage"
    )
    done.assert_outcomes(passed=4)


def test_the_readme_shows_the_example_and_how_it_fails(pytester):
    readme = (ROOT / "README.md").read_text()
    source = EXAMPLE.read_text()
    assert source.split('"""\n', 1)[1].lstrip() in readme
    (pytester.path / EXAMPLE.name).write_text(
        source.replace("teid=0x11223345) not in", "teid=0x11223345) in")
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", "one_session")
    (shown,) = re.findall(r"```console\n(E  .*?)```", readme, re.DOTALL)
    assert shown in done.stdout.str()
