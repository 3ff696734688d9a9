"""A server that loses requests which ours answers is told from one that is only slow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.measured import measurement

from pretune.advisor import judge
from pretune.advisor.failure import AppFailed
from pretune.advisor.findings.diagnose import diagnose
from pretune.advisor.profiler.measurement import Conditions, Measurement, RequestCounts, Role
from pretune.advisor.quantity import Interval
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.run import Run, Trial
from pretune.advisor.trials import answering, sequence
from pretune.advisor.verdict import Verdict
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings


def trial(role: Role, counts: RequestCounts | None, server: str = "gunicorn") -> Measurement:
    found = measurement(Settings(1, 1, worker_class="asgi"))
    return replace(
        found,
        name=role.value,
        role=role,
        load=Load(8, 4.0),
        counts=counts,
        conditions=Conditions(1.0, 1.0, True, False, server=server),
        latency=replace(found.latency, p99=Interval.exact(0.02)),
    )


OURS = trial(Role.CONTRAST, RequestCounts(2507, 0, 0), "embedded")
STUCK = RequestCounts(8, 0, 8)  # each user's first request only


@pytest.mark.parametrize(
    ("counts", "role", "changes", "loses"),
    [
        (STUCK, Role.SERVER, {}, True),
        (RequestCounts(700, 300, 0), Role.CROWD, {}, True),
        (RequestCounts(0, 0, 8), Role.VERIFICATION, {}, True),
        (RequestCounts(700, 0, 8), Role.SERVER, {}, False),  # in flight when the load ended
        (RequestCounts(250, 0, 0), Role.SERVER, {}, False),  # ten times slower
        (STUCK, Role.PRELOAD, {}, False),  # the app may not bear to be forked
        (STUCK, Role.SERVER, {"load": Load(8, 4.0, rps=100.0)}, False),
        (STUCK, Role.SERVER, {"conditions": OURS.conditions}, False),
        (None, Role.SERVER, {}, False),
    ],
)
def test_requests_that_only_the_other_server_loses_are_its_fault(
    counts: RequestCounts | None, role: Role, changes: dict[str, Any], loses: bool
) -> None:
    theirs = replace(trial(role, counts), **changes)
    assert answering.loses_requests(theirs, OURS) is loses
    assert not answering.loses_requests(theirs, None)


@pytest.mark.parametrize(
    "ours",
    [
        replace(OURS, counts=RequestCounts(2000, 100, 0)),  # the app fails on ours too
        replace(OURS, counts=RequestCounts(40, 0, 0)),  # too few to say that it does not
        # eight seconds a request: nothing to be answered in four
        replace(OURS, latency=replace(OURS.latency, p99=Interval.exact(8.0))),
    ],
)
def test_what_ours_does_not_answer_well_is_no_fault_of_the_other(ours: Measurement) -> None:
    assert not answering.loses_requests(trial(Role.SERVER, STUCK), ours)


def run_with(*trials: Measurement) -> Run:
    return Run(
        "app", 1, Verdict.NOT_ENOUGH_DATA, server="gunicorn 26.2.0", slo=Slo(0.3),
        trials=tuple(map(Trial, trials)),
    )  # fmt: skip


def test_the_finding_names_server_version_and_the_counts_on_both() -> None:
    found = diagnose(run_with(OURS, trial(Role.SERVER, STUCK)))
    finding = next(f for f in found if f.id == "server-fails-app")
    assert finding.severity == "critical"
    of_it = "of 16 in the server trial, 8 were never answered"
    for part in ("gunicorn 26.2.0", of_it, "0 of 2,507"):
        assert part in finding.title
    assert "--server" in finding.fix


def test_such_a_server_never_fits() -> None:
    run = run_with(OURS, trial(Role.VERIFICATION, STUCK))
    verdict, why = judge.verdict(run, Budget(1 << 30, 1, None, 1024), Slo(0.3), Verdict.FITS, "")
    assert verdict is Verdict.APP_FAILED
    assert why == (
        "gunicorn 26.2.0 loses requests of this app: of 16 in the verification trial 8 were never "
        "answered; of 2,507 on the embedded server, 0"
    )


def test_nothing_is_observed_on_after_such_a_trial() -> None:
    seen = sequence.Observations(OURS).plus(OURS)
    with pytest.raises(AppFailed, match="26 loses requests") as error:
        sequence.check_server(trial(Role.ALONE, RequestCounts(1, 20, 1)), seen, "gunicorn 26")
    assert error.value.kind == "server_fails_app"


def test_a_server_that_does_not_end_because_it_loses_requests_is_not_blamed_on_the_app() -> None:
    stopped = "15 s after TERM the server of the trial server had not ended, and was killed"
    app = answering.explain_stop(stopped, None, "gunicorn 26.2.0")
    assert app.startswith(stopped)
    assert "of the application holds it" in app
    lost = (trial(Role.SERVER, STUCK), OURS)
    blamed = answering.explain_stop(stopped, lost, "gunicorn 26.2.0")
    assert "application" not in blamed
    assert "gunicorn 26.2.0 waits for requests that it never answers" in blamed
    assert "another version of gunicorn, another worker class or another server" in blamed
