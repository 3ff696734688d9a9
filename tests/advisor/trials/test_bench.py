"""What a trial decides by itself; whole trials are in tests/end_to_end."""

import resource
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pretune.advisor.failure import LoadFailed, MeasurementInvalid
from pretune.advisor.resources.cgroups import available_ram
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION, bound_memory
from pretune.advisor.trials.bench import Bench, describe_silence, fails, memory_limit
from pretune.advisor.trials.routing import describe_other_mix, name_endpoints
from pretune.loadtests.session import Driver, DriverFailed, LoadResult
from pretune.loadtests.user_errors import UserError
from pretune.loadtests.workload import Load, Workload


def test_without_a_control_group_each_worker_gets_its_part_of_free_memory() -> None:
    code = "import sys; sys.stdin.read(1); bytearray(int(sys.argv[1]))"
    too_much = int(available_ram() * MEMORY_FRACTION)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(too_much)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    bound_memory(process.pid, workers=4)
    soft, _ = resource.prlimit(process.pid, resource.RLIMIT_DATA)
    assert 0 < soft < too_much
    _, error = process.communicate(b"x", timeout=30)
    assert b"MemoryError" in error


@pytest.mark.parametrize(
    ("free", "ram", "limit"),
    [(100, 1, 4), (100, 0.01, 2), (3, 1, 2.4)],  # GiB
)
def test_a_trial_may_use_what_shows_that_an_app_does_not_fit_and_leaves_the_machine_its_own(
    free: float, ram: float, limit: float
) -> None:
    assert memory_limit(int(free * 2**30), int(ram * 2**30)) == int(limit * 2**30)


def test_a_load_generator_that_does_not_start_is_no_defect(monkeypatch) -> None:
    def fail(**_: object) -> None:
        raise DriverFailed("it was not ready after 60 s")

    monkeypatch.setattr(Driver, "start", fail)
    core_plan = SimpleNamespace(generator=frozenset({0}))
    known = SimpleNamespace(workload=Workload(()), core_plan=core_plan, time_budget_s=20.0)
    workspace = SimpleNamespace(spawned=None, marked=dict)
    with pytest.raises(MeasurementInvalid, match="did not start: it was not ready after 60 s"):
        Bench(workspace, known, None)


def test_a_locustfile_s_endpoints_are_known_once_it_has_run() -> None:
    sent = np.array([1, 2, 2, 2], np.uint32)
    endpoints = name_endpoints(Workload(()), ("/login", "GET /"), sent).endpoints
    assert [(e.name, e.share) for e in endpoints] == [("/login", 0.25), ("GET /", 0.75)]


def test_shares_stay_those_of_the_first_trial_and_another_mix_is_said() -> None:
    workload = name_endpoints(Workload(()), ("/a", "/b"), np.repeat([1, 2], [900, 100]))
    again = np.repeat([1, 2, 3], [700, 270, 30])
    later = name_endpoints(workload, ("/a", "/b", "/c"), again)
    assert [(e.name, e.share) for e in later.endpoints] == [("/a", 0.9), ("/b", 0.1), ("/c", 0.0)]
    assert "70% of its requests on /a" in describe_other_mix("sync", later, again)
    assert describe_other_mix("sync", workload, np.repeat([1, 2], [895, 105])) == ""
    assert describe_other_mix("sync", workload, np.repeat([1, 2], [7, 3])) == ""  # by chance


@pytest.mark.parametrize(
    ("sent", "failed", "seconds", "ended"),
    [(100, 95, 3.0, True), (100, 95, 1.0, False), (20, 20, 9.0, False), (100, 50, 9.0, False)],
)
def test_a_trial_that_is_clearly_failing_ends_early(sent, failed, seconds, ended) -> None:
    assert fails(sent, failed, seconds) is ended


def test_a_load_that_asks_other_hosts_is_its_own_failure() -> None:
    bench = SimpleNamespace(problems={})
    elsewhere = ("shop.py:7 asks https://else.example, which is not the server under test", 9)
    result = replace(result_with(None), elsewhere=elsewhere)
    with pytest.raises(LoadFailed, match=r"9 of 9 requests were refused: shop\.py:7 asks"):
        Bench._check_load(bench, result)
    Bench._check_load(bench, replace(result, requests=100))
    assert bench.problems["elsewhere"].startswith("9 requests of the load were refused")


def test_load_code_that_never_comes_to_its_end_ends_the_run_as_its_own_failure() -> None:
    said = "shop.py:7 raises KeyError: 'x'"
    error = UserError("shop.py:7", "KeyError: 'x'", "Traceback ...", said, 40, completed=0)
    bench = SimpleNamespace(problems={})
    with pytest.raises(LoadFailed, match=r"not the app: shop\.py:7 raises KeyError: 'x'") as failed:
        Bench._check_load(bench, result_with(error))
    assert (failed.value.kind, failed.value.traceback) == ("load_code", "Traceback ...")
    with pytest.raises(LoadFailed, match="no user of the class Buyer can begin"):
        Bench._check_load(bench, result_with(replace(error, completed=60, unstarted="Buyer")))
    Bench._check_load(bench, result_with(replace(error, completed=60)))
    assert bench.problems["load"].startswith("40 of 100 tasks of the locustfile did not come")


def result_with(error: UserError | None) -> LoadResult:
    return LoadResult(9, 0, {}, 0.0, 0.0, 1.0, 1.0, 0.1, 0.0, 1, 0, 0, user_error=error)


@pytest.mark.parametrize(
    ("users", "requests", "last_s", "abandoned", "silent"),
    [
        (1, 149, 0.4, 1, True),
        (8, 600, 1.0, 8, True),
        (8, 600, 1.0, 7, False),  # one user still got answers
        (1, 40, 2.9, 1, False),  # the request in hand
        (1, 1, 1.0, 1, False),  # as slow as it was before
        (1, 0, None, 1, False),  # another sentence says so
    ],
)
def test_an_app_that_stops_answering_is_told_from_a_slow_one(
    users: int, requests: int, last_s: float | None, abandoned: int, silent: bool
) -> None:
    last = None if last_s is None else 100.0 + last_s
    result = LoadResult(requests, 0, {}, 100.0, 100.0, last, 3.2, 0.1, 0.0, users, 0, abandoned)
    said = describe_silence(Load(users, 3.2), result)
    assert bool(said) == silent
    if silent:
        assert f"{requests} requests in {last_s} s, then none for" in said
    assert describe_silence(Load(users, 3.2, rps=50.0), result) == ""
