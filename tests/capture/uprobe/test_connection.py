# SPDX-License-Identifier: BSD-3-Clause
"""Captures and counts from processes that look like those of other releases of DPDK."""

from __future__ import annotations

from collections import Counter

import pytest

from dpcap import filters
from dpcap.capture import pcapng, protocol
from dpcap.capture.session import Session, Stop
from dpcap.capture.sinks.file import FileSink
from dpcap.capture.uprobe import ladder
from dpcap.capture.uprobe.connection import Connection
from dpcap.capture.uprobe.counters import Counters
from support.captures import read_pcapng, tshark_fields
from support.imitation import imitation
from support.testpmd import wait_until
from support.uprobes import needs_uprobes

HEADER = pcapng.section() + b"".join(pcapng.Interface(f"port{n}").block(262144) for n in range(2))
COUNT, BYTES = 8, 100  # of layouts_app.c
PACKETS = [bytes([i]) * BYTES for i in range(COUNT)]
TAGGED = PACKETS[0][:12] + bytes.fromhex("81002064") + PACKETS[0][12:]
BURSTS = 5


@pytest.fixture(scope="module", autouse=True)
def _can():
    needs_uprobes()


def capture(app, out, expression="", count=None, functions=(), **options):
    """Let some bursts pass, and return the packets."""
    expected = BURSTS * 2 * 2 * 2 * COUNT if count is None else count
    ports = [(0, 0)] if functions else [(0, 0), (1, 1)]
    request = protocol.AttachRequest(ports=ports, snaplen=262144, directions=3, engine=0, forms=[])
    connection = Connection(app.application, functions)
    connection.prepare(filters.compile(expression), **options)
    sink = FileSink(str(out))
    with Stop() as stop:
        session = Session(sink, stop, count=expected, slack_ns=connection.slack_ns)
        session.attach(connection, request, -1)
        app.bursts(BURSTS)
        sink.start(HEADER, bytes)
        session.run()
        sink.finish()
    return read_pcapng(out)


@pytest.mark.parametrize("layout", [2011, 2111, 2311])
@pytest.mark.parametrize("options", [(), ("-DNO_IOVA",)], ids=["classic", "no IO address"])
def test_every_packet_of_every_queue(tmp_path, layout, options):
    out = tmp_path / "out.pcapng"
    with imitation(tmp_path, layout, *options) as app:
        packets = capture(app, out)
    assert len(packets) == BURSTS * 2 * 2 * 2 * COUNT
    for direction, first in (("in", PACKETS[0]), ("out", TAGGED)):
        for port in ("port0", "port1"):
            mine = Counter(p.data for p in packets if (p.direction, p.port) == (direction, port))
            assert mine == dict.fromkeys([first, *PACKETS[1:]], BURSTS * 2)
    rows = tshark_fields(out, "frame.interface_name", "frame.packet_flags_direction", "frame.interface_queue")
    assert Counter(map(tuple, rows)) == {
        (port, direction, queue): BURSTS * COUNT * (2 if direction == "0x00000002" else 1)
        for port in ("port0", "port1")
        for direction, queue in (("0x00000001", "0"), ("0x00000001", "1"), ("0x00000002", "0"))
    }


def test_what_was_refused_is_marked(tmp_path):
    out = tmp_path / "out.pcapng"
    with imitation(tmp_path, 2111) as app:
        capture(app, out)
    rows = tshark_fields(out, "frame.interface_name", "frame.packet_flags_direction", "frame.comment")
    assert Counter(row[2] for row in rows if row[1] == "0x00000001") == {"": BURSTS * 4 * COUNT}
    assert Counter((row[0], row[2]) for row in rows if row[1] == "0x00000002") == {
        ("port0", ""): BURSTS * 2 * COUNT,
        ("port1", ""): BURSTS * 2 * (COUNT - 1),
        ("port1", "not taken by the driver"): BURSTS * 2,
    }


@pytest.mark.parametrize(
    ("expression", "a_round"),
    [
        ("ether[30] = 3", 8),
        ("vlan 100", 4),
        ("inbound and ether[99] = 5", 4),
        ("ether[ether[60] * 20] = 4 and outbound", 4),
    ],
)
def test_filters(tmp_path, expression, a_round):
    """a_round: packets that are accepted of those that pass all queues once."""
    with imitation(tmp_path, 2111) as app:
        packets = capture(app, tmp_path / "out.pcapng", expression, count=a_round * BURSTS)
    assert len(packets) == a_round * BURSTS
    assert len({p.data for p in packets}) == 1


def test_counts(tmp_path):
    with imitation(tmp_path, 2311) as app, Counters(app.application) as counters:
        counters.start([0, 1])
        app.bursts(BURSTS)
        wait_until(lambda: sum(c.bursts for c in counters.read()) == BURSTS * 8, "all bursts")
        found = {tuple(c.queue): (c.bursts, c.packets) for c in counters.read()}
    assert found == {
        **{(port, 1, queue): (BURSTS, BURSTS * COUNT) for port in (0, 1) for queue in (0, 1)},
        (0, 2, 0): (BURSTS * 2, BURSTS * 2 * COUNT),
        (1, 2, 0): (BURSTS * 2, BURSTS * 2 * (COUNT - 1)),
    }


def test_functions_that_are_named(tmp_path):
    """Where nothing else leads to them. All packets are port 0's."""
    with imitation(tmp_path, 0) as app:
        with pytest.raises(ladder.NotFoundError):
            Connection(app.application)
        packets = capture(app, tmp_path / "out.pcapng", functions=["rx=my_rx", "tx=my_tx"])
        offset = app.process.location(app.ports[0].rx).offset
        received = capture(
            app, tmp_path / "in.pcapng", count=4 * BURSTS * COUNT, functions=[f"rx={offset:#x}:0,1,2"]
        )
    assert Counter(p.direction for p in packets) == dict.fromkeys(("in", "out"), 4 * BURSTS * COUNT)
    assert {p.port for p in packets} == {"port0"}
    assert Counter(p.data for p in received) == dict.fromkeys(PACKETS, 4 * BURSTS)
