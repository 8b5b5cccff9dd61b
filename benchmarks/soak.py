# SPDX-License-Identifier: BSD-3-Clause
"""
A capture that lasts: mixed load, other captures that come, go and are killed, and every packet accounted for.

One net_pcap port replays a pcap for ever, in bursts of forwarding with pauses between. Three captures see the
whole of it: an expression, its contrary, and a small share of the traffic into one file. Now and then one of
them is stopped for a moment, so that its rings run over. At the end these have to be equal, to the packet:

    received    what the hooks saw     = the port's own counters, of both directions
    accepted    by the expression      = what tcpdump finds in the pcap, times its replays
                by both together       = received
    stored      in the file            = accepted - dropped

and neither the application nor a capture may have grown. Exits with 1 when one of it is not so.

    ./dev bench soak [--minutes M] [--json OUT] [--seed N]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real testpmds

import traffic  # noqa: E402

from support.captures import capinfos, last_statistics, read_pcap, tcpdump_filter  # noqa: E402
from support.command import Command, dpcap, dpcap_argv, run_dpcap  # noqa: E402
from support.footprint import Footprint  # noqa: E402
from support.testpmd import Testpmd, wait_until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

EXPRESSION = "udp port 2152"
FEW = "udp port 5060"
# Sizes at the end are compared with those at this share of the time: by then everything was used once.
WARM = 0.2
GROWTH_KB = 2048
DIRECTIONS = 2


class Watched:
    """A capture from the first packet to the last."""

    def __init__(self, app: Testpmd, name: str, path: Path, expression: str, *options: str) -> None:
        self.name = name
        self.expression = expression
        self._path = path
        arguments = ("--pid", str(app.pid), "-i", "port0", "-w", str(path), *options, expression)
        self.command = dpcap(*arguments)
        self.sizes: list[Footprint] = []

    def size_up(self) -> None:
        """Note what the process holds."""
        self.sizes.append(Footprint.of(self.command.pid))

    def hold(self, seconds: float) -> None:
        """Stop it for a while."""
        os.kill(self.command.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.command.pid, signal.SIGCONT)

    def finish(self) -> dict[str, int]:
        """End it and return its counters, which have to be those of its file."""
        status = self.command.end()
        if status:
            raise SystemExit(f"soak: {self.name} ended with {status}: {self.command.stderr}")
        printed = {
            words: int(n)
            for n, words in re.findall(r"^(\d+) packets (.+)$", self.command.stderr, re.MULTILINE)
        }
        last = max(self._path.parent.glob(f"{self._path.name}*"), key=lambda path: path.stat().st_mtime_ns)
        received, accepted, dropped, stored = last_statistics(last)
        if list(printed.values()) != [stored, accepted, dropped]:
            raise SystemExit(
                f"soak: {last.name} has other statistics than {self.name} prints: {self.command.stderr}"
            )
        return {"received": received, "accepted": accepted, "dropped": dropped, "stored": stored}


class Churn:
    """Captures that come and go beside those that are watched."""

    def __init__(self, app: Testpmd, folder: Path, rng: random.Random) -> None:
        self._app = app
        self._out = folder / "churn.pcapng"
        self._rng = rng
        self.counts = {"ended": 0, "killed": 0}

    def once(self) -> None:
        """Capture a few packets, or be killed while doing it."""
        options = ("--pid", str(self._app.pid), "-i", "port0", "-w", str(self._out), "-s", "64")
        if self._rng.random() < 0.5:
            with Command(dpcap_argv(*options, "ip6")) as capture:
                time.sleep(self._rng.uniform(0, 0.4))  # from before the hooks to well into the capture
                capture.end(signal.SIGKILL)
            self.counts["killed"] += 1
            return
        done = run_dpcap(*options, "-c", "100", "arp or icmp")
        if done.returncode:
            raise SystemExit(f"soak: a short capture failed: {done.stderr}")
        self.counts["ended"] += 1


def expected(pcap: Path, expression: str, packets: int, folder: Path) -> int:
    """Return how many of the first packets of an endless replay tcpdump finds to match."""
    times = {packet.time for packet in tcpdump_filter(pcap, expression, folder / "matching.pcap")}
    matches = [packet.time in times for packet in read_pcap(pcap)]
    replays, rest = divmod(packets, len(matches))
    return replays * sum(matches) + sum(matches[:rest])


def run(app: Testpmd, captures: Sequence[Watched], churn: Churn, args: argparse.Namespace) -> list[Footprint]:
    """Forward in bursts until the time is over; return the application's sizes."""
    rng = random.Random(args.seed)
    start = time.monotonic()
    end = start + args.minutes * 60
    sizes: list[Footprint] = []
    told = 0.0
    while (now := time.monotonic()) < end or not sizes:
        app.start()
        if rng.random() < 0.3:
            rng.choice(captures).hold(rng.uniform(0.05, 0.5))
        churn.once()
        app.stop()
        if rng.random() < 0.2:
            app.command("port stop 0")
            app.command("port start 0")
        time.sleep(rng.uniform(0, 3))
        wait_until(lambda: not is_captured_more(app, captures), "the short captures gone")
        sizes.append(Footprint.of(app.pid))
        for capture in captures:
            capture.size_up()
        if now - told >= 60 or not told:
            told = now
            print(
                f"{(now - start) / 60:6.1f} min  {app.stats()['RX-packets']:>14} packets  {sizes[-1]}",
                flush=True,
            )
    return sizes


