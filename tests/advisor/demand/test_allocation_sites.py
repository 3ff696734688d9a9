"""A leak names the lines that hold it: the choice of lines, and a real app that keeps."""

import http.client
import math
import os
import sys
import textwrap
import time

import numpy as np
import pytest

from pretune.advisor.demand import allocation_sites
from pretune.advisor.profiler import snapshots as holding
from pretune.advisor.profiler.measurement import MemorySeries
from pretune.advisor.profiler.snapshots import Held
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.probes.allocation_sites import site_finder
from pretune.server.settings import Settings

REQUESTS = np.array([0.0, 1000.0, 2000.0, 3000.0])
SERIES = MemorySeries(7, np.array([0.0, 10.0, 20.0, 30.0]), REQUESTS, REQUESTS)
VIA = "/lib/json.py:5"


def find(of=math.inf, **lines):
    return allocation_sites.find_holders(
        Held(7, (10.0, 20.0, 30.0), lines, {"leak": VIA}), [SERIES], of
    )


def test_what_grows_with_the_requests_is_named_with_its_bytes_per_request():
    found = find(
        leak=[100_000, 600_000, 1_100_000],
        small=[0, 50_000, 100_000],
        tiny=[0, 10_000, 20_000],
        constant=[5_000_000] * 3,
        freed=[900_000, 400_000, 0],
    )
    assert [(h.place, h.bytes_per_request, h.via) for h in found.lines] == [
        ("leak", 500.0, VIA), ("small", 50.0, ""),
    ]  # fmt: skip
    assert found.bytes_per_request == pytest.approx(560)
    assert found.lines[0].share == pytest.approx(500 / 560)
    assert found.requests == 2000


def test_a_line_that_grows_faster_than_the_leak_is_a_cache_that_fills():
    lines = {"cache": [0, 2_000_000, 4_000_000], "keeper": [0, 500_000, 1_000_000]}
    assert [h.place for h in find(of=520.0, **lines).lines] == ["keeper"]
    assert [h.place for h in find(**lines).lines] == ["cache", "keeper"]


@pytest.mark.parametrize(
    "sizes", [[0, 900_000, 900_000], [0, 0, 900_000], [0, 900_000, 100_000], [0, 80_000, 900_000]]
)
def test_a_line_that_grew_only_once_is_a_cache_or_a_request_in_flight(sizes):
    assert find(line=sizes).lines == ()


def test_without_requests_or_snapshots_nothing_is_said():
    still = MemorySeries(7, np.array([0.0, 40.0]), np.array([5.0, 5.0]), REQUESTS[:2])
    held = Held(7, (10.0, 20.0), {"leak": [0, 1]}, {})
    assert allocation_sites.find_holders(held, [still]) is None
    assert allocation_sites.find_holders(held, []) is None
    assert allocation_sites.find_holders(Held(7, (10.0,), {"leak": [1]}, {}), [SERIES]) is None


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        (["/srv/app/views.py:7", "/srv/app/shop/cart.py:9"], ("shop/cart.py:9", "")),
        (
            ["/srv/app/views.py:7", "{prefix}/lib/site-packages/orm.py:3"],
            ("views.py:7", "{prefix}/lib/site-packages/orm.py:3"),
        ),
        (
            ["{prefix}/lib/a.py:1", "{prefix}/lib/b.py:2", "<frozen importlib>:9"],
            ("{prefix}/lib/b.py:2", ""),
        ),
        (["{ours}/wsgi.py:5"], None),
    ],
)
def test_the_line_is_the_innermost_of_the_users_own_code(stack, place):
    ours = os.path.dirname(embedded.__file__)
    here = {"prefix": sys.prefix, "ours": os.path.dirname(ours)}
    frames = [f.format(**here).rpartition(":") for f in stack]
    found = site_finder("/srv/app")([(name, int(line)) for name, _, line in frames])
    assert found == (place and tuple(text.format(**here) for text in place))


APP = """
    import json
    kept = []
    cache = {}

    def application(environ, start_response):
        kept.append(json.loads('["' + "x" * 2000 + '"]'))
        if len(cache) < 30:
            cache[len(cache)] = bytes(10_000)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""


def test_a_known_leak_is_named(tmp_path):
    (tmp_path / "keeper.py").write_text(textwrap.dedent(APP))
    telemetry = tmp_path / "telemetry"
    telemetry.mkdir()
    server = embedded.start(
        Launch(
            target="keeper.py",
            settings=Settings(workers=1, threads=1),
            python=sys.executable,
            chdir=tmp_path,
            env={**os.environ, **holding.ENVIRON},
            log=tmp_path / "log",
            telemetry=telemetry,
        )
    )
    try:
        connection = http.client.HTTPConnection(*server.wait_ready(120))
        (pid,) = server.worker_pids()
        snapshots = holding.Snapshots()
        times, requests = [0.0], [0.0]
        for part in holding.MOMENTS:
            for _ in range(60):
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"ok"
            snapshots([pid], telemetry, part - 0.1)
            snapshots([pid], telemetry, part)
            times.append(time.monotonic())
            requests.append(requests[-1] + 60)
        connection.close()
        assert server.worker_pids() == (pid,)
    finally:
        server.stop(10)
    assert len(snapshots.held.times) == 3
    # The snapshots were taken with these requests done, and none in hand.
    at = np.array([0.0, *snapshots.held.times])
    found = allocation_sites.find_holders(
        snapshots.held, [MemorySeries(pid, at, np.array(requests), at)]
    )
    (line,) = found.lines
    assert line.place == "keeper.py:7"
    assert "json" in line.via
    each = sys.getsizeof("x" * 2000) + sys.getsizeof(["x"])
    assert line.bytes_per_request == pytest.approx(each, rel=0.1)
    assert line.share > 0.9
