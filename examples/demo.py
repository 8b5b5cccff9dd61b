# SPDX-License-Identifier: BSD-3-Clause
"""
``./dev demo``: dpcap on a real DPDK application, step by step.

An unmodified dpdk-testpmd forwards the packets of a pcap in a loop, with the shim as a plugin. dpcap lists
its ports, shows ten GTP-U packets as they pass and writes a thousand to a file, which tshark and capinfos
then read. The files stay in out/.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

import traffic  # noqa: E402 - found by the line above

from support.command import dpcap_argv  # noqa: E402
from support.hugepages import HugePages  # noqa: E402
from support.testpmd import NATIVE, PLUGIN, Testpmd, TestpmdError  # noqa: E402

OUT = ROOT / "out"
FILTER = "udp port 2152"
COLUMNS = (
    '"Time","%Yt","Port","%Cus:frame.interface_name","Direction","%Cus:frame.packet_flags_direction:0:R",'
    '"Queue","%Cus:frame.interface_queue","Source","%s","Destination","%d","Protocol","%p","Length","%L"'
)


class StepFailedError(Exception):
    """A command of the demo did not do what it should."""


def paint(style: str, text: str) -> str:
    """Return `text` in a style (an SGR number) where standard output is a terminal."""
    return f"\x1b[{style}m{text}\x1b[0m" if sys.stdout.isatty() else text


def step(text: str) -> None:
    """Announce a step."""
    print(f"\n{paint('1;34', '==>')} {paint('1', text)}", flush=True)


def show(command: list[str]) -> None:
    """Print a command as one would type it."""
    wrapped = textwrap.wrap(shlex.join(command), 100, break_long_words=False, break_on_hyphens=False)
    print(paint("32", "$ " + " \\\n    ".join(wrapped)), flush=True)


def run(command: list[str], *, shown: list[str] | None = None, quiet_stderr: bool = False) -> str:
    """Show a command, run it in OUT and return its output, which is printed as it comes."""
    show(shown or command)
    process = subprocess.Popen(
        command,
        cwd=OUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet_stderr else None,
        text=True,
    )
    with process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        errors = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise StepFailedError(f"{shlex.join(shown or command)}: exit status {process.returncode}\n{errors}")
    return "".join(lines)


def dpcap(app: Testpmd, *arguments: str) -> str:
    """Run dpcap on the demo's application."""
    # Where only one application runs there is nothing to choose, and nothing to type.
    listing = subprocess.run(dpcap_argv("-D", "--json"), capture_output=True, text=True, check=True)
    if "-D" not in arguments and len({port["pid"] for port in json.loads(listing.stdout)}) > 1:
        arguments = ("--file-prefix", app.prefix, *arguments)
    return run(dpcap_argv(*arguments), shown=["dpcap", *arguments])


def demo() -> None:
    """Run every step; raise StepFailedError at the first that fails."""
    OUT.mkdir(exist_ok=True)
    step("A pcap of mixed traffic: GTP-U, TCP, DNS, SIP, ICMP, VLAN, QinQ, IPv6")
    count = traffic.write_pcap(OUT / "mix.pcap", traffic.mix())
    print(f"{count} packets in out/mix.pcap")

    step("Memory for the DPDK application")
    with HugePages(64) as pages:
        print(pages.note)

        step(f"An unmodified dpdk-testpmd forwards them in a loop, with {PLUGIN} as a plugin")
        with Testpmd([f"net_pcap0,rx_pcap={OUT / 'mix.pcap'},infinite_rx=1"], eal_args=pages.eal_args) as app:
            show([f"LD_LIBRARY_PATH={NATIVE}", *app.argv])
            app.start()
            app.wait_forwarded(count)
            print(f"testpmd (pid {app.pid}) forwards on port 0")

            step("What can be captured here?")
            dpcap(app, "-D")

            step("Ten GTP-U packets, as they pass")
            text = dpcap(app, "-i", "port0", "-c", "10", FILTER)
            if len(text.splitlines()) < 10:
                raise StepFailedError("fewer than 10 packets were shown")

            step("A thousand of them into a pcapng")
            dpcap(app, "-i", "port0", "-c", "1000", "-w", "demo.pcapng", FILTER)

        step("Testpmd is stopped; the file shows time, port, direction and queue of each packet")
        run(
            ["tshark", "-r", "demo.pcapng", "-c", "10", "-o", f"gui.column.format:{COLUMNS}"],
            quiet_stderr=True,
        )
        about = run(["capinfos", "-tcuI", "demo.pcapng"], quiet_stderr=True)
        if "1000" not in about:
            raise StepFailedError("the file does not hold 1000 packets")

    step("Everything is stopped and the memory returned; the files are out/mix.pcap and out/demo.pcapng")


def main() -> int:
    """Run the demo and clean up, whatever happens."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell's & started this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        demo()
    except (StepFailedError, TestpmdError, OSError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted, everything is stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # tcpdump, for users whose PATH lacks it
    sys.exit(main())
