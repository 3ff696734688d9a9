"""From a served app that writes down what it does to what is said of its lines, hosts and calls.

The tolerance is the interval the tool claims itself; where truth is what the app measured on its
own clocks (a busy machine makes a sleep longer), it is compared with that.
"""

import http.client
import json
import os
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pretune.advisor.demand import breakdown, estimate
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.profiler.reduce import measure
from pretune.advisor.profiler.sampler import Profiler
from pretune.advisor.profiler.samples import Samples
from pretune.loadtests import records
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings

SECONDS = 5.0
ASKED = 5
QUERIES = 7

APP = """
    import os, time
    import urllib.request

    import psycopg

    connection = None
    spent = {"burn": 0.0, "long": 0.0, "short": 0.0, "requests": 0}

    def burn(seconds):
        began = time.thread_time()
        while time.thread_time() < began + seconds:
            pass
        spent["burn"] += time.thread_time() - began

    def known():
        global connection
        if connection is None:
            connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        burn(0.004)
        began = time.perf_counter()
        time.sleep(0.014)  # the long one
        between = time.perf_counter()
        time.sleep(0.006)  # the short one
        spent["short"] += time.perf_counter() - between
        spent["long"] += between - began
        for _ in range(7):
            connection.execute("select 1")
        for _ in range(5):
            urllib.request.urlopen(os.environ["PEER"]).read()
        spent["requests"] += 1

    def application(environ, start_response):
        import json
        if environ["PATH_INFO"] == "/known":
            known()
        body = json.dumps(spent).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""


class Peer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def peer():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def run(url, peer, tmp_path_factory):
    """(the measurement, what the app says it did, per request; its source)."""
    directory = tmp_path_factory.mktemp("known")
    source = textwrap.dedent(APP)
    (directory / "known.py").write_text(source)
    server = embedded.start(
        Launch(
            target="known.py",
            settings=Settings(workers=1, threads=1, worker_class="gthread"),
            python=Path(sys.executable),
            chdir=directory,
            env={**os.environ, "DATABASE_URL": url, "PEER": f"http://{peer}/"},
            log=directory / "log",
            telemetry=directory,
            probes=True,
        )
    )
    rows = []
    connection = None
    try:
        connection = http.client.HTTPConnection(*server.wait_ready(120))

        def ask(path):
            start = time.monotonic()
            connection.request("GET", path, headers={"x-pretune-endpoint": "1"})
            response = connection.getresponse()
            body = response.read()
            rows.append((start, time.monotonic() - start, len(body), 1, 0, 200, 0, 0))
            return json.loads(body)

        ask("/known")  # connects
        profiler = Profiler(server.master_pid, worker_pids=server.worker_pids, telemetry=directory)
        profiler.start()
        rows.clear()
        before = ask("/known")
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            after = ask("/known")
        time.sleep(0.6)  # the notes are written every half second
        samples = profiler.stop()
        samples.save(directory / "samples.npz")
    finally:
        if connection is not None:
            connection.close()
        server.stop(10)
    measurement = measure(
        "demand", Settings(), Load(1, SECONDS), Conditions(1, 1, False, True),
        Workload((Endpoint("/known", ("/known",), 1.0),)),
        Samples.load(directory / "samples.npz"), np.array(rows, records.dtype()), server.events(),
    )  # fmt: skip
    requests = after["requests"] - before["requests"]
    truth = {name: (after[name] - before[name]) / requests for name in before}
    return measurement, truth, source.splitlines()


@pytest.fixture(scope="module")
def said(run):
    measurement, _, _ = run
    workload = Workload((Endpoint("/known", ("/known",), 1.0),))
    found = breakdown.assemble(workload, measurement)
    assert found is not None
    return found, estimate.assemble(workload, measurement)


def at(source, text):
    (number,) = [n for n, line in enumerate(source, 1) if text in line]
    return number


def test_each_line_that_waits_has_its_share_of_the_waiting(run, said):
    _, truth, source = run
    found, costs = said
    waiting = costs.db_s.value + costs.wait_s.value
    lines = {line.line: line for line in found.endpoints[0].lines if line.kind != "cpu"}
    for name in ("long", "short"):
        line = lines[at(source, f"the {name} one")]
        assert (line.file, line.function, line.kind) == ("known.py", "known", "other")
        assert line.fraction.contains(truth[name] / waiting)
        assert line.seconds.contains(truth[name])


def test_the_lines_that_burn_have_the_cpu(run, said):
    _, truth, source = run
    found, costs = said
    loop = range(at(source, "began = time.thread_time()"), at(source, "pass") + 1)
    burning = [x for x in found.endpoints[0].lines if x.kind == "cpu" and x.line in loop]
    low = sum(line.fraction.low for line in burning)
    high = sum(line.fraction.high for line in burning)
    # what the lines do not have is the rest of the app's: queries, calls, the framework
    assert low <= truth["burn"] / costs.cpu_s.value <= high


def test_calls_are_counted_by_host(said, peer):
    found, costs = said
    (host,) = found.endpoints[0].hosts
    assert host.name == peer
    assert host.calls.value == ASKED
    assert costs.wait_calls.value == ASKED
    assert costs.db_calls.value == QUERIES
    assert host.wait_s.contains(found.out_s.value)


def test_the_parts_of_a_request_add_up_to_its_wall(run, said):
    measurement, _, _ = run
    found, costs = said
    rows = measurement.telemetry
    wall = float(np.mean(rows["wall"] - rows["runq"]))
    parts = costs.cpu_s.value + costs.db_s.value + found.out_s.value + found.other_s.value
    assert parts == pytest.approx(wall, rel=0.01)


def test_what_looking_costs_is_said_and_is_not_the_apps(run, said):
    measurement, _, _ = run
    found, _ = said
    assert found.looks > 100
    assert 0 < found.looking_core_fraction < 0.02
    assert measurement.cpu_s_per_request.value > 0
    notes = measurement.notes
    spent = notes.cpu_s(int(notes.cost["pid"][0]), np.array([notes.cost["time"][-1]]))
    assert spent[0] == pytest.approx(notes.cost["cpu_s"][-1])
