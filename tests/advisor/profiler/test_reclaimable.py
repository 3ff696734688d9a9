"""After the load a worker is asked to give back what nobody holds, and says what that was."""

import http.client
import os
import sys
import textwrap

import numpy as np
import pytest

from pretune.advisor.profiler import reclaimable
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings

MIB = 1 << 20

APP = """
    import gc, os

    class Node:
        pass

    held = []

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/garbage":
            gc.disable()
            for _ in range(200):
                node = Node()
                node.me, node.text = node, os.urandom(100_000)
        elif path == "/holes":
            # Just too small for a mapping of its own, and every pair is kept apart by a survivor.
            parts = [os.urandom(100_000 if n % 2 else 600) for n in range(400)]
            held.extend(parts[::2])
        elif path == "/held":
            held.append(os.urandom(20 << 20))
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""


@pytest.fixture(params=["gthread", "sync"])
def server(request, tmp_path):
    (tmp_path / "holder.py").write_text(textwrap.dedent(APP))
    telemetry = tmp_path / "telemetry"
    telemetry.mkdir()
    started = embedded.start(
        Launch(
            target="holder.py",
            settings=Settings(workers=1, threads=1, worker_class=request.param),
            python=sys.executable,
            chdir=tmp_path,
            env=dict(os.environ),
            log=tmp_path / "log",
            telemetry=telemetry,
        )
    )
    try:
        address = started.wait_ready(120)
        yield started, address, telemetry
    finally:
        started.stop(10)


def get(address, path):
    connection = http.client.HTTPConnection(*address)
    connection.request("GET", path)
    assert connection.getresponse().read() == b"ok"
    connection.close()


def test_a_worker_tells_garbage_from_holes_and_from_what_is_held(server):
    started, address, telemetry = server
    get(address, "/garbage")
    get(address, "/holes")
    get(address, "/held")
    pid = started.worker_pids()[0]
    rows = reclaimable.ask([pid], telemetry, 20.0)
    assert rows["pid"].tolist() == [pid]
    garbage = rows["before_bytes"] - rows["collected_bytes"]
    holes = rows["collected_bytes"] - rows["trimmed_bytes"]
    # Blocks that the collector freed may stay with the allocator until the trim.
    assert 30 * MIB <= (garbage + holes)[0] <= 45 * MIB
    assert holes[0] >= 10 * MIB
    assert rows["trimmed_bytes"][0] >= 20 * MIB
    assert not rows["gc_enabled"][0]
    get(address, "/")  # it goes on serving
    assert started.worker_pids() == (pid,)


def test_nobody_is_asked_who_has_no_telemetry(tmp_path):
    assert len(reclaimable.ask([os.getpid()], tmp_path)) == 0  # and we are still here


def test_who_does_not_answer_is_left_out(server, tmp_path):
    started, _, telemetry = server
    (telemetry / "1.ring").touch()
    rows = reclaimable.ask(started.worker_pids(), telemetry, 20.0)
    assert len(rows) == 1
    assert np.isfinite(rows["before_bytes"]).all()
