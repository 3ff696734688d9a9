"""What Prometheus reads: the text, the process that serves it, and numbers that add up."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.server import VERSION
from pretune.server.master import backlog, metrics
from pretune.server.master.metrics import Family
from pretune.server.process.scoreboard import BOOTING, SERVING, Scoreboard

parser = pytest.importorskip("prometheus_client.parser")

APP = """\
import os, time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(0.05)
    if path == "/die":
        os._exit(7)
    start_response("500 No" if path == "/bad" else "200 OK", [])
    return [str(os.getpid()).encode()]
"""


def read(one) -> dict[str, dict[str, float]]:
    """Values by metric, and by labels within it, as a strict parser understands them."""
    status, headers, body = fetch(one, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == "HTTP/1.1 200 OK"
    assert headers["content-type"] == metrics.CONTENT_TYPE
    found: dict[str, dict[str, float]] = {}
    for family in parser.text_string_to_metric_families(body):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            label = ",".join(sample.labels.values())
            assert label not in found.setdefault(sample.name, {})
            found[sample.name][label] = sample.value
    return found


def fetch(one, request: bytes) -> tuple[str, dict[str, str], str]:
    with socket.create_connection(one.address("metrics at"), timeout=20) as sock:
        sock.sendall(request)
        data = b""
        while part := sock.recv(65536):
            data += part
    head, _, body = data.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    assert int(headers["content-length"]) == len(body.encode()) or request.startswith(b"HEAD")
    return first, headers, body


@pytest.fixture
def measured(start, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP)

    def begin(*flags: str, **options):
        return start("--metrics-bind", "127.0.0.1:0", *flags, **options)

    return begin


def test_the_numbers_of_a_server(measured):
    one = measured("-w", "2", "--threads", "2")
    for path in ("/", "/", "/sleep", "/bad"):
        one.text(path)
    seen = read(one)
    assert seen["pretune_build_info"] == {
        f"{'.'.join(map(str, __import__('sys').version_info[:3]))},{VERSION}": 1.0
    }
    assert seen["pretune_workers"] == {"booting": 0.0, "serving": 2.0, "leaving": 0.0}
    assert seen["pretune_workers_wanted"][""] == 2
    assert seen["pretune_threads"][""] == 4
    assert abs(seen["pretune_start_time_seconds"][""] - time.time()) < 60
    assert seen["pretune_uptime_seconds"][""] > 0
    assert len(seen["pretune_worker_pss_bytes"]) == 2
    assert all(1e6 < size < 1e9 for size in seen["pretune_worker_pss_bytes"].values())
    assert list(seen["pretune_accept_queue_length"].values()) == [0.0]
    assert next(iter(seen["pretune_accept_queue_limit"].values())) > 0
    assert set(seen["pretune_worker_exits_total"]) >= {"stop", "crash", "max_memory", "timeout"}


@pytest.mark.parametrize("kind", [(), ("--threads", "2"), ("--preload",)], ids=str)
def test_requests_are_counted_and_never_forgotten(measured, kind):
    one = measured("-w", "1", *kind)
    for path in ("/", "/sleep", "/bad"):
        one.text(path)
    one.wait_for(lambda: read(one)["pretune_requests_total"][""] == 3)
    seen = read(one)
    assert seen["pretune_responses_5xx_total"][""] == 1
    assert seen["pretune_busy_seconds_total"][""] > 0.04
    with contextlib.suppress(Exception):
        one.text("/die")
    one.wait_log("ended (crash, exit code 7)")
    one.wait_for(lambda: len(one.workers()) == 2)
    one.text("/")
    one.wait_for(lambda: read(one)["pretune_requests_total"][""] >= 4)
    seen = read(one)
    assert seen["pretune_worker_exits_total"]["crash"] == 1
    assert seen["pretune_busy_seconds_total"][""] > 0.04


def test_counters_only_grow_while_workers_come_and_go(measured):
    one = measured("-w", "2", "--max-requests", "5")
    stop = False

    def ask() -> None:
        while not stop:
            with contextlib.suppress(OSError):
                one.text("/")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        before: dict[str, float] = {}
        while read(one)["pretune_worker_exits_total"]["max_requests"] < 6:
            now = read(one)
            for name, values in now.items():
                for label, value in values.items():
                    if name.endswith("_total"):
                        assert value >= before.get(name + label, 0.0)
                        before[name + label] = value
    finally:
        stop = True
        thread.join()


def test_hostile_scrapers_harm_nobody(measured):
    one = measured("-w", "1")
    silent = [socket.create_connection(one.address("metrics at"), timeout=20) for _ in range(40)]
    for request, status in (
        (b"nonsense\r\n\r\n", "400"),
        (b"GET /secret HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"GET /" + b"x" * 8187, "431"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
        (b"GET /metrics?x=1 HTTP/1.0\n\n", "200"),
    ):
        assert fetch(one, request)[0].split()[1] == status
    for sock in silent:
        sock.close()
    assert one.text("/").isdigit()


def test_a_dead_exporter_is_replaced_and_the_server_ends_without_it(measured):
    one = measured("-w", "1")
    read(one)
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text()
    exporter = next(int(pid) for pid in children.split() if int(pid) not in one.workers())
    os.kill(exporter, signal.SIGKILL)
    one.wait_log("the exporter of metrics ended")
    one.wait_for(lambda: read(one))
    one.send(signal.SIGTERM)
    assert one.process.wait(30) == 0


def test_after_an_upgrade_the_new_one_answers(measured):
    one = measured("-w", "1")
    one.text("/")
    one.wait_for(lambda: read(one)["pretune_requests_total"][""] == 1)
    one.send(signal.SIGUSR2)
    one.wait_log("TERM to this one ends it")
    one.wait_for(lambda: read(one)["pretune_requests_total"][""] == 0)
    one.send(signal.SIGTERM)
    one.process.wait(30)
    assert read(one)["pretune_workers"]["serving"] == 1


def test_nobody_asked(start):
    assert "metrics" not in start("-w", "1").log()


@given(st.dictionaries(st.text(), st.floats(allow_nan=False)), st.text())
def test_any_label_and_value_survives_the_format(samples, help_):
    family = Family("x", "gauge", help_, [((("l", k),), v) for k, v in samples.items()])
    # The parser splits like str.splitlines; the format ends a line at \\n only.
    if any(c in text for text in (*samples, help_) for c in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        return
    found = list(parser.text_string_to_metric_families(metrics.text([family])))
    assert {s.labels["l"]: s.value for f in found for s in f.samples} == samples


def test_what_a_dead_worker_has_served_stays():
    scoreboard = Scoreboard(2, tallies=True)
    slots = [scoreboard.allot(), scoreboard.allot()]
    for slot in slots:
        scoreboard.set_state(slot, SERVING, 1)
        scoreboard.tally(slot, 1).add(0.5, 200)
        scoreboard.tally(slot, 0).add(0.25, 503)
    assert scoreboard.totals() == [4.0, 1.5, 2.0]
    scoreboard.release(slots[0])
    assert scoreboard.totals() == [4.0, 1.5, 2.0]
    again = scoreboard.allot()
    assert scoreboard.served(again) == [0.0, 0.0, 0.0]
    scoreboard.release(slots[1])
    scoreboard.release(slots[1])  # twice does no harm
    assert scoreboard.totals() == [4.0, 1.5, 2.0]
    assert [w.state for w in scoreboard.seen()] == [BOOTING]


def test_rows_of_different_widths_do_not_overlap():
    scoreboard = Scoreboard(1, tallies=True)
    narrow, wide = scoreboard.allot(), scoreboard.allot(5)
    scoreboard.cells(wide)[4] = 7.0
    scoreboard.tally(narrow, 0).add(1.0, 200)
    assert list(scoreboard.cells(narrow)) == [0.0]
    assert scoreboard.served(wide) == [0.0, 0.0, 0.0]
    scoreboard.release(wide)
    assert len(scoreboard.cells(scoreboard.allot(2))) == 2
    with pytest.raises(IndexError):
        scoreboard.tally(narrow, 1)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_the_queue_of_a_listener(family, tmp_path):
    with socket.socket(family) as listener, contextlib.ExitStack() as stack:
        where = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
        try:
            listener.bind(where.get(family, f"{tmp_path}/sock"))
        except OSError as error:
            pytest.skip(f"no such address here: {error}")
        listener.listen(7)
        found = backlog.length(listener)
        if found is None:
            pytest.skip("the kernel does not say")
        assert found == (0, 7)
        for _ in range(3):
            client = stack.enter_context(socket.socket(family))
            client.connect(listener.getsockname())
        assert backlog.length(listener) == (3, 7)
