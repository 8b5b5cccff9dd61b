# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E501 - the table reads better with few lines an entry
"""Every option of a capture, once: the parser, --help, the manual page and completion are made of this.

Options that tcpdump or dumpcap have too mean what they mean there. Those that decide on how packets are
printed are handed to tcpdump itself, which prints them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_SNAPLEN: Final = 262144  # bytes, MAXIMUM_SNAPLEN of libpcap

# Handed to the printer as they are; a flag given twice is handed on twice.
PRINTER_FLAGS: Final = "AeHKNnqSuvXx"

WHAT, OUTPUT, FILES, PRINTING, OTHER = (
    "what to capture",
    "where it goes",
    "several files, and the end",
    "printing",
    "without capturing",
)
GROUPS: Final = (WHAT, OUTPUT, FILES, PRINTING, OTHER)


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning, unless that is a value: port0, in:."""
    return text[0].upper() + text[1:] if text.split(maxsplit=1)[0].isalpha() else text


class Option(NamedTuple):
    """One option. `kind` says what its value is and does: see arguments.py."""

    flags: tuple[str, ...]
    kind: str
    dest: str
    help: str  # a line for --help; empty: in the manual only
    group: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    more: str = ""  # for the manual, behind help

    @property
    def text(self) -> str:
        """What the manual says."""
        return ". ".join(sentence(part) for part in (self.help, self.more) if part) + "."


def _flag(flags: str, dest: str, help_: str, group: str, more: str = "") -> Option:
    return Option(tuple(flags.split()), "flag", dest, help_, group, more=more)


