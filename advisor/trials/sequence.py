"""The order of a run's trials, as a table: in which role, on which server, planned how, and what
must be true of one before the next is worth running."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler import causes
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.trials import answering, plan
from pretune.advisor.trials.plan import PlannedTrial, Seen, Terms


class Side(Enum):
    """The one of a run's two servers that a trial runs on."""

    MEASURED = "measured"
    VERIFIED = "verified"

    def choose_server(self, servers: Servers) -> str:
        return servers.measured if self is Side.MEASURED else servers.verified


@dataclass(frozen=True)
class Step:
    """One row. ``plan`` gives None where the trial is not run; ``check`` raises AppFailed or
    MeasurementInvalid where the run cannot go on. A trial that ``counts_once`` is not repeated when
    the machine disturbed it: it is short, and its figures are compared with wide margins. What is
    not ``needed`` may be left out where the run has no time for it."""

    role: Role
    side: Side
    plan: Callable[[Terms, Seen], PlannedTrial | None]
    counts_once: bool = False
    needed: bool = False
    check: Callable[[Measurement], None] | None = None


def check_demand(measured: Measurement) -> None:
    """Raise AppFailed or MeasurementInvalid for a demand trial that can carry no advice."""
    if silent := unanswered(measured):
        raise MeasurementInvalid(silent)
    if measured.requests == 0 or measured.error_rate == 1.0:
        shown = "; ".join(f"{what} ({count})" for what, count in measured.errors[:5])
        raise AppFailed(
            "only_errors",
            f"under load the app answered only errors: {shown or 'no answer at all'}"
            + causes.explain(measured.causes),
        )
    if measured.generator_saturated:
        raise MeasurementInvalid(
            f"the load generator used {measured.generator_cpu:.0%} of its core, so the trial "
            "does not show what the app can do"
        )


def check_server(measured: Measurement, seen: Observations, server: str) -> None:
    """Raise AppFailed where the server loses requests that ours answers: nothing may rest on it."""
    if seen.contrast is not None and answering.loses_requests(measured, seen.contrast):
        loss = answering.describe_loss(measured, seen.contrast, server)
        raise AppFailed("server_fails_app", loss)


def unanswered(measured: Measurement) -> str:
    """Say why nothing can be told from a trial in which nothing came back, not even an error.

    Whether the app never answers or this machine gave it no time, it cannot tell. "" for any other
    trial.
    """
    if measured.requests or measured.errors or measured.error_rate:
        return ""
    return (
        f"no request was answered in {measured.load.duration_s:.0f} s: either one takes longer "
        "than that or the machine was too busy; give a larger --time-budget, or use a quieter "
        "machine"
    )


STEPS = (
    Step(Role.DEMAND, Side.MEASURED, plan.plan_demand, needed=True, check=check_demand),
    Step(Role.CONTRAST, Side.MEASURED, plan.plan_contrast, needed=True),
    Step(Role.SERVER, Side.VERIFIED, plan.plan_server, counts_once=True),
    Step(Role.ALONE, Side.VERIFIED, plan.plan_alone, counts_once=True),
    Step(Role.SYNC, Side.VERIFIED, plan.plan_sync, counts_once=True),
    Step(Role.SYNC_ALONE, Side.VERIFIED, plan.plan_sync_alone, counts_once=True),
    Step(Role.CROWD, Side.VERIFIED, plan.plan_crowd, counts_once=True),
    Step(Role.FRONT, Side.VERIFIED, plan.plan_front, counts_once=True),
    Step(Role.PRELOAD, Side.VERIFIED, plan.plan_preload),
)

# (trial, server, seconds that the trials after it take) -> what it gave; None: it was left out
RunTrial = Callable[[PlannedTrial, str, float], Measurement | None]


def observe(
    terms: Terms,
    run: RunTrial,
    roles: Collection[Role] = tuple(Role),
    leave_out: Callable[[PlannedTrial], bool] = lambda planned: False,
) -> Iterator[Observations]:
    """Run the trials in their order, those of ``roles``; after each, yield all so far.
    ``leave_out`` is asked before each that is not needed. The first is always run.

    Raises what ``run`` raises, and AppFailed and MeasurementInvalid of a check.
    """
    seen: Observations | None = None
    steps = [step for step in STEPS if step.role in roles]
    for number, step in enumerate(steps):
        planned = _plan(step, terms, seen)
        if planned is None or (not step.needed and leave_out(planned)):
            continue
        after_s = math.inf if step.counts_once else expected_s(terms, seen, steps[number + 1 :])
        try:
            measured = run(planned, step.side.choose_server(terms.servers), after_s)
        except AppFailed as error:
            if step.role is not Role.PRELOAD or seen is None:
                raise
            # it has run in other trials: it must not be preloaded, and that is an answer
            seen = replace(seen, preload_failed=str(error).splitlines()[0])
            yield seen
            continue
        if measured is None:
            continue
        if step.check is not None:
            step.check(measured)
        if seen is not None:
            check_server(measured, seen, terms.servers.label)
        seen = Observations(measured) if seen is None else seen.plus(measured)
        yield seen


def planned(terms: Terms, seen: Seen = None) -> tuple[PlannedTrial, ...]:
    """All trials, as far as they can be planned by now."""
    return tuple(p for step in STEPS if (p := _plan(step, terms, seen)) is not None)


def _plan(step: Step, terms: Terms, seen: Seen) -> PlannedTrial | None:
    """Plan a step; None where it is not run, also for want of time."""
    planned = step.plan(terms, seen) if step.role in terms.seconds else None
    return None if planned is None else replace(planned, around_s=terms.around_s)


def expected_s(terms: Terms, seen: Seen, steps: Collection[Step]) -> float:
    """Seconds that these steps take, boots and stops included."""
    planned = (_plan(step, terms, seen) for step in steps)
    return sum(trial.expected_s for trial in planned if trial is not None)
