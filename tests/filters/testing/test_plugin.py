# SPDX-License-Identifier: BSD-3-Clause
"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import pytest

from dpcap.ubpf_host import engines

DNS = """
0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00 45 00   ..............E.
0010  00 22 00 01 00 00 40 11 af 20 0a 00 00 01 c0 a8   ."....@.. ......
0020  01 01 00 35 04 00 00 0e f5 9a 61 6e 73 77 65 72   ...5......answer
"""
EXPLAINED = """\
E       AssertionError: assert IP 10.0.0.1.53 > 192.168.1.1.1024: UDP, length 6 in <Filter 'udp port 2152'>
E         does not match, decided by udp.dstport: 1024
E       
E         eth.type == 0x86dd   no   0x0800
E         eth.type == 0x0800   yes  0x0800
E         ip.proto == 17       yes  17
E         ip.frag_offset == 0  yes  0
E         udp.srcport == 2152  no   53
E         udp.dstport == 2152  no   1024
E       
E         0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00 45 00   ..............E.
E         0010  00 22 00 01 00 00 40 11 af 20 0a 00 00 01 c0 a8   ."....@.. ......
E         0020  01 01 00 35[04 00]00 0e f5 9a 61 6e 73 77 65 72   ...5......answer
"""  # noqa: W291 - pytest's own


@pytest.fixture
def run(pytester, monkeypatch):
    """Write a test module and run pytest on it, in a process of its own."""
    monkeypatch.delenv("CI", raising=False)  # pytest shortens explanations elsewhere
    monkeypatch.setenv("COLUMNS", "160")

    def run(module, *argv, ini=""):
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(f"DNS = '''{DNS}'''\nfrom dpcap.testing import Packet\n{module}")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *argv)

    return run


@pytest.mark.parametrize("engine", ["jit", "interp", "libpcap"])
def test_a_failed_assertion_is_explained(run, engine):
    if engine == "jit" and engines.default() != "jit":
        pytest.skip("no JIT for this machine")
    done = run("def test(dpcap):\n    assert DNS in dpcap('udp port 2152')", f"--dpcap-engine={engine}")
    done.assert_outcomes(failed=1)
    assert EXPLAINED in done.stdout.str()
    done.stdout.fnmatch_lines([f"FAILED *::test[[]{engine}[]] - AssertionError: assert IP 10.0.0.1.53*"])


def test_not_in_is_explained(run):
    done = run("def test(dpcap):\n    assert Packet(DNS, port=3) not in dpcap('src net 10.0.0.0/8')")
    done.stdout.fnmatch_lines(
        [
            "E *assert IP * length 6 (port 3) not in <Filter 'src net 10.0.0.0/8'>",
            "E         matches, decided by ip.src: 10.0.0.1",
            "E         eth.type == 0x0800    yes  0x0800",
            "E         ip.src == 10.0.0.0/8  yes  10.0.0.1",
        ]
    )
    assert "E         0010  00 22 00 01 00 00 40 11 af 20[0a]00 00 01 c0 a8   " in done.stdout.str()


def test_a_packet_of_scapy_shows_its_own_summary(run):
    done = run(
        "from scapy.all import Ether, IP, UDP\n"
        "def test(dpcap):\n    assert Ether() / IP() / UDP(dport=53) in dpcap('tcp')"
    )
    done.stdout.fnmatch_lines(["E *assert Ether / IP / UDP *:domain > *:domain in <Filter 'tcp'>"])


def test_a_long_packet_is_shown_around_the_marked_bytes(run):
    done = run("def test(dpcap):\n    assert bytes(2000) in dpcap('ether[1200] = 1')")
    zeros = " 00" * 15
    done.stdout.fnmatch_lines(
        [
            f"E         0030  00{zeros}   ................",
            "E         ... 1120 bytes",
            f"E         04a0  00{zeros}   ................",
            f"E         04b0 [[]00]{zeros[1:]}   ................",
            f"E         04c0  00{zeros}   ................",
            "E         ... 768 bytes",
        ],
        consecutive=True,
    )


def test_filters_made_elsewhere_are_explained(run):
    done = run("from dpcap import filters\ndef test():\n    assert DNS in filters.compile('tcp')")
    done.stdout.fnmatch_lines(["E         does not match, decided by ip.proto: 17"])


def test_other_assertions_are_left_alone(run):
    done = run(
        "from dpcap import filters\nclass Box(list):\n    pass\n"
        "def test_a():\n    filters.compile('ip')\n    assert 3 in Box([1])\n"
        "def test_b():\n    assert DNS == 'x'\n"
        "def test_c():\n    assert filters.compile('ip') == 3\n"
    )
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines(["E       assert 3 in [[]1]"])
    assert "decided by" not in done.stdout.str()


def test_several_engines(run):
    module = "def test_a(dpcap):\n    assert DNS in dpcap('udp')\ndef test_b(dpcap_engine):\n    pass"
    done = run(module, "-v", "--dpcap-engine=interp,libpcap,interp")
    done.assert_outcomes(passed=4)
    names = [f"*::test_{t}[[]{engine}[]] PASSED*" for engine in ("interp", "libpcap") for t in "ab"]
    done.stdout.fnmatch_lines(names)


