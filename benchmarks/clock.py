# SPDX-License-Identifier: BSD-3-Clause
"""
How far dpcap's clock is from the kernel's, over minutes.

First the clock alone, beside clock_gettime(2): the error itself (tests/shim/dpdk/clock_watch.c). Then, with
--packets, whole captures: a host sends small frames through an application, and the time that dpcap gives a
packet is compared with the kernel's own stamp of the same packet, taken by tcpdump on both links:

    sender -- veth -- [port 0, testpmd, port 1] -- veth -- receiver
                 way in                     way out

On the way in the kernel is first, on the way out the hook is. So the shortest ways of a minute bound the
error from both sides, and half the change of their difference is what the clocks have drifted apart since.

    ./dev bench clock [--minutes M] [--packets] [--json OUT]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real testpmds

from support.captures import Packet, read_pcapng, tcpdump_filter  # noqa: E402
from support.command import dpcap, tcpdump  # noqa: E402
from support.netns import TwoHosts  # noqa: E402
from support.testpmd import Testpmd  # noqa: E402

WATCH = ROOT / "build" / "cmake" / "tests" / "shim" / "dpdk" / "dpdk_clock_watch"
MINUTE = 60
INTERVAL = 0.005  # seconds between packets
EXPRESSION = "udp port 9"

SENDER = """
import socket, struct, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
head = bytes.fromhex("02000000000202000000000108004500002400000000401126bb0a4d00010a4d00020009000900100000")
for number in range(int(sys.argv[1])):
    link.send(head + struct.pack("!Q", number) + bytes(10))
    time.sleep(float(sys.argv[2]))
"""


def watch(seconds: int) -> list[dict[str, int]]:
    """Run the clock beside the kernel's: a dict of its figures for each minute, and one for all."""
    rows = []
    with subprocess.Popen([WATCH, str(seconds)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            words = line.split()
            row = {"seconds": int(words[0])} | dict(zip(words[1::2], map(int, words[2::2]), strict=True))
            rows.append(row)
            print(
                f"{row['seconds']:6} s  {row['readings']:8} readings  median {row['median']:5} ns"
                f"  p99 {row['p99']:5} ns  max {row['max']:5} ns  proved {row['proved']:5} ns",
                flush=True,
            )
    if process.returncode:
        raise SystemExit(f"clock: {WATCH.name} ended with {process.returncode}")
    return rows


def way(earlier: list[Packet], later: list[Packet]) -> list[tuple[int, int]]:
    """Return time and duration of each packet's way, in nanoseconds."""
    if [p.data for p in earlier] != [p.data for p in later]:
        raise SystemExit("clock: dpcap and tcpdump have not captured the same packets")
    return [(a.time, b.time - a.time) for a, b in zip(earlier, later, strict=True)]


def shortest(ways: list[tuple[int, int]], start: int) -> dict[int, int]:
    """Return the shortest way in each minute."""
    found: dict[int, int] = {}
    for time, ns in ways:
        minute = (time - start) // (MINUTE * 10**9)
        found[minute] = min(ns, found.get(minute, ns))
    return found


def packets(seconds: int) -> list[dict[str, float]]:
    """Send packets through an application for so long: bounds and drift for each minute."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpcap-clock-")))
        hosts = stack.enter_context(TwoHosts())
        wire = hosts.run_in(hosts.wire)
        vdevs = [f"net_af_packet{i},iface={end},qdisc_bypass=0" for i, end in enumerate(("left", "right"))]
        app = stack.enter_context(Testpmd(vdevs, run_in=["nice", "-n", "-10", *wire]))
        app.start()
        links = {"left": folder / "left.pcap", "right": folder / "right.pcap"}
        dumps = [
            stack.enter_context(tcpdump("--nano", "-i", link, "-w", path, EXPRESSION, run_in=wire))
            for link, path in links.items()
        ]
        out = folder / "dpcap.pcapng"
        capture = stack.enter_context(dpcap("--pid", str(app.pid), "-i", "any", "-w", out, EXPRESSION))
        argv = [
            *hosts.run_in(hosts.left),
            sys.executable,
            "-c",
            SENDER,
            str(int(seconds / INTERVAL)),
            str(INTERVAL),
        ]
        subprocess.run(argv, check=True)
        app.stop()
        for command in (capture, *dumps):
            command.end()
        hooks = read_pcapng(out)
        kernel = {link: tcpdump_filter(path, "", folder / "nano.pcap") for link, path in links.items()}
    seen = {p: [h for h in hooks if (h.port, h.direction) == p] for p in (("port0", "in"), ("port1", "out"))}
    ways_in = way(kernel["left"], seen["port0", "in"])
    ways_out = way(seen["port1", "out"], kernel["right"])
    start = ways_in[0][0]
    fastest_in, fastest_out = shortest(ways_in, start), shortest(ways_out, start)
    rows = []
    for minute in sorted(fastest_in.keys() & fastest_out.keys()):
        ns_in, ns_out = fastest_in[minute], fastest_out[minute]
        drift = (ns_in - ns_out - fastest_in[0] + fastest_out[0]) / 2
        rows.append({"minute": minute, "in": ns_in, "out": ns_out, "drift": drift})
        print(
            f"{minute:6} min  shortest way in {ns_in:6} ns, out {ns_out:6} ns, drift {drift:+8.0f} ns",
            flush=True,
        )
    return rows


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="dpcap's clock beside the kernel's.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each part takes (default 10)")
    parser.add_argument("--packets", action="store_true", help="whole captures too (as root)")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    args = parser.parse_args()
    seconds = round(args.minutes * MINUTE)
    print("the clock against clock_gettime(2):")
    results: dict[str, object] = {"clock": watch(seconds)}
    if args.packets:
        print("packets against the kernel's stamps:")
        results["packets"] = packets(seconds)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
