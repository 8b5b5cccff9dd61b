# SPDX-License-Identifier: BSD-3-Clause
"""What users read, made of the tables of options, commands and exit codes: --help and the manual page.

setup.py installs the page.
"""

from __future__ import annotations

from dpcap.capture.cli import COMMANDS
from dpcap.capture.errors import exit_code_table
from dpcap.capture.options import GROUPS, OPTIONS, PRINTER_FLAGS, PRINTING, REFUSED, WHAT, sentence

USAGE = """\
usage: dpcap [-i PORT]... [-w FILE] [-c N] [OPTION]... [FILTER...]
       dpcap -r FILE [-w FILE] [OPTION]... [FILTER...]
       dpcap -D [--json] | -h | -d|-dd|-ddd|--dump ebpf [FILTER...]
       dpcap COMMAND ...
"""

_COLUMN = 26
_SIGNALS = """\
SIGINT, SIGTERM and SIGHUP end a capture in order: what was captured is written, and the hooks leave the
application. The second one ends dpcap at once. SIGUSR1 prints statistics."""
_DESCRIPTION = """\
dpcap looks into running DPDK applications. The filter is compiled to eBPF, proved safe, translated to machine
code and run on every burst inside of the application; what matches is written as pcapng, or printed by
tcpdump.
The application needs the plugin that 'dpcap shim path' names, or is captured from by kernel uprobes."""
_EXAMPLES = (
    ("dpcap -D", "list the ports of all DPDK applications"),
    ("dpcap -i port0 -c 10 'udp port 2152'", "print ten packets"),
    ("dpcap -i any -w all.pcapng.zst", "all ports of all applications, into a compressed file"),
    ("dpcap -w - 'tcp port 443' | wireshark -k -i -", "look on in Wireshark"),
    ("dpcap -w 'p%M.pcapng' -G 60", "the last hour, a file a minute"),
    ("dpcap -r in.pcap -w out.pcap 'host 10.0.0.1'", "filter a file"),
)


def _left(flags: tuple[str, ...], metavar: str) -> str:
    return ", ".join(flags) + (f" {metavar}" if metavar else "")


def help_text() -> str:
    """Return what --help prints: a screen."""
    lines = [
        USAGE.rstrip(),
        "tcpdump for live DPDK applications. FILTER is a pcap-filter(7) expression. More in dpcap(1).",
    ]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        if group == PRINTING:
            flags = " ".join(f"-{flag}" for flag in PRINTER_FLAGS)
            lines.append(f"  {flags} -# -t -tt ... -T TYPE  as tcpdump prints with them")
        for option in OPTIONS:
            if option.group == group and option.help:
                left = _left(option.flags, option.metavar)
                if len(left) > _COLUMN - 4:
                    left = _left(option.flags[:1], option.metavar)
                lines.append(f"  {left:<{_COLUMN - 2}}{option.help}")
    lines += [
        "",
        "commands:",
        *(f"  {c.name:<{_COLUMN - 2}}{c.description}" for c in COMMANDS),
        "",
    ]
    return "\n".join(lines)


def _roff(text: str) -> str:
    """Escape what roff would take for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in text.splitlines())


def page(version: str) -> str:
    """Return dpcap.1, for man(1)."""
    usage = [line.removeprefix("usage: ").strip() for line in USAGE.splitlines()]
    lines = [
        f'.TH DPCAP 1 "" "dpcap {version}" "User Commands"',
        ".SH NAME",
        "dpcap \\- tcpdump for live DPDK applications",
        ".SH SYNOPSIS",
        *(f".B {_roff(line)}\n.br" for line in usage),
        ".SH DESCRIPTION",
        _roff(_DESCRIPTION),
        ".SH OPTIONS",
    ]
    for group in GROUPS:
        lines.append(f".SS {group[0].upper()}{group[1:]}")
        if group == WHAT:
            lines += [".TP", ".B FILTER", "A pcap\\-filter(7) expression; nothing accepts everything."]
        for option in OPTIONS:
            if option.group == group:
                lines += [".TP", f".B {_roff(_left(option.flags, option.metavar))}", _roff(option.text)]
    lines.append(".SS Options of tcpdump and dumpcap that are refused")
    for flag, remedy in REFUSED.items():
        lines += [".TP", f".B {_roff(flag)}", _roff(sentence(remedy) + ".")]
    lines.append(".SH COMMANDS")
    for command in COMMANDS:
        lines += [".TP", f".B dpcap {command.name}", _roff(f"{command.description} (--help says more).")]
    lines += [".SH SIGNALS", _roff(_SIGNALS), ".SH EXIT STATUS"]
    for code, meaning in exit_code_table():
        lines += [".TP", f".B {code}", _roff(sentence(meaning) + ".")]
    lines.append(".SH EXAMPLES")
    for example, meaning in _EXAMPLES:
        lines += [".TP", f".B {_roff(example)}", _roff(sentence(meaning) + ".")]
    lines += [".SH SEE ALSO", "tcpdump(8), dumpcap(1), pcap\\-filter(7), tshark(1)", ""]
    return "\n".join(lines)
