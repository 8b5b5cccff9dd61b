# SPDX-License-Identifier: BSD-3-Clause
"""
What the hooks of a capture that matches nothing cost, in TSC cycles a packet, without an application around.

    pair       the rx and the tx hook together, added to a loop that receives and sends bursts of 32
    outside    the same with a program that always rejects: all that is not the filter's work
    rx         the filter alone in the rx hook, as the chooser sees it

For each form of the filter by itself, and for all of them with the chooser; and for a session that counts.
Packets come again and again in
the same order, as testpmd replays a file, or in random order: branch predictors learn what repeats itself.
See tests/shim/dpdk/hooks_cost.c for the loop. Needs no root, and is precise to some tenths of a cycle on a
busy machine, where benchmarks/capture.py is not.

    ./dev bench hooks [--json OUT] [--pcap FILE] [--blocks N] [EXPRESSION...]
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import inputs
import traffic

from dpcap import filters

COST = Path(__file__).resolve().parents[1] / "build" / "cmake" / "tests" / "shim" / "dpdk" / "dpdk_hooks_cost"
REJECT = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit
EXPRESSIONS = ("udp port 9", "host 192.0.2.1", "vlan 4000 and udp port 53")


def write_form(path: Path, code: bytes, rodata: bytes) -> Path:
    """Write a program as hooks_cost reads it."""
    path.write_bytes(struct.pack("=II", len(code) // 8, len(rodata)) + code + rodata)
    return path


def measure(order: str, blocks: int, packets: Path, forms: list[Path]) -> dict[str, Any]:
    """Run the loop: cycles a packet, and what the chooser knows of the forms."""
    ran = subprocess.run(
        [COST, order, str(blocks), packets, *forms], check=True, capture_output=True, text=True
    )
    first, *others = (line.split() for line in ran.stdout.splitlines())
    baseline, q1, median, q3 = map(float, first[1:])
    costs = [(float(cost), int(bursts)) for _, cost, bursts in others]
    return {"baseline": baseline, "quartiles": [q1, median, q3], "forms": costs}


def show(row: dict[str, Any]) -> None:
    """Print one line of the table."""
    q1, median, q3 = row["quartiles"]
    rx = " ".join(f"{cost:.1f}" for cost, _ in row["forms"])
    print(
        f"{row['expression']:28}{row['form']:14}{row['order']:8}{median:7.2f} ({q1:.2f} to {q3:.2f})   {rx}",
        flush=True,
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="What the hooks of a capture cost, without an application.")
    parser.add_argument("expressions", nargs="*", metavar="EXPRESSION")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--pcap", type=Path, help="packets (default: our own mix)")
    parser.add_argument("--blocks", type=int, default=1500, help="blocks of 64 bursts (default 1500)")
    args = parser.parse_args()
    if not COST.exists():
        raise SystemExit(f"hooks: {COST} is missing: it is built where DPDK's headers are (./dev build)")
    rows = []
    with tempfile.TemporaryDirectory(prefix="dpcap-bench-") as name:
        folder = Path(name)
        frames = inputs.read_packets(args.pcap) if args.pcap else list(traffic.mix())
        packets = folder / "packets"
        packets.write_bytes(b"".join(struct.pack("=I", len(frame)) + frame for frame in frames))
        work: list[tuple[str, dict[str, Path | None]]] = [
            ("counting, no filter", {"-": None}),
            ("always 0", {"-": write_form(folder / "reject", REJECT, b"")}),
        ]
        for number, expression in enumerate(args.expressions or EXPRESSIONS):
            forms = filters.compile(expression).forms
            files: dict[str, Path | None] = {
                n: write_form(folder / f"{number}-{n}", f.code, f.rodata) for n, f in forms.items()
            }
            work.append((expression, files))
        print(f"{'filter':28}{'form':14}{'order':8}{'pair, c (quartiles)':27}rx, c")
        for expression, files in work:
            candidates = [(form, [file] if file else []) for form, file in files.items()]
            if len(files) > 1:
                candidates.append(("chosen", [file for file in files.values() if file]))
            for form, chosen in candidates:
                for order in ("loop", "random"):
                    result = measure(order, args.blocks, packets, chosen)
                    rows.append({"expression": expression, "form": form, "order": order, **result})
                    show(rows[-1])
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
