"""What a trial decides by itself; whole trials are in tests/end_to_end."""

import resource
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pretune.advisor.failure import LoadFailed
from pretune.advisor.resources.cgroups import available_ram
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION, bound_memory
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.routing import name_endpoints, think_time
from pretune.loadtests import records
from pretune.loadtests.session import LoadResult
from pretune.loadtests.user_errors import UserError
from pretune.loadtests.workload import Workload


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


def test_a_locustfile_s_endpoints_are_known_once_it_has_run() -> None:
    sent = np.array([1, 2, 2, 2], np.uint32)
    endpoints = name_endpoints(Workload(()), ("/login", "GET /"), sent).endpoints
    assert [(e.name, e.share) for e in endpoints] == [("/login", 0.25), ("GET /", 0.75)]


def test_think_time_is_what_a_user_lets_pass_between_requests() -> None:
    found = np.zeros(4, records.dtype())
    found["user"] = [0, 1, 0, 1]
    found["start"] = [0.0, 0.5, 1.1, 2.0]
    found["wall"] = 0.1
    assert round(think_time(found), 9) == 1.2
    assert think_time(found[:1]) == 0.0


def test_load_code_that_never_comes_to_its_end_ends_the_run_as_its_own_failure() -> None:
    error = UserError("shop.py:7", "KeyError: 'x'", "Traceback ...", raised=40, completed=0)
    bench = SimpleNamespace(problems={})
    with pytest.raises(LoadFailed, match=r"not the app: shop\.py:7 raises KeyError: 'x'") as failed:
        Bench._check_load(bench, result_with(error))
    assert (failed.value.kind, failed.value.traceback) == ("load_code", "Traceback ...")
    Bench._check_load(bench, result_with(replace(error, completed=60)))
    assert bench.problems["load"].startswith("40 of 100 tasks of the locustfile did not come")


def result_with(error: UserError) -> LoadResult:
    return LoadResult(9, 0, {}, 0.0, 0.0, 1.0, 1.0, 0.1, 0.0, 1, 0, 0, user_error=error)
