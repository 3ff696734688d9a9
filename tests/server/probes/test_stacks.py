"""What a worker with probes notes beside its ring: lines, routes, hosts, lags, blocks."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.rings import records

from pretune.server.probes.account import KINDS

APPS = Path(__file__).parents[1] / "apps"


def line_of(app: str, text: str) -> int:
    lines = (APPS / app).read_text().splitlines()
    (found,) = [n for n, line in enumerate(lines, 1) if text in line]
    return found


class Noted:
    """The notes of a directory's one worker, as far as they are written."""

    def __init__(self, directory: Path) -> None:
        (path,) = directory.glob("*.notes")
        whole, _, _ = path.read_text().rpartition("\n")
        self.all = [json.loads(line) for line in whole.splitlines()]
        self.places = {n: tuple(place) for n, *place in self.of("place")}
        self.routes = dict(self.of("route"))

    def of(self, kind: str) -> list:
        return [note[1:] for note in self.all if note[0] == kind]

    def looks(self) -> Counter:
        """(kind, held, file, line, function) of the looks at endpoint 1."""
        return Counter(
            (KINDS[kind], held, *self.places[place][:3])
            for _, endpoint, _, kind, held, place in self.of("sample")
            if endpoint == 1
        )


def serve_and_ask(serve, directory, target, path, times, **settings):
    served = serve(target, telemetry=directory, probes=True, **settings)
    for _ in range(times):
        served.get(path, X_Pretune_Endpoint="1")
    served.wait_for(lambda: len(records(directory)) == times)
    served.wait_for(lambda: Noted(directory).of("cost"))
    before = len(Noted(directory).of("cost"))
    served.wait_for(lambda: len(Noted(directory).of("cost")) > before)  # all has been written
    return served, Noted(directory)


def test_cpu_and_waiting_are_told_apart_by_the_users_line(serve, tmp_path):
    _, noted = serve_and_ask(serve, tmp_path, "lines", "/mixed/3", 40, worker_class="gthread")
    looks = noted.looks()
    loop = range(line_of("lines.py", "end = "), line_of("lines.py", "pass") + 1)
    burning = sum(
        n for (kind, _, file, line, _), n in looks.items()
        if (kind, file) == ("cpu", "lines.py") and line in loop
    )  # fmt: skip
    sleeping = looks["other", 0, "lines.py", line_of("lines.py", "sleep(0.03)"), "mixed"]
    cpu = sum(n for (kind, *_), n in looks.items() if kind == "cpu")
    waits = sum(n for (kind, *_), n in looks.items() if kind != "cpu")
    assert burning > 0.5 * cpu > 0
    assert sleeping > 0.8 * waits > 0


def test_the_route_is_the_frameworks_pattern(serve, tmp_path):
    _, noted = serve_and_ask(serve, tmp_path, "lines", "/mixed/3", 2, worker_class="gthread")
    assert {noted.routes[record["route"]] for record in records(tmp_path)} == {"/mixed/<int:n>"}


def test_the_route_under_a_mount_and_a_middleware(serve, tmp_path):
    _, noted = serve_and_ask(
        serve, tmp_path, "lines_async", "/api/gathered/3", 2, worker_class="asgi"
    )
    taken = {noted.routes[record["route"]] for record in records(tmp_path)}
    assert taken == {"/api/gathered/{n:int}"}


@pytest.mark.parametrize(
    ("path", "text", "held"),
    [
        ("/api/gathered/3", "asyncio.sleep", 0),
        ("/blocked", "time.sleep(0.1)", 1),
        ("/plain", "time.sleep(0.03)", 0),
    ],
    ids=["in a child task", "on the loop", "in an executor"],
)
def test_where_a_request_waits_under_asgi(serve, tmp_path, path, text, held):
    _, noted = serve_and_ask(serve, tmp_path, "lines_async", path, 20, worker_class="asgi")
    waits = Counter({look[1:4]: n for look, n in noted.looks().items() if look[0] != "cpu"})
    (most, _), *_ = waits.most_common(1)
    assert most == (held, "lines_async.py", line_of("lines_async.py", text))


def test_what_blocks_the_loop_is_named_with_its_length(serve, tmp_path):
    _, noted = serve_and_ask(serve, tmp_path, "lines_async", "/blocked", 12, worker_class="asgi")
    place = ("lines_async.py", line_of("lines_async.py", "time.sleep(0.1)"))
    blocks = [each for each in noted.of("block") if noted.places[each[-1]][:2] == place]
    assert 6 <= len(blocks) <= 12  # a look may miss one on a busy machine
    assert all(length >= 0.05 for _, length, *_ in blocks)
    # A busy machine may take as long for what the first request imports; nothing else blocks.
    assert len(noted.of("block")) - len(blocks) <= 1
    lags = [lag for _, lag in noted.of("lag")]
    assert max(lags) > 0.02  # the loop heard late of what came while it slept


def test_outbound_calls_are_noted_by_host(serve, tmp_path):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        try:
            _, noted = serve_and_ask(
                serve, tmp_path, "lines", f"/ask/{port}/5", 3, worker_class="gthread"
            )
        finally:
            server.shutdown()
    asked = noted.of("out")
    assert [(endpoint, host, calls) for _, endpoint, _, host, calls, _ in asked] == [
        (1, f"127.0.0.1:{port}", 5)
    ] * 3
    for record, (_, _, _, _, calls, waited) in zip(records(tmp_path), asked, strict=True):
        assert record["out_calls"] == calls
        assert record["out"] == pytest.approx(waited)


def test_every_python_notes_lines(serve, tmp_path, python):
    _, noted = serve_and_ask(
        serve, tmp_path, "plain", "/sleep/0.1", 5, worker_class="gthread", python=python
    )
    (most, _), *_ = noted.looks().most_common(1)
    kind, _, file, line, function = most
    assert (kind, file, line) == ("other", "plain.py", line_of("plain.py", "time.sleep("))
    assert function.endswith("sleep")


def test_without_probes_nothing_is_noted(serve, tmp_path):
    served = serve("lines", telemetry=tmp_path, worker_class="gthread")
    served.text("/mixed/3")
    served.wait_for(lambda: records(tmp_path))
    assert list(tmp_path.glob("*.notes")) == []


def test_of_many_requests_without_probes_some_have_their_delay_measured(serve, tmp_path):
    served = serve("plain", telemetry=tmp_path, worker_class="gthread", threads=1)
    for _ in range(32):
        served.text("/hello")
    served.wait_for(lambda: len(records(tmp_path)) == 32)
    assert sum(record["runq"] >= 0 for record in records(tmp_path)) == 2
