"""The steps of a run for its reverse proxy: learn the cost, check what it gives, configure it.

Pure but for ``run_checks``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.reverse_proxy import checks, cost
from pretune.advisor.reverse_proxy.values import Fronted
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Workload
from pretune.server.adapters.launch import BootFailed
from pretune.server.adapters.nginx import FrontFailed
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings


def learn_cost(front: Fronted, measured: Measurement, direct: Measurement) -> tuple[Fronted, str]:
    """With what the trial through it cost, beside the same without it; a note, or ""."""
    front = replace(front, cost=cost.cost_of(measured, direct))
    if front.cost is not None:
        return front, ""
    return front, (
        f"the trial through {front.name} was too short to measure its cost: the prediction "
        "assumes none"
    )


def configure_for_trial(
    front: Fronted | None,
    facts: Facts,
    workload: Workload,
    settings: Settings,
    rps: float,
    cores: float,
) -> Front | None:
    """The configuration in a trial at about ``rps`` on ``cores``; None where there is no proxy."""
    scheme = cost.says_scheme(workload.headers)
    return _configure(front, facts, settings, rps, cores, told_scheme=scheme)


def configure_for_deployment(
    front: Fronted, facts: Facts, settings: Settings, rps: float
) -> Fronted:
    """With the configuration to deploy beside recommended settings that carry so much."""
    made = _configure(front, facts, settings, rps, facts.budget.cores, told_scheme=False)
    return replace(front, config=made)


def _configure(
    front: Fronted | None,
    facts: Facts,
    settings: Settings,
    rps: float,
    cores: float,
    *,
    told_scheme: bool,
) -> Front | None:
    if facts.front is None or front is None:
        return None
    count = 1 if front.cost is None else cost.count_processes(rps, front.cost.cpu_s.value, cores)
    made = cost.configure_proxy(
        facts.front, facts.servers.verified, settings, count=count, told_scheme=told_scheme
    )
    return made if front.keeps else replace(made, idle=0)


def run_checks(
    front: Fronted,
    preflight: Preflight,
    settings: Settings,
    rps: float,
    workspace: Workspace,
    update: Callable[[str], None],
) -> tuple[Fronted, str]:
    """With what standing behind it gives to recommended settings that carry so much; that decides
    whether connections to the server are kept. And a note, or ""."""
    try:
        results = checks.run_checks(preflight, workspace, settings, update)
    except (BootFailed, FrontFailed, TimeoutError) as error:
        return front, f"what {front.name} gives was not compared: {error}"
    front = replace(front, checks=results, keeps=not checks.keeping_costs(results))
    front = configure_for_deployment(front, preflight, settings, rps)
    if front.keeps:
        return front, ""
    return front, (
        f"{front.name} keeps no connections to the server, because requests over kept ones "
        "certainly took longer"
    )
