"""What a run does about the front, step by step: learn its cost, ask what it gives, tell it.

From a run to a run. Only ``asked`` touches the world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.reverse_proxy import checks as front_checks
from pretune.advisor.reverse_proxy import cost as front
from pretune.advisor.reverse_proxy.checks import SECONDS as ASKING_S
from pretune.advisor.run import Run
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Workload
from pretune.server.adapters.launch import BootFailed
from pretune.server.adapters.nginx import FrontFailed
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings

__all__ = ["ASKING_S", "asked", "learned", "through", "told"]


def learned(run: Run, measured: Measurement, direct: Measurement) -> Run:
    """What the trial through it said."""
    found = run.front
    assert found is not None
    cost = front.cost_of(measured, direct)
    run = replace(run, front=replace(found, cost=cost))
    if cost is not None:
        return run
    return run.with_notes(
        f"the trial through {found.name} was too short to say what that costs: the prediction "
        "takes it to cost nothing"
    )


def through(
    run: Run,
    known: Facts,
    workload: Workload,
    settings: Settings,
    rps: float,
    cores: float,
) -> Front | None:
    """What it is told in a trial at about ``rps`` on ``cores``; None where there is none."""
    scheme = front.says_scheme(workload.headers)
    return _front(run, known, settings, rps, cores, told_scheme=scheme)


def told(run: Run, known: Facts) -> Run:
    """As it is to be deployed with what is recommended."""
    if run.front is None or run.recommendation is None:
        return run
    settings = run.recommendation.settings
    rps = run.recommendation.predicted.throughput_rps.value
    made = _front(run, known, settings, rps, known.budget.cores, told_scheme=False)
    return replace(run, front=replace(run.front, told=made))


def _front(
    run: Run, known: Facts, settings: Settings, rps: float, cores: float, *, told_scheme: bool
) -> Front | None:
    if known.front is None or run.front is None:
        return None
    cost = run.front.cost
    count = 1 if cost is None else front.processes(rps, cost.cpu_s.value, cores)
    made = front.told(
        known.front, known.servers.verified, settings, count=count, told_scheme=told_scheme
    )
    return made if run.front.keeps else replace(made, idle=0)


def asked(run: Run, known: Preflight, workspace: Workspace, update: Callable[[str], None]) -> Run:
    """What standing behind it gives. It decides whether connections to the server are kept."""
    assert known.front is not None
    assert run.front is not None
    assert run.recommendation is not None
    try:
        checks = front_checks.run(known, workspace, run.recommendation.settings, update)
    except (BootFailed, FrontFailed, TimeoutError) as error:
        return run.with_notes(f"what {known.front.name} gives was not compared: {error}")
    run = replace(
        run,
        front=replace(run.front, checks=checks, keeps=not front_checks.keeping_costs(checks)),
    )
    if run.front is not None and not run.front.keeps:
        run = run.with_notes(
            f"{known.front.name} keeps no connections to the server: requests over kept ones "
            "surely took longer"
        )
    return told(run, known)