def test_the_ini_option(run):
    module = "def test(dpcap):\n    assert DNS in dpcap('udp')\n    assert dpcap.engine == 'interp'"
    run(module, ini="dpcap_engine = interp").assert_outcomes(passed=1)
    run(module, "--dpcap-engine=libpcap", ini="dpcap_engine = interp").assert_outcomes(failed=1)


def test_the_default_engine(run):
    done = run("def test(dpcap):\n    assert dpcap.engine == '" + engines.default() + "'", "-v")
    done.stdout.fnmatch_lines([f"*::test[[]{engines.default()}[]] PASSED*"])


def test_a_test_can_choose_its_engine(run):
    done = run(
        "import pytest\n@pytest.mark.parametrize('dpcap_engine', ['interp'], indirect=True)\n"
        "def test(dpcap):\n    assert dpcap.engine == 'interp'",
        "--dpcap-engine=libpcap,interp",
    )
    done.assert_outcomes(passed=1)


def test_an_engine_that_is_not_here_is_skipped(run):
    """There are always engines that cannot run on a machine: of libubpf none is packaged."""
    done = run("def test(dpcap):\n    assert DNS in dpcap('udp')", "--dpcap-engine=all", "-rs")
    outcomes = done.parseoutcomes()
    assert outcomes.get("failed", 0) == 0
    assert outcomes["passed"] + outcomes.get("skipped", 0) == len(engines.ENGINES) + 1
    if outcomes.get("skipped"):
        done.stdout.fnmatch_lines(["SKIPPED * no engine * here: *"])


def test_a_filter_that_an_engine_cannot_run_is_skipped(run):
    done = run("def test(dpcap):\n    assert DNS in dpcap('inbound')", "--dpcap-engine=libpcap,interp", "-rs")
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines(["SKIPPED *libpcap cannot run <Filter 'inbound'>: *knows neither direction*"])


def test_an_engine_that_does_not_exist(run):
    done = run("def test(dpcap): pass", "--dpcap-engine=fpga")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.stderr.lines if line]
    assert line.startswith("ERROR: --dpcap-engine: no such engine: fpga (jit, interp, ")


def test_filters_from_files_cbpf_and_other_filters(run, pytester):
    pytester.path.joinpath("taps.txt").write_text("# what we tap\nudp # and\nport 53 # more\n")
    done = run(
        "from pathlib import Path\nfrom dpcap import filters\nTAP = filters.compile('udp port 53')\n"
        "def test(dpcap):\n"
        "    assert DNS in dpcap(Path('taps.txt'))\n"
        "    assert DNS in dpcap(TAP)\n"
        "    assert dpcap(TAP).engine == 'interp'\n"
        "    assert DNS in dpcap('udp', optimize=False)\n"
        "    assert DNS in dpcap.from_cbpf([(40, 0, 0, 12), (21, 0, 1, 2048), (6, 0, 0, 1), (6, 0, 0, 0)])",
        "--dpcap-engine=interp",
    )
    done.assert_outcomes(passed=1)


def test_a_wrong_expression_is_shown_in_place(run):
    done = run("def test(dpcap):\n    dpcap('udp prot 3')")
    done.stdout.fnmatch_lines(["E *FilterError: *syntax error", "E         udp prot 3", "E             ^~~~"])


def test_hypothesis_can_use_the_fixture(run):
    done = run(
        "from hypothesis import given, strategies as st\n"
        "@given(st.binary(max_size=60))\ndef test(dpcap, data):\n    assert data not in dpcap('port 2152')"
    )
    done.assert_outcomes(passed=1)


def test_every_failure_of_a_group_is_explained(run):
    done = run(
        "def test(dpcap):\n    errors = []\n    for text in ('tcp', 'port 1'):\n        try:\n"
        "            assert DNS in dpcap(text)\n        except AssertionError as error:\n"
        "            errors.append(error)\n    raise ExceptionGroup('both', errors)"
    )
    for line in ("ip.proto == 6 *no * 17", "udp.dstport == 1 *no *1024"):
        done.stdout.fnmatch_lines([f"*{line}"])


def test_the_plugin_costs_nothing(pytester):
    pytester.makepyfile(
        "import sys\ndef test():\n    names = {name for name in sys.modules if name.startswith('dpcap')}\n"
        "    assert names == {'dpcap', 'dpcap.filters', 'dpcap.filters.testing',"
        " 'dpcap.filters.testing.plugin'}"
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_without_the_compiled_modules(run, pytester):
    """They are missing in a source tree that was not built."""
    pytester.makeconftest("import sys\nsys.modules['dpcap.filters._pcap'] = None")
    done = run("def test_a(dpcap):\n    pass\ndef test_b():\n    pass")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*dpcap's compiled modules cannot be loaded: *_pcap*"])