def is_captured_more(app: Testpmd, captures: Sequence[Watched]) -> bool:
    """Tell whether the application holds rings of others than these captures."""
    maps = Path(f"/proc/{app.pid}/maps").read_text()
    return maps.count("memfd:dpcap-ring") > ring_mappings(captures)


def ring_mappings(captures: Sequence[Watched]) -> int:
    """Return how many mappings the rings of these captures are: header and data, and data again."""
    return DIRECTIONS * 2 * len(captures)


def growth_kb(sizes: Sequence[Footprint]) -> int:
    """Return how much resident memory grew after the warm-up."""
    return sizes[-1].resident_kb - sizes[int(len(sizes) * WARM)].resident_kb


def check(results: dict[str, object], name: str, got: int, wanted: int) -> bool:
    """Print one comparison and note it."""
    same = got == wanted
    print(f"{'  ' if same else '! '}{name:58}{got:>16}{'' if same else f'  instead of {wanted}'}", flush=True)
    results[name] = {"got": got, "wanted": wanted}
    return same


def reconcile(
    app: Testpmd, captures: Sequence[Watched], pcap: Path, folder: Path, results: dict[str, object]
) -> bool:
    """End the captures and compare all counts."""
    port = app.stats()
    counters = {capture.name: capture.finish() for capture in captures}
    good = check(results, "the port sent what it received", port["TX-packets"], port["RX-packets"])
    for capture in captures:
        c = counters[capture.name]
        matching = DIRECTIONS * expected(pcap, capture.expression, port["RX-packets"], folder)
        good &= check(
            results, f"{capture.name}: received", c["received"], port["RX-packets"] + port["TX-packets"]
        )
        good &= check(results, f"{capture.name}: accepted", c["accepted"], matching)
        good &= check(results, f"{capture.name}: stored + dropped", c["stored"] + c["dropped"], c["accepted"])
        print(f"  {capture.name}: of these dropped{c['dropped']:>42}")
        results[f"{capture.name}: dropped"] = c["dropped"]
    both = counters["expression"]["accepted"] + counters["contrary"]["accepted"]
    good &= check(results, "expression and contrary: accepted", both, counters["expression"]["received"])
    about = capinfos(folder / "few.pcapng")
    good &= check(
        results, "few: packets in the file", int(about["Number of packets"]), counters["few"]["stored"]
    )
    good &= check(results, "few: in strict time order", about["Strict time order"] == "True", True)
    return good


def flat(name: str, sizes: Sequence[Footprint], results: dict[str, object]) -> bool:
    """Print how the size of a process developed; false when it grew."""
    warm, last, grown = sizes[int(len(sizes) * WARM)], sizes[-1], growth_kb(sizes)
    print(f"  {name}: {warm} when warm, {last} at the end")
    results[f"{name}: growth in kB"] = grown
    same = (warm.descriptors, warm.threads) == (last.descriptors, last.threads)
    if grown > GROWTH_KB or not same:
        print(f"! {name} has grown")
        return False
    return True


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="A long capture whose counts have to reconcile.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--seed", type=int, default=1, help="of what happens when")
    args = parser.parse_args()
    results: dict[str, object] = {"minutes": args.minutes, "seed": args.seed}
    with contextlib.ExitStack() as stack:
        # Memory: a disk would be busy with nothing else.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpcap-soak-", dir="/dev/shm")))
        pcap = folder / "mix.pcap"
        traffic.write_pcap(pcap, traffic.mix())
        app = stack.enter_context(
            Testpmd([f"net_pcap0,rx_pcap={pcap},infinite_rx=1"], mbufs=16384, megabytes=128)
        )
        wait_until(app.sockets, "the control socket")
        ring_of_files = ("-C", "50", "-W", "3")
        captures = [
            Watched(app, "expression", folder / "expression.pcapng", EXPRESSION, *ring_of_files),
            Watched(
                app, "contrary", folder / "contrary.pcapng", f"not ({EXPRESSION})", "-s", "64", *ring_of_files
            ),
            Watched(app, "few", folder / "few.pcapng", FEW, "-s", "64"),
        ]
        for capture in captures:
            stack.enter_context(capture.command)
        churn = Churn(app, folder, random.Random(args.seed + 1))
        sizes = run(app, captures, churn, args)
        results["sizes"] = len(sizes)
        good = reconcile(app, captures, pcap, folder, results)
        good &= flat("application", sizes, results)
        for capture in captures:
            good &= flat(capture.name, capture.sizes, results)
        print(f"  beside them {churn.counts['ended']} short captures, and {churn.counts['killed']} killed")
        results.update(churn.counts)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
