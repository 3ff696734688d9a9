"""What another allocator saves: compared at as many requests, called only beyond noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pretune.advisor.demand import allocators
from pretune.advisor.demand.allocators import Alternative, best, compare
from pretune.advisor.profiler.measurement import (
    Conditions,
    Latency,
    Measurement,
    MemorySeries,
    Role,
)
from pretune.advisor.profiler.telemetry import RECORD
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.run import Run
from pretune.advisor.trials.follow_up import FollowUp, plan_follow_ups
from pretune.advisor.verdict import Verdict
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

MIB = 1 << 20
ARENAS = Alternative("MALLOC_ARENA_MAX=2", {"MALLOC_ARENA_MAX": "2"})


TRIAL = Measurement(
    name="contrast", role=Role.CONTRAST, settings=Settings(1, 4), load=Load(8, 10.0),
    conditions=Conditions(1.0, 1.0, True, True), steady=True, steady_note="", window_s=10.0,
    requests=1000, throughput_rps=UNKNOWN, latency=Latency(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    error_rate=0.0, errors=(), by_endpoint=(), pss_bytes=UNKNOWN, rss_bytes=0.0,
    master_pss_bytes=0.0, kernel_bytes=0.0, workers=(), memory_series=(),
    pg_connections_peak=None, pg_idle_in_transaction_peak=None, db_cpu_s_per_request=None,
    cpu_s_per_request=UNKNOWN, telemetry=np.zeros(0, RECORD), telemetry_lost=0, generator_cpu=0.2,
    generator_saturated=False, disturbed="",
)  # fmt: skip


def trial(
    size: float, *, requests: float = 4000, slope: float = 0.0, cpu: float = 1e-3
) -> Measurement:
    x = np.linspace(1, requests, 100)
    noise = np.random.default_rng(3).normal(0, 20_000, 100)
    one = MemorySeries(1, x / 100, x, x, anon_bytes=size + slope * x + noise)
    per_request = Interval(cpu, cpu * 0.99, cpu * 1.01)
    return replace(TRIAL, memory_series=(one,), cpu_s_per_request=per_request)


def test_the_saving_has_the_scatter_of_trials_as_its_error():
    found = compare(ARENAS, trial(80 * MIB), trial(60 * MIB, cpu=1.05e-3))
    assert found.saving_bytes.value == pytest.approx(20 * MIB, rel=0.01)
    assert found.saving_bytes.low == pytest.approx(18 * MIB, rel=0.03)
    assert found.cpu_change.value == pytest.approx(0.05, abs=0.001)
    assert found.cpu_change.contains(0.04)
    assert found.pays


@pytest.mark.parametrize("after", [80, 79, 90])
def test_what_is_within_noise_does_not_pay(after):
    assert not compare(ARENAS, trial(80 * MIB), trial(after * MIB)).pays


def test_memory_that_grows_is_compared_at_as_many_requests():
    short = trial(40 * MIB, requests=1000, slope=10_000)
    long = trial(40 * MIB, requests=4000, slope=10_000)
    found = compare(ARENAS, long, short)
    assert abs(found.saving_bytes.value) < MIB


def test_without_memory_nothing_is_said():
    assert compare(ARENAS, trial(MIB), replace(trial(MIB), memory_series=())) is None


def test_the_best_is_the_one_that_saves_most_and_pays():
    savings = [compare(ARENAS, trial(80 * MIB), trial(after * MIB)) for after in (70, 60, 79)]
    assert best(savings) is savings[1]
    assert best(savings[2:]) is None


@pytest.mark.parametrize(
    ("environ", "libraries", "names"),
    [
        ({}, [], ["MALLOC_ARENA_MAX=2"]),
        ({}, ["/usr/lib/libjemalloc.so.2"], ["MALLOC_ARENA_MAX=2", "jemalloc"]),
        ({"MALLOC_ARENA_MAX": "4"}, [], []),
        ({"LD_PRELOAD": "/x/libtcmalloc.so"}, ["/usr/lib/libjemalloc.so.2"], []),
    ],
)
def test_only_what_is_installed_and_not_chosen_already_is_tried(environ, libraries, names):
    found = allocators.alternatives(environ, [Path(p) for p in libraries])
    assert [a.name for a in found] == names


def follow_ups(leak_class: str, contrast: Measurement | None) -> list[FollowUp]:
    slope = Interval.exact(100.0)
    worker: Any = SimpleNamespace(leak_class=leak_class, leak_slope_bytes_per_request=slope)
    return plan_follow_ups(worker, contrast, {}, [])


@pytest.mark.parametrize(
    ("leak_class", "threads", "names"),
    [
        ("leak", 4, ["holders", "allocator"]),
        ("leak", 1, ["holders"]),
        ("still_warming", 4, ["allocator"]),
        ("none", 1, []),
    ],
)
def test_a_leak_is_looked_into_first_and_allocators_only_with_threads(leak_class, threads, names):
    planned = follow_ups(leak_class, replace(TRIAL, settings=Settings(1, threads)))
    assert [each.trial.name for each in planned] == names
    assert all(each.trial.settings.threads == threads for each in planned)
    assert follow_ups("leak", None) == []


def test_the_run_learns_what_the_trial_told():
    (planned,) = follow_ups("none", trial(80 * MIB))
    before = Run("app", 1, Verdict.FITS)
    after = before.with_learned(planned.learn(trial(60 * MIB)))
    assert [s.name for s in after.allocators] == ["MALLOC_ARENA_MAX=2"]
    assert after.with_learned(None) == after
    assert planned.environ == {"MALLOC_ARENA_MAX": "2"}
