# SPDX-License-Identifier: BSD-3-Clause
"""The text format of OpenMetrics 1.0, which Prometheus and node_exporter's textfile collector read."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dpcap.capture.stats.counters import Counters

    Series = tuple[Mapping[str, str], Counters, Mapping[str, Any]]  # labels, and what they label


class Family(NamedTuple):
    """A counter: the metric's name, its field of a queue's numbers, and what it means."""

    name: str
    field: str
    help: str


FAMILIES = (
    Family("dpcap_packets", "packets", "Packets received or handed to the driver."),
    Family("dpcap_frame_bytes", "bytes", "Bytes of their frames, without FCS."),
    Family("dpcap_empty_polls", "empty_polls", "Receive calls that found nothing."),
    Family("dpcap_matched_packets", "matched", "Packets that the filter accepts."),
    Family("dpcap_matched_frame_bytes", "matched_bytes", "Bytes of the frames that the filter accepts."),
    Family("dpcap_captured_packets", "captured", "Packets that the filters of captures accepted."),
    Family("dpcap_dropped_packets", "dropped", "Captured packets that found the ring full."),
    Family("dpcap_missed_packets", "missed", "Packets of threads that found the queue taken: not counted."),
)
_BURST = "dpcap_burst_packets"


def exposition(series: Sequence[Series]) -> str:
    """Return the text for the totals of all queues. A number that is None has no sample."""
    return "\n".join([*_counters(series), *_histogram(series), "# EOF"]) + "\n"


def _counters(series: Sequence[Series]) -> Iterator[str]:
    for family in FAMILIES:
        samples = [
            f"{family.name}_total{_labels(labels)} {numbers[family.field]}"
            for labels, _, numbers in series
            if numbers[family.field] is not None
        ]
        if not samples:
            continue
        yield f"# TYPE {family.name} counter"
        if family.name.endswith("_bytes"):
            yield f"# UNIT {family.name} bytes"
        yield f"# HELP {family.name} {family.help}"
        yield from samples


def _histogram(series: Sequence[Series]) -> Iterator[str]:
    """Packets of a burst. A bucket counts the bursts of so many packets and fewer."""
    yield f"# TYPE {_BURST} histogram"
    yield f"# UNIT {_BURST} packets"
    yield f"# HELP {_BURST} Packets of a burst that was not empty."
    for labels, total, _ in series:
        for i, count in enumerate(accumulate(total.bursts)):
            bucket = _labels({**labels, "le": f"{(2 << i) - 1}.0"})
            yield f"{_BURST}_bucket{bucket} {count}"
        yield f"{_BURST}_bucket{_labels({**labels, 'le': '+Inf'})} {total.n_bursts}"
        yield f"{_BURST}_sum{_labels(labels)} {total.packets}"
        yield f"{_BURST}_count{_labels(labels)} {total.n_bursts}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
