# SPDX-License-Identifier: BSD-3-Clause
"""Whatever is given to an option: one line and an exit code of the table, never a traceback."""

from __future__ import annotations

import pytest

from dpcap.capture import cli, discovery, errors
from dpcap.capture.options import OPTIONS

NONSENSE = ["", "x", "-1", "9" * 30, "0", "a:b", "\udcff", "%", "1.5", "in:out", "/"]
CODES = {code for code, _ in errors.exit_code_table()} - {errors.INTERNAL_EXIT_CODE}


@pytest.mark.parametrize("flag", [flag for option in OPTIONS for flag in option.flags])
def test_nonsense(flag, capfd, tmp_path, monkeypatch):
    """With -d nothing is captured; the combination is what users mistype."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(discovery, "applications", list)
    for value in NONSENSE:
        code = cli.main([flag, value, "-d"])
        said = capfd.readouterr().err
        assert code in CODES, (value, said)
        assert "Traceback" not in said
        assert code == 0 or said.startswith("dpcap: "), (value, said)
        if code not in (0, errors.FilterSyntaxError.exit_code):  # those show the place below
            assert said.count("\n") == 1, (value, said)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("-Z no-such-user-here -r /dev/null", 2, "there is no user no-such-user-here"),
        ("-y FROB -d", 2, "no link type is called FROB"),
        ("-y RAW -i port0", 2, "no port has link type RAW"),
        ("-j adapter", 2, "no time stamp type adapter"),
        ("--nano --micro", 2, "contradict"),
        ("-f udp tcp", 2, "given twice"),
        ("-f udp -F file", 2, "given twice"),
        ("-w x.zst -C 0", 2, "invalid file size 0"),
        ("-G 5", 2, "name one with -w"),
        ("-B 0", 2, "invalid buffer size 0"),
        ("--pid 0", 2, "invalid process id 0"),
        ("-r /dev/null --capture-comment x", 2, "editcap --capture-comment"),
    ],
)
def test_words(line, code, said, capfd):
    assert cli.main(line.split()) == code
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_missing_package_says_what_to_install(capfd, monkeypatch, tmp_path):
    import sys  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "zstandard", None)
    source = tmp_path / "in.pcap"
    source.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    out = tmp_path / "x.pcap.zst"
    assert cli.main(["-r", str(source), "-w", str(out)]) == errors.ToolError.exit_code
    assert "pip install 'dpcap[compression]'" in capfd.readouterr().err
    assert not out.exists()
