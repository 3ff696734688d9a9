"""Applications whose CPU needs the interpreter's lock wholly, half, or hardly, on two cores.

The tolerance is the interval that the tool claims. How far it reaches down depends on the machine:
where others take the cores nothing shows that the lock is what holds the threads, and it says so.
"""

import os

import pytest

from bench.measurement import truth
from bench.measurement.stage import Stage, start_services
from pretune.advisor.demand import estimate
from pretune.advisor.workspace.cores import CorePlan
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one core shows nothing of the lock"
)


@pytest.fixture(scope="module")
def services():
    with start_services() as services:
        yield services


@pytest.mark.parametrize("kind", ["burn", "free", "half"])
def test_the_part_of_the_cpu_that_needs_the_lock_lies_in_the_interval(services, kind):
    both = frozenset(sorted(os.sched_getaffinity(0))[:2])
    with Stage("known_wsgi.py", (kind,), services, cores=CorePlan(both, both)) as stage:
        alone = stage.run(Settings(workers=1, threads=1), Load(1, 2.0), probes=True).measured
        several = stage.run(Settings(workers=1, threads=4), Load(8, 3.0)).measured
        said = estimate.assemble(stage.workload, alone, several).cpu_gil_fraction
    true = truth.gil_fraction(kind, several)
    assert said.low <= true <= said.high, (kind, true, said)
    # a busy machine hides the lock's hold; it never makes one up
    if several.disturbed:
        assert said.low == 0.0
    elif kind == "burn":
        assert said.low > 0.7
