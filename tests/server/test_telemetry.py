"""Records of requests, and whether they add up to what the processes spent."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.rings import records

from pretune.server.telemetry import (
    CAPACITY,
    FORGOTTEN,
    HEADER_SIZE,
    READER,
    RECORD,
    Ring,
    run_queue_clock,
)


def write(ring: Ring, start: float) -> None:
    ring.write(start, 0.0, 0.0, 0.0, 0.0, math.nan, math.nan, 0, 0, 0, 0, 0, 0, 200, 1)


def test_the_ring_overwrites_its_oldest(tmp_path):
    ring = Ring(str(tmp_path), 7)
    for n in range(CAPACITY + 5):
        write(ring, float(n))
    found = records(tmp_path)
    assert len(found) == CAPACITY
    assert found[0]["seq"] == 6
    assert found[-1]["seq"] == CAPACITY + 5
    assert all(record["start"] == record["seq"] - 1 for record in found)


def test_the_whole_ring_is_resident_before_the_first_request(tmp_path):
    ring = Ring(str(tmp_path), 7)
    lines = Path("/proc/self/smaps").read_text().splitlines()
    mapping = next(i for i, line in enumerate(lines) if line.endswith(ring.path))
    resident = next(line for line in lines[mapping:] if line.startswith("Rss:"))
    assert int(resident.split()[1]) * 1024 >= HEADER_SIZE + CAPACITY * RECORD.size


def test_threads_write_side_by_side(tmp_path):
    ring = Ring(str(tmp_path), 7)
    threads = [
        threading.Thread(target=lambda: [write(ring, 1.0) for _ in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record["seq"] for record in records(tmp_path)] == list(range(1, 4001))


def test_a_request_is_recorded(serve, tmp_path):
    served = serve(telemetry=tmp_path, probes=True, threads=2)
    served.get("/burn/0.05", X_Pretune_Endpoint="3")
    served.get("/sleep/0.1", X_Pretune_Endpoint="4")
    served.get("/broken", X_Pretune_Endpoint="hostile")
    served.wait_for(lambda: len(records(tmp_path)) == 3)
    burn, sleep, broken = records(tmp_path)
    assert [r["endpoint"] for r in (burn, sleep, broken)] == [3, 4, 0]
    assert [r["status"] for r in (burn, sleep, broken)] == [200, 200, 500]
    assert burn["cpu"] >= 0.05
    assert burn["wall"] >= 0.05
    assert sleep["cpu"] < 0.05 < 0.1 <= sleep["wall"]
    assert burn["bytes"] > len("burnt")
    assert burn["inflight"] == 1
    assert not math.isnan(burn["runq"])


@pytest.mark.parametrize(
    ("target", "settings"), [("plain", {}), ("asynchronous", {"worker_class": "asgi"})]
)
def test_what_was_neither_wait_nor_the_apps_is_told_apart(serve, tmp_path, target, settings):
    """Others want the core: a request that sleeps 0.1 s has waited so long, whatever it cost to
    read it and to get on the core again."""
    served = serve(target, telemetry=tmp_path, probes=True, **settings)
    core = min(os.sched_getaffinity(0))
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        for hog in hogs:
            os.sched_setaffinity(hog.pid, {core})
        for pid in served.running.worker_pids():
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), {core})
        for _ in range(5):
            served.get("/sleep/0.1")
        served.wait_for(lambda: len(records(tmp_path)) == 5)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    for record in records(tmp_path):
        assert record["runq"] >= 0
        assert 0 < record["head"] < record["cpu"]
    # one may be put off the core just while the clocks are read
    waited = sorted(r["wall"] - (r["cpu"] - r["head"]) - r["runq"] for r in records(tmp_path))
    assert 0.098 <= waited[2] <= 0.104


def test_no_file_without_telemetry(serve, tmp_path):
    served = serve(telemetry=None)
    served.text("/hello")
    assert list(tmp_path.glob("**/*.ring")) == []


def concurrently(served, path: str, users: int, each: int) -> None:
    threads = [
        threading.Thread(target=lambda: [served.text(path) for _ in range(each)])
        for _ in range(users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("plain", {"worker_class": "gthread", "threads": 4}),
        ("plain", {"worker_class": "sync"}),
        ("asynchronous", {"worker_class": "asgi"}),
    ],
    ids=["gthread", "sync", "asgi"],
)
def test_the_records_add_up_to_the_cpu_of_the_process(serve, tmp_path, target, settings):
    served = serve(target, telemetry=tmp_path, **settings)
    served.text("/burn/0.001")
    served.wait_for(lambda: len(records(tmp_path)) == 1)
    process = psutil.Process(served.running.worker_pids()[0])

    def spent() -> float:
        times = process.cpu_times()
        return times.user + times.system

    before = spent()
    concurrently(served, "/burn/0.02", users=8, each=5)
    served.wait_for(lambda: len(records(tmp_path)) == 41)
    after = spent()
    recorded = records(tmp_path)[1:]
    total = sum(record["cpu"] for record in recorded)
    # Each burns 20 ms. What the event loop does between steps belongs to no request.
    assert all(record["cpu"] > 0.019 for record in recorded)
    # half of it in two kinds of executor, where there is a loop to hand it there
    pooled = [record["pool"] for record in recorded]
    if target == "asynchronous":
        assert all(0.0095 < spent < 0.015 for spent in pooled)
    else:
        assert not any(pooled)
    assert 0.75 * (after - before) < total < 1.05 * (after - before) + 0.05


def test_concurrency_is_seen(serve, tmp_path):
    for target, settings in (
        ("plain", {"threads": 4}),
        ("asynchronous", {"worker_class": "asgi"}),
    ):
        directory = tmp_path / target
        directory.mkdir()
        served = serve(target, telemetry=directory, **settings)
        concurrently(served, "/sleep/0.3", users=4, each=1)
        served.wait_for(lambda d=directory: len(records(d)) == 4)
        assert max(record["inflight"] for record in records(directory)) > 1
        assert all(record["cpu"] < 0.2 for record in records(directory))


def test_sessions_carry_the_workers_name(serve, tmp_path):
    served = serve("plain", telemetry=tmp_path, chdir=Path(__file__).parent / "apps")
    assert served.text("/environment/PGAPPNAME") == f"pretune-{served.running.worker_pids()[0]}"


def test_the_ring_rests_while_nobody_reads(tmp_path):
    ring = Ring(str(tmp_path), 7)
    ring.check(1000.0)
    assert ring.on  # there may be a reader soon
    with (tmp_path / "7.ring").open("r+b") as file:
        file.seek(READER)
        file.write(struct.pack("<d", 1000.0))
        file.flush()
        for now, on in ((1001.0, True), (1000.0 + FORGOTTEN + 1, False)):
            ring.check(now)
            assert ring.on == on
        file.seek(READER)
        file.write(struct.pack("<d", 1020.0))
        file.flush()
    ring.check(1021.0)
    assert ring.on


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_worker_stops_and_starts_recording_with_its_reader(serve, tmp_path, worker_class):
    served = serve("plain", telemetry=tmp_path, worker_class=worker_class)
    served.text("/hello")
    served.wait_for(lambda: len(records(tmp_path)) == 1)
    (path,) = tmp_path.glob("*.ring")

    def looked(at: float) -> None:
        with path.open("r+b") as file:
            file.seek(READER)
            file.write(struct.pack("<d", at))

    def count() -> int:
        served.text("/hello")
        return len(records(tmp_path))

    looked(0.001)  # long ago
    served.wait_for(lambda: count() == count())
    looked(time.monotonic() + 1000)
    served.wait_for(lambda: count() < count())
    assert all(record["cpu"] < 1 for record in records(tmp_path))


def test_the_wait_for_a_thread_is_seen(serve, tmp_path):
    served = serve("plain", telemetry=tmp_path, threads=1, worker_class="gthread")
    with served.connect() as first, served.connect() as second:
        for sock in (first, second):
            sock.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(1000).endswith(b"hello")
        first.sendall(b"GET /sleep/0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        second.sendall(b"GET /sleep/0 HTTP/1.1\r\nHost: x\r\n\r\n")
        for sock in (first, second):
            assert sock.recv(1000).endswith(b"slept")
    served.wait_for(lambda: len(records(tmp_path)) == 4)
    found = sorted(records(tmp_path), key=lambda r: r["start"])
    assert all(record["queue"] >= 0 for record in found)
    # Whichever was taken first, what the other waited is known to a jiffy or so.
    slow, last = found[2:]
    if slow["wall"] > 0.4:
        assert abs(slow["queue"] + slow["wall"] - last["queue"]) < 0.3


def test_the_clock_of_the_run_queue_goes_with_its_thread() -> None:
    before = len(os.listdir("/proc/self/fd"))
    read: list[float] = []
    for _ in range(5):
        thread = threading.Thread(target=lambda: read.append(run_queue_clock()()))
        thread.start()
        thread.join()
    assert len(read) == 5
    assert len(os.listdir("/proc/self/fd")) == before
