"""An open load keeps its intended starts, and counts from them."""

from __future__ import annotations

import os
import resource
import signal
import time
from itertools import islice

import numpy as np

from pretune.loadtests import records
from pretune.loadtests.moments import draw_times
from pretune.loadtests.session import Driver
from pretune.loadtests.workload import Endpoint, Load, Workload


def begin(driver, server, file, *paths: str, rps: float, seconds: float):
    endpoints = tuple(Endpoint(path, (path,), 1 / len(paths)) for path in paths)
    load = Load(0, seconds, seed=5, rps=rps)
    return driver.run(server.address, Workload(endpoints), load, file)


def open_load(driver, server, tmp_path, *paths: str, rps: float, seconds: float = 1.0):
    file = tmp_path / f"{time.monotonic()}.records"
    run = begin(driver, server, file, *paths, rps=rps, seconds=seconds)
    result = run.wait(seconds + 15)
    found = records.read(file)
    return result, np.sort(found, order="user")


def test_arrivals_come_at_the_rate_each_on_a_connection_of_its_own(driver, server, tmp_path):
    result, sent = open_load(driver, server, tmp_path, "/a", "/b", rps=200)
    seen = server.seen()
    assert len(sent) == result.requests == len(seen) == result.connections
    assert result.errors == 0
    # Poisson: five standard deviations
    assert abs(len(sent) - 200) < 5 * 200**0.5
    gaps = np.diff(sent["start"])
    assert 0.5 < gaps.std() / gaps.mean() < 1.5
    assert len({item["connection"] for item in seen}) == len(seen)
    assert {item["headers"]["connection"] for item in seen} == {"close"}
    assert set(sent["endpoint"]) == {1, 2}


def test_a_stalled_server_neither_delays_an_arrival_nor_hides_the_wait(driver, server, tmp_path):
    file = tmp_path / "stalled.records"
    run = begin(driver, server, file, "/", rps=100, seconds=2.0)
    started = run.wait_started(10)
    time.sleep(0.4)
    os.kill(server.process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(1.0)
    resumed = time.monotonic()
    os.kill(server.process.pid, signal.SIGCONT)
    result = run.wait(15)
    sent = np.sort(records.read(file), order="user")
    # the arrivals that were drawn beforehand, to the microsecond
    times = np.array(list(islice(draw_times(0.0, 100, 5), len(sent))))
    np.testing.assert_allclose(np.diff(sent["start"]), np.diff(times), atol=1e-6)
    assert 0 <= sent["start"][0] - times[0] - started < 1.0
    # all who came during the stall waited for its end: as many as came
    during = (sent["start"] > stopped) & (sent["start"] < resumed)
    assert abs(np.count_nonzero(during) - 100 * (resumed - stopped)) < 30
    ends = sent["start"] + sent["wall"]
    assert np.all(ends[during & (sent["start"] > stopped + 0.05)] >= resumed)
    assert result.most_waiting > 50
    assert result.errors == 0


def test_arrivals_share_connections_that_the_workload_keeps(driver, server, tmp_path):
    what = Workload((Endpoint("/", ("/sleep/0.01",), 1.0),), kept=True)
    file = tmp_path / "kept.records"
    result = driver.run(server.address, what, Load(0, 1.0, seed=5, rps=100.0), file).wait(15)
    assert result.errors == 0
    assert result.requests > 50
    # one for each of those that wait at once, and no more
    assert result.connections == result.most_waiting < result.requests / 3
    assert "connection" not in server.seen()[0]["headers"]


def test_what_there_is_no_room_for_is_an_error_that_is_reported(server, tmp_path):
    with Driver.start() as narrow:
        resource.prlimit(narrow.pid, resource.RLIMIT_NOFILE, (100, 100))
        result, sent = open_load(narrow, server, tmp_path, "/sleep/2", rps=300, seconds=0.5)
    assert result.most_waiting == 36
    assert result.not_sent > 0
    assert result.errors_by_kind == {"not sent": result.not_sent}
    assert np.count_nonzero(sent["status"] == 200) == 36


def test_what_is_unanswered_at_the_end_is_an_error_too(driver, server, tmp_path):
    result, sent = open_load(driver, server, tmp_path, "/sleep/30", rps=50, seconds=0.3)
    assert result.abandoned == result.requests == len(sent) > 0
    assert set(result.errors_by_kind) == {"timeout"}
    assert sent["wall"].min() > 4.0


def test_users_of_a_ramp_begin_at_different_moments(driver, server, tmp_path):
    load = Load(20, 1.0, ramp_s=0.5)
    file = tmp_path / "ramp.records"
    run = driver.run(server.address, Workload((Endpoint("/", ("/",), 1.0),)), load, file)
    run.wait(15)
    sent = records.read(file)
    first = np.array([sent["start"][sent["user"] == u].min() for u in range(20)])
    assert first.max() - first.min() > 0.2
