"""``python -m bench.chaos``: what it excuses, what it calls growth, and a short run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.chaos.__main__ import Outcome, judge
from bench.chaos.core_waits import CoreWaits
from bench.chaos.health import Health, slope
from bench.chaos.orders import Exit, Order, Ordered, Stop
from bench.chaos.truce import Truce
from bench.clients import Failure, Kill
from pretune.server.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]


def failure(kind: str, sent: float, seen: float, served: int = 0, pid: int = 0) -> Failure:
    return Failure(kind, sent, seen, pid, served, True)


def test_what_is_lost_has_no_excuse():
    ordered = Ordered(down=[(10.0, 12.0)])
    subject = SimpleNamespace(
        kills=[Kill(7, 20.0, 20.0)], launch=SimpleNamespace(settings=Settings(worker_class="asgi"))
    )
    ordered.exits.append(Exit(told=30.0, gone=33.5))
    lost = [
        failure("refused", 5, 5),  # nobody was told to be down
        failure("cut", 11, 11, pid=1),  # what has begun is answered, also at TERM
        failure("closed", 11, 11),  # not a connection that was kept
        failure("status", 19.9, 20.1, pid=7),  # a killed worker sends no status
        failure("cut", 29, 32.9),  # its worker still had time for it
        failure("cut", 30.1, 33.2),  # it came when the worker had already been told
        failure("cut", 25, 37),  # the worker was gone long before
    ]
    excused = [
        failure("refused", 11, 11),
        failure("connect", 9, 13),
        failure("reset", 10, 10, served=3, pid=1),
        failure("cut", 19, 21, pid=7),
        failure("closed", 19.9, 20.1),
        failure("cut", 25, 33.1),
        failure("status", 29.9, 34),
    ]
    why, rest = judge([*lost, *excused], subject, ordered)
    assert rest == lost
    assert why == {
        "killed worker's own": 2,
        "server down": 2,
        "closed as idle at TERM": 1,
        "longer than graceful_timeout": 2,
    }


def test_a_loss_is_told_with_what_was_ordered_meanwhile():
    ordered = Ordered(orders=[Order("HUP", 1.0, 1.1), Order("USR2", 8.0, 9.0)])
    assert ordered.meanwhile(8.5, 8.8, after=5.0) == ["USR2 0.5 s before"]
    assert ordered.meanwhile(3.0, 3.5, after=5.0) == ["HUP 2.0 s before"]


def test_a_late_stop_is_told_from_a_machine_that_lets_nobody_run():
    one = Outcome("sync", bound_s=7.0)
    one.stops = [Stop(6.9, 0.0, 0.0), Stop(8.0, 0.9, 0.5), Stop(8.0, 1.1, 0.0)]
    assert (len(one.late), one.owed, one.holds) == (2, 1, False)


def test_who_has_no_core_waits_for_it():
    """Two that never rest share one core; a third sleeps."""
    core = min(os.sched_getaffinity(0))
    spin = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
    commands = (spin, spin, [sys.executable, "-c", "import time; time.sleep(60)"])
    started = [subprocess.Popen(command) for command in commands]
    try:
        busy, idle = CoreWaits(), CoreWaits()
        began = time.monotonic()
        while (now := time.monotonic()) < began + 3:
            busy.look([each.pid for each in started[:2]], now)
            idle.look([started[2].pid], now)
            time.sleep(0.05)
    finally:
        for each in started:
            each.kill()
            each.wait()
    assert busy.longest > 0.5
    assert idle.longest < busy.longest / 2


def test_growth_is_told_from_noise_and_from_warming_up():
    noise = random.Random(1)

    def grows(hourly: float) -> bool:
        health = Health()
        for n in range(60):
            warm = min(n, 15) * 10.0
            value = 20 + warm + hourly * n / 60 + noise.uniform(-1, 1)
            health.series["descriptors"][1].append((n * 60.0, value))
        return health.grows("descriptors")

    assert not grows(0)
    assert grows(20)
    assert slope([(0.0, 1.0)] * 5) is None


def test_a_truce_begins_when_everybody_has_finished():
    truce, acted = Truce(), []

    def act() -> None:
        with truce.acting() as may:
            acted.append(may)
            truce.peace.wait(5)
            acted.append("done")

    thread = threading.Thread(target=act)
    thread.start()
    while not acted:
        time.sleep(0.01)
    truce.begin()
    assert acted == [True, "done"]
    with truce.acting() as may:
        assert not may
    truce.end()
    thread.join()
    with truce.acting() as may:
        assert may


@pytest.mark.parametrize("worker_class", ["gevent"])
def test_a_short_run_loses_and_leaks_nothing(worker_class, tmp_path):
    figures = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "bench.chaos", "--minutes", "0.3", "--foes", "2"]
    command += ["--worker-class", worker_class, "--out", str(tmp_path), "--json", str(figures)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    (one,) = json.loads(figures.read_text())["outcomes"]
    assert one["trouble"] == [], done.stderr
    assert one["lost"] == []
    assert one["answers"] > 0
    assert one["censuses"] > 0
    assert sum(one["orders"].values()) > 0
    assert sum(one["stunts"].values()) > 0
    assert (one["leaked_calls"], one["left_connections"], one["held_bytes"]) == (0, 0, 0)
    assert (len(one["stops"]) > 0, one["left_processes"]) == (True, 0)
