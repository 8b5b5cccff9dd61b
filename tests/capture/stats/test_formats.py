# SPDX-License-Identifier: BSD-3-Clause
"""Samples in every format, read back by whoever such formats are for."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
from datetime import datetime
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dpcap.capture import csv_file, protocol
from dpcap.capture.errors import OutputError
from dpcap.capture.stats import formats
from dpcap.capture.stats.counters import Counters, Key, Table
from dpcap.capture.stats.top import sparkline
from dpcap.capture.stats.watch import Queue, Sample

PORT = protocol.Port(3, 'net_"odd"\\0', "net_null", bytes(6), 1500, 0, 1, 1, started=True)
BURSTS = (1, 0, 0, 0, 0, 4, 0, 0, 2, 1, *[0] * 6)
TOTAL = Counters(2000, 128000, 150, 9000, 12, 0, 70, 7, BURSTS)
NOW = Counters(500, 32000, 50, 3000, 4, 0, 20, 2, (1, 0, 0, 0, 0, 3, *[0] * 10))
IDLE = Counters(0, 0, 0, 0, 0, 0, 0, 0, (0,) * 16)
SAMPLE = Sample(
    1_700_000_000.5,
    0.5,
    [Queue(PORT, 0, protocol.DIRECTION_IN, NOW, TOTAL), Queue(PORT, 1, protocol.DIRECTION_OUT, IDLE, IDLE)],
)


def watch(text: str = "") -> SimpleNamespace:
    return SimpleNamespace(name="dpdk-testpmd", pid=42, filter=text, who="dpdk-testpmd (pid 42)")


def test_differences():
    assert TOTAL.since(None) == TOTAL
    assert TOTAL.since(TOTAL) == IDLE
    assert TOTAL.since(NOW).packets == 1500
    assert TOTAL.since(NOW).n_bursts == 4
    assert (TOTAL.n_bursts, TOTAL.polls) == (8, 20)
    assert TOTAL.busy == 0.4
    assert TOTAL.mean_burst == 250
    assert (IDLE.busy, IDLE.mean_burst) == (None, None)


def test_openmetrics():
    text = formats.metrics(SAMPLE, watch("udp"))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    packets = families["dpcap_packets"]
    assert packets.type == "counter"
    assert [s.value for s in packets.samples] == [2000, 0]
    labels = packets.samples[0].labels
    assert labels == {
        "application": "dpdk-testpmd", "pid": "42", "port": "port3", "device": PORT.name, "queue": "0",
        "direction": "in",
    }  # fmt: skip
    assert [s.value for s in families["dpcap_matched_packets"].samples] == [150, 0]
    assert [s.value for s in families["dpcap_empty_polls"].samples] == [12]  # received ones alone
    bursts = families["dpcap_burst_packets"]
    assert bursts.type == "histogram"
    mine = [s for s in bursts.samples if s.labels["queue"] == "0"]
    buckets = {s.labels["le"]: s.value for s in mine if s.name.endswith("_bucket")}
    assert buckets["1.0"] == 1
    assert buckets["31.0"] == 1
    assert buckets["63.0"] == 5
    assert buckets["+Inf"] == 8
    assert [s.value for s in mine if s.name.endswith("_sum")] == [2000]
    assert "dpcap_matched_packets" not in formats.metrics(SAMPLE, watch())


def test_json():
    line = formats.json_line(SAMPLE, watch("udp"))
    assert line.endswith("}\n")
    found = json.loads(line)
    assert datetime.fromisoformat(found["time"]).timestamp() == SAMPLE.time
    assert (found["seconds"], found["filter"], found["pid"]) == (0.5, "udp", 42)
    first, second = found["queues"]
    assert (first["packets"], first["total"]["packets"]) == (500, 2000)
    assert (first["busy"], first["mean_burst"]) == (0.5, 125)
    assert first["burst_sizes"]["32-63"] == 3
    assert first["total"]["burst_sizes"]["256-"] == 3
    assert (second["busy"], second["empty_polls"], second["mean_burst"]) == (None, None, None)
    assert json.loads(formats.json_line(SAMPLE, watch()))["queues"][0]["matched"] is None


def test_csv(tmp_path):
    path = tmp_path / "out.csv"
    with csv_file.CsvFile(str(path), formats.CSV_COLUMNS) as file:
        file.write(formats.csv_rows(SAMPLE, watch("udp")))
        before_the_end = path.read_text()
    assert path.read_text() == before_the_end
    first, second = csv.DictReader(io.StringIO(before_the_end))
    assert tuple(first) == formats.CSV_COLUMNS
    assert datetime.fromisoformat(first["time"]).timestamp() == SAMPLE.time
    assert (first["port"], first["device"], first["queue"], first["direction"]) == (
        "port3", PORT.name, "0", "in",
    )  # fmt: skip
    assert (first["packets"], first["matched"], first["busy"], first["bursts_32-63"]) == (
        "500", "50", "0.5", "3",
    )  # fmt: skip
    assert (second["busy"], second["mean_burst"]) == ("", "")
    with pytest.raises(OutputError, match="/nowhere/x"):
        csv_file.CsvFile("/nowhere/x", formats.CSV_COLUMNS)


@pytest.mark.parametrize("text", ["", "udp"])
def test_table(text):
    head, first, second = formats.table(SAMPLE, watch(text)).splitlines()
    assert len(head) == len(first) == len(second)
    assert ("matched/s" in head) == bool(text)
    assert first.split()[:7] == ["port3", "0", "In", "1,000", "0.5", "125.0", "50.0%"]
    assert second.split()[3:7] == ["0", "0.0", "-", "-"]


def test_sparkline():
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


@pytest.mark.parametrize("start", [b"", b"DPCACNT1" + struct.pack("=II", 2, 0), b"DPCACNT2" + bytes(8)])
def test_what_is_no_table_is_refused(start):
    fd = os.memfd_create("table", os.MFD_CLOEXEC)
    os.write(fd, start.ljust(2 << 20, b"\0") if start else b"short")
    with pytest.raises(protocol.ProtocolError):
        Table(fd)


def test_a_table_is_not_believed_to_have_more_slots_than_fit():
    fd = os.memfd_create("table", os.MFD_CLOEXEC)
    slot = struct.pack("=HHI2Q40x6Q16x16Q", 1, 2, 1, 70, 7, *TOTAL[:6], *BURSTS)
    os.write(fd, (b"DPCACNT1" + struct.pack("=II48x", 1, 0xFFFFFFFF) + slot).ljust(2 << 20, b"\0"))
    table = Table(fd)
    found = table.read()
    assert found[Key(1, 2, 1)] == TOTAL
    table.close()