OPTIONS: Final = (
    Option(
        ("-i", "--interface"), "append", "interfaces",
        "port0, 0, a device name or any; may be repeated", WHAT, "PORT",
        more="The default is the first port. With any and several applications, all ports of all of them. "
        "With -r, the name of an interface in the pcapng file",
    ),
    Option(
        ("--pid",), "pids", "pids", "the application by its process id; may be repeated", WHAT, "PID",
        more="Several are captured from into one file",
    ),
    Option(("--file-prefix",), "value", "file_prefix", "the application by its EAL file-prefix", WHAT, "P"),
    _flag("--inject", "inject", "load the shim if it is missing (dpcap attach --help explains)", WHAT),
    Option(
        ("-f", "-F"), "filter", "filter_option", "the filter (-f TEXT), or the file that holds it (-F FILE)", WHAT,
        "FILTER", more="In a file, # begins a comment. Words that are no options are the filter too",
    ),
    Option(
        ("-Q", "--direction"), "value", "direction", "in: received packets, out: sent ones, inout: both (default)",
        WHAT, "DIR", ("in", "out", "inout"),
    ),
    Option(
        ("-s", "--snapshot-length"), "snaplen", "snaplen", f"bytes kept of a packet (default {MAX_SNAPLEN})",
        WHAT, "N",
    ),
    Option(("-c",), "count", "count", "stop after N packets", WHAT, "N"),
    Option(
        ("--engine",), "value", "engine", "how the filter runs in the application: jit (default) or interp",
        WHAT, "ENGINE", ("jit", "interp"),
    ),
    Option(
        ("--source",), "value", "source", "how: by the shim (default, if it is there) or by kernel uprobes", WHAT,
        "HOW", ("shim", "uprobe"),
    ),
    Option(
        ("--sample",), "sample", "sample", "look at one packet in N, chosen at random", WHAT, "N",
        more="By kernel uprobes, with or without the shim",
    ),
    Option(
        ("--function",), "append", "functions", "", WHAT, "rx=PLACE",
        more="Capture by uprobes on this function of the program, and on tx=PLACE: a symbol or 0xOFFSET in its file, "
        "and :1,2,3 where queue, packets and their number are other arguments than DPDK's. For what dpcap probe "
        "finds and captures do not. May be repeated",
    ),
    _flag("-O --no-optimize", "no_optimize", "", WHAT, "Leave libpcap's optimizer out, and ours"),
    Option(
        ("-B", "--buffer-size"), "kib", "buffer_kib", "", WHAT, "KiB",
        more="Size of the ring that each queue and direction gets, in KiB, as tcpdump's (dumpcap counts in MiB)",
    ),
    Option(
        ("-y", "--linktype"), "value", "linktype", "", WHAT, "TYPE",
        more="The data link type; DPDK's ports are Ethernet: EN10MB. With -d it may be any, by libpcap's name",
    ),
    Option(
        ("-j", "--time-stamp-type"), "value", "time_stamp_type", "", WHAT, "TYPE",
        more="The time stamp type; host is the one there is",
    ),
    _flag(
        "-p --no-promiscuous-mode", "ignored", "", WHAT,
        "Accepted for tcpdump's sake: the mode of a port is the application's and is left alone",
    ),
    Option(("-r",), "value", "read", "filter a pcap or pcapng file instead; - is standard input", OUTPUT, "FILE",
           more="Compressed ones too (gzip, zstd, lz4)"),
    Option(("-w",), "value", "write", "write pcapng to FILE; - is standard output", OUTPUT, "FILE",
           more="A name that ends with .gz, .zst or .lz4 compresses. With -r, what the input is: pcap or pcapng"),
    _flag("--count", "count_only", "print only how many packets match", OUTPUT),
    _flag("--print", "print", "with -w: print the packets too", OUTPUT),
    _flag("-g", "group_read", "", OUTPUT, "Make files that the group may read, and nobody else (mode 0640)"),
    Option(("--capture-comment",), "append", "comments", "", OUTPUT, "TEXT", more="A comment for the file; may be repeated"),
    Option(
        ("-Z", "--relinquish-privileges"), "value", "user", "become USER before files are opened", OUTPUT, "USER",
    ),
    _flag(
        "-U --packet-buffered", "ignored", "", OUTPUT,
        "Accepted for tcpdump's sake: packets are always written at once",
    ),
    _flag("--immediate-mode", "ignored", "", OUTPUT, "Accepted for tcpdump's sake: it is always so"),
    _flag("--quiet", "quiet", "say nothing but errors; so does -q with -w", OUTPUT),
    Option(("-C",), "size", "file_size", "next file after SIZE MB (or 9k, 9m, 9g)", FILES, "SIZE",
           more="Sizes are those before compression"),
    Option(("-G",), "seconds", "rotate_seconds",
           "next file after SECS seconds; FILE may hold strftime(3) formats", FILES, "SECS"),
    Option(("-W",), "files", "file_count", "with -C: overwrite after N files; with -G: end after N", FILES, "N"),
    Option(("-z",), "value", "postrotate_command", "run CMD FILE on each file that is complete", FILES, "CMD"),
    Option(("-b", "--ring-buffer"), "append", "ring_buffer",
           "next file after duration, interval, filesize, packets; keep files:N", FILES, "WHAT:N",
           more="Seconds, seconds (at whole multiples), kB, packets, as dumpcap's"),
    Option(("-a", "--autostop"), "append", "autostop",
           "end after duration (s), filesize (kB), packets or files", FILES, "WHAT:N"),
    Option(("-t",), "counted", "time_format", "", PRINTING,
           more="No time; -tt seconds since 1970; -ttt since the packet before; -tttt with date; -ttttt since the "
           "first packet"),
    _flag("-# --number", "number", "", PRINTING, "Number the printed packets"),
    _flag("--nano", "nano", "print nanoseconds instead of microseconds", PRINTING),
    _flag("--micro", "micro", "", PRINTING, "Print microseconds, which is the default"),
    Option(("--time-stamp-precision",), "value", "precision", "", PRINTING, "UNIT", ("micro", "nano"),
           more="As --micro and --nano. Files have nanoseconds anyway"),
    Option(("-T",), "printer_value", "printer_flags", "", PRINTING, "TYPE",
           more="Print packets as TYPE, as tcpdump does (vxlan, rtp, ...)"),
    Option(("-E",), "printer_value", "printer_flags", "", PRINTING, "SECRET",
           more="Decrypt ESP to print it, as tcpdump does"),
    Option(("-M",), "printer_value", "printer_flags", "", PRINTING, "SECRET",
           more="Check TCP-MD5 signatures, as tcpdump does"),
    *(Option((f"-{flag}",), "printer", "printer_flags", "", PRINTING, more=text) for flag, text in (
        ("A", "Print packets as ASCII"),
        ("e", "Print link-level headers"),
        ("H", "Detect 802.11s draft mesh headers"),
        ("K", "Do not verify checksums"),
        ("N", "Print no domain names of hosts"),
        ("n", "Print numbers, not names"),
        ("q", "Print less; with -w, as --quiet"),
        ("S", "Print absolute TCP sequence numbers"),
        ("u", "Print undecoded NFS handles"),
        ("v", "Print more; twice and three times even more"),
        ("X", "Print packets in hexadecimal and ASCII"),
        ("x", "Print packets in hexadecimal"),
    )),
    _flag("-l", "ignored", "", PRINTING, "Accepted for tcpdump's sake: lines are always printed at once"),
    _flag("-D --list-interfaces", "list_interfaces", "list the ports of all DPDK applications; --json as JSON, in full", OTHER),
    _flag("--json", "json", "", OTHER, "With -D: everything that is known, as JSON"),
    Option(("-d",), "counted", "dump", "print the filter's cBPF; -dd as C, -ddd as numbers", OTHER),
    Option(("--dump",), "value", "dump_language", "print the filter as cbpf or ebpf", OTHER, "AS",
           ("cbpf", "ebpf")),
    _flag("-L --list-data-link-types", "list_linktypes", "", OTHER, "List the data link types of a port"),
    _flag("-J --list-time-stamp-types", "list_time_stamps", "", OTHER, "List the time stamp types of a port"),
    _flag("-h --help", "help", "", OTHER, "Print a summary of the options"),
    _flag("--version", "version", "print versions and what was built in", OTHER),
)  # fmt: skip

# Options of tcpdump and dumpcap that make no sense here, or mean different things there: what to do instead.
REFUSED: Final[dict[str, str]] = {
    "-I": "monitor mode is Wi-Fi's: leave it out",
    "--monitor-mode": "monitor mode is Wi-Fi's: leave it out",
    "-k": "channels are Wi-Fi's: leave it out",
    "-P": "packets are written as pcapng: editcap -F pcap FILE OUT makes a pcap of it",
    "-V": "one file at a time: mergecap -w - FILE... | dpcap -r - ...",
    "-m": "MIB modules are not loaded: write a file with -w and use tshark",
    "--temp-dir": "there are no temporary files: name the file with -w",
    "--ifname": "ports have names: dpcap -D lists them",
    "--ifdescr": "ports have descriptions: dpcap -D lists them",
    **{
        f"--log-{what}": "there is no log: failures are said on standard error"
        for what in ("level", "fatal", "domains", "debug", "noisy", "file")
    },
    "--lengths": "tcpdump does not print lengths here: use -v",
    "--skip": "write a file with -w, and leave the first packets out with editcap",
}
