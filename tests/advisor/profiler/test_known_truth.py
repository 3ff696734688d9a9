"""The whole way, from a served app whose costs are known to the Measurement that tells them."""

import http.client
import os
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pretune.advisor.profiler.database import DatabaseObserver
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.profiler.reduce import measure
from pretune.advisor.profiler.sampler import Profiler
from pretune.advisor.resources.trial_cgroup import TrialCgroup
from pretune.loadtests import records
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings

REPOSITORY = Path(__file__).parents[3]
MIB = 1 << 20

APP = """
    import os, time
    import psycopg

    connection = None
    held = [bytearray(os.urandom(1 << 20) * 30)]

    def application(environ, start_response):
        global connection
        path = environ["PATH_INFO"]
        if path == "/db":
            if connection is None:
                connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
            for _ in range(2):  # from a table: else Postgres does not count the time
                connection.execute("select pg_sleep(0.01) from pg_class limit 1")
        elif path == "/burn":
            end = time.thread_time() + 0.01
            while time.thread_time() < end:
                pass
        elif path == "/leak":
            held.append(bytearray(os.urandom(64 << 10)))
        start_response("200 OK", [("Content-Length", "2"), ("Content-Type", "text/plain")])
        return [b"ok"]
"""


def drive(address, path, users, seconds, least=30):
    """A closed load on one path, until the time is over and each user has asked ``least`` times
    (a machine that is short of CPU takes longer); the client's records.
    """
    rows = []
    until = time.monotonic() + seconds

    def user(number):
        connection = http.client.HTTPConnection(*address)
        done = 0
        while (start := time.monotonic()) < until or done < least:
            done += 1
            connection.request("GET", path, headers={"x-pretune-endpoint": "1"})
            response = connection.getresponse()
            size = len(response.read())
            rows.append((start, time.monotonic() - start, size, 1, number, response.status, 0, 0))
        connection.close()

    threads = [threading.Thread(target=user, args=(number,)) for number in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(rows, records.dtype())


@pytest.fixture(scope="module")
def trial(url, tmp_path_factory):
    """Runs the app under load on one path; gives Samples and Measurement."""
    directory = tmp_path_factory.mktemp("app")
    (directory / "known.py").write_text(textwrap.dedent(APP))

    def run(path, *, seconds=2.5, workers=1):
        telemetry = directory / f"telemetry{path.replace('/', '-')}"
        telemetry.mkdir()
        group = TrialCgroup.create(f"pretune-truth-{os.getpid()}")
        server = embedded.start(
            Launch(
                target="known.py",
                settings=Settings(workers=workers, threads=1),
                python=Path(sys.executable),
                chdir=directory,
                env={**os.environ, "DATABASE_URL": url},
                log=directory / "log",
                telemetry=telemetry,
                probes=True,
                on_spawn=group.add if group else lambda pid: None,
            )
        )
        try:
            address = server.wait_ready(120)
            profiler = Profiler(
                server.master_pid,
                worker_pids=server.worker_pids,
                telemetry=telemetry,
                database=DatabaseObserver(url),
                cgroup=group,
            )
            profiler.start()
            started = time.monotonic()
            client = drive(address, path, workers, seconds)
            lasted = time.monotonic() - started
            samples = profiler.stop()
        finally:
            server.stop(10)
            removed = group.remove() if group else True
        assert removed
        load = Load(users=workers, duration_s=lasted)
        workload = Workload((Endpoint(path, (path,), 1.0),))
        conditions = Conditions(1, 1, False, True)
        return samples, measure(
            "demand",
            Settings(workers=workers),
            load,
            conditions,
            workload,
            samples,
            client,
            server.events(),
        )

    return run


def test_two_sleeps_in_the_database_are_twenty_ms_and_two_calls(trial):
    samples, measurement = trial("/db", seconds=4.0)
    records_ = measurement.telemetry[1:]  # the first may connect
    assert len(records_) >= 20
    assert set(records_["db_calls"].tolist()) == {2}
    # A thread put aside just after it asked waits less than Postgres takes.
    assert np.median(records_["db"]) >= 0.020 * 0.98
    assert (records_["db"] + records_["runq"] >= 0.020 * 0.98).all()
    assert (records_["db"] <= records_["wall"]).all()
    assert (records_["endpoint"] == 1).all()
    assert measurement.latency.mean.value >= 0.020
    assert measurement.pg_connections_peak == 1
    assert measurement.workers[0].pg_connections == 1
    assert samples.postgres_local
    assert measurement.db_cpu_s_per_request is not None
    # Sleeping is being in a query for the server, too, which tells it once a second.
    both = measurement.database_time
    assert both.server_active_s.value == pytest.approx(0.020, rel=0.5)
    assert both.client_wait_s.value >= 0.020 * 0.9
    assert both.pooled_peak == 0
    # Sleeping costs Postgres next to nothing beside the time it takes.
    assert 0 <= measurement.db_cpu_s_per_request.value < 0.010


def test_burnt_cpu_is_told_by_telemetry_and_by_the_process(trial):
    samples, measurement = trial("/burn")
    assert (measurement.telemetry["cpu"] >= 0.010).all()
    assert measurement.cpu_s_per_request.high >= 0.010
    assert measurement.cpu_s_per_request.value >= 0.010 * 0.95  # a window's ends cut requests
    assert measurement.telemetry["db"].sum() == 0
    # What the process used is at least what its requests say they used.
    whole = samples.telemetry["cpu"].sum()
    rows = samples.processes[samples.processes["pid"] == measurement.workers[0].pid]
    assert rows["cpu_s"][-1] - rows["cpu_s"][0] >= whole * 0.98


def test_memory_kept_by_each_request_is_the_slope_against_requests(trial):
    samples, measurement = trial("/leak", seconds=1.5)
    worker = measurement.workers[0]
    assert worker.pss_bytes >= 30 * MIB
    assert measurement.pss_bytes.value >= worker.pss_bytes
    assert measurement.rss_bytes >= measurement.pss_bytes.value * 0.98
    (series,) = measurement.memory_series
    grown = series.private_bytes[-1] - series.private_bytes[0]
    served = series.requests[-1] - series.requests[0]
    assert served == len(samples.telemetry)
    # 64 KiB and its header for each request; the allocator rounds to pages.
    assert (64 << 10) * 0.97 <= grown / served <= (64 << 10) * 1.25


def test_every_request_of_every_worker_is_in_the_telemetry(trial):
    samples, measurement = trial("/", seconds=1.0, workers=2)
    pids = {worker.pid for worker in measurement.workers}
    assert len(pids) == 2
    assert set(np.unique(samples.telemetry["pid"]).tolist()) <= pids
    assert samples.telemetry_lost == 0
    assert measurement.error_rate == 0
    assert all(worker.boot_s > 0 for worker in measurement.workers)
    assert all(worker.fds > 0 for worker in measurement.workers)
    assert len(samples.telemetry) >= measurement.requests
