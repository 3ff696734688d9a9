"""The order of trials, what each rests on, and what ends it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.measured import measurement

from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.measurement import Conditions, ErrorCause, Measurement, Role
from pretune.advisor.trials import plan, sequence
from pretune.advisor.trials.plan import PlannedTrial, Terms

SERVER, ALONE, SYNC, SYNC_ALONE, CROWD, PRELOAD = (
    Role.SERVER, Role.ALONE, Role.SYNC, Role.SYNC_ALONE, Role.CROWD, Role.PRELOAD,
)  # fmt: skip


def terms(verified: str = "embedded", interface: str = "wsgi", **changes: object) -> Terms:
    found = Terms(interface, Servers("embedded", verified), 1.0, None, plan.durations(120.0))
    return replace(found, **changes)


class Machine:
    """Stands in for a bench: every trial measures the same, on the server it was run on."""

    def __init__(self) -> None:
        self.ran: list[tuple[Role | None, str, float]] = []

    def run(self, planned: PlannedTrial, server: str, after_s: float) -> Measurement:
        self.ran.append((planned.role, server, after_s))
        return replace(
            measurement(planned.settings),
            name=planned.name,
            role=planned.role,
            load=planned.load(1),
            conditions=Conditions(1.0, 0, True, False, server=server),
        )


def test_an_app_of_errors_only_is_failed_with_their_reason() -> None:
    cause = ErrorCause("postgres-full", 9, "sorry, too many clients already")
    trial = replace(measurement(plan.Settings(1, 1)), error_rate=1.0, causes=(cause,))
    with pytest.raises(AppFailed, match=r"many clients already.*no connection left.*PgBouncer"):
        sequence.check_demand(trial)


def test_an_app_that_does_not_start_preloaded_ends_no_run() -> None:
    machine = Machine()

    def run(planned: PlannedTrial, server: str, after_s: float) -> Measurement:
        if planned.settings.preload_app:
            raise AppFailed("boot_hangs", "the worker did not become ready\nand more")
        return machine.run(planned, server, after_s)

    *_, seen = sequence.observe(terms(), run)
    assert seen.preload is None
    assert seen.preload_failed == "the worker did not become ready"


@pytest.mark.parametrize(
    ("verified", "interface", "changes", "roles"),
    [
        ("gunicorn", "wsgi", {}, [SERVER, ALONE, SYNC, SYNC_ALONE, CROWD, PRELOAD]),
        ("gunicorn", "asgi", {}, [SERVER, ALONE, CROWD, PRELOAD]),
        # each arrival has a connection of its own
        ("gunicorn", "wsgi", {"rps": 50.0}, [SERVER, SYNC, SYNC_ALONE, CROWD, PRELOAD]),
        ("embedded", "wsgi", {}, [SYNC, SYNC_ALONE, CROWD, PRELOAD]),
        # one process, whatever is asked for
        ("waitress", "wsgi", {}, [SERVER, ALONE]),
        ("embedded", "wsgi", {"pg_connections": 1}, []),
        ("embedded", "asgi", {"front": "nginx"}, [CROWD, Role.FRONT, PRELOAD]),
    ],
)
def test_every_trial_runs_in_its_turn_on_its_server(
    verified: str, interface: str, changes: dict[str, object], roles: list[Role]
) -> None:
    machine, given = Machine(), terms(verified, interface, **changes)
    *_, observations = sequence.observe(given, machine.run)
    assert [role for role, _, _ in machine.ran] == [Role.DEMAND, Role.CONTRAST, *roles]
    servers = [server for _, server, _ in machine.ran]
    assert servers[:2] == ["embedded", "embedded"]
    assert set(servers[2:]) <= {verified}
    assert [t.role for t in observations.all()] == [role for role, _, _ in machine.ran]


def test_all_so_far_is_told_after_each_trial() -> None:
    counts = [len(found.all()) for found in sequence.observe(terms("waitress"), Machine().run)]
    assert counts == [1, 2, 3, 4]


def test_only_the_long_trials_are_repeated_where_time_allows() -> None:
    machine, given = Machine(), terms("gunicorn")
    list(sequence.observe(given, machine.run))
    after = {role: after_s for role, _, after_s in machine.ran}
    assert [role for role, after_s in after.items() if math.isfinite(after_s)] == [
        Role.DEMAND, Role.CONTRAST, Role.PRELOAD,
    ]  # fmt: skip
    assert after[Role.DEMAND] > after[Role.CONTRAST] > after[Role.PRELOAD] == 0.0
    planned = sequence.planned(given)
    assert after[Role.DEMAND] == pytest.approx(sum(p.expected_s for p in planned[1:]))


@pytest.mark.parametrize("connections", [1, 2, 3, 4, 100])
def test_no_trial_takes_more_connections_than_the_budget(connections: int) -> None:
    for trial in sequence.planned(terms("gunicorn", pg_connections=connections)):
        assert trial.settings.slots <= connections


def test_some_roles_alone_keep_their_order() -> None:
    machine = Machine()
    list(sequence.observe(terms(), machine.run, {Role.CROWD, Role.CONTRAST, Role.DEMAND}))
    assert [role for role, _, _ in machine.ran] == [Role.DEMAND, Role.CONTRAST, Role.CROWD]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"requests": 0}, MeasurementInvalid, "no request was answered in"),
        ({"error_rate": 1.0, "errors": (("500 on /", 7),)}, AppFailed, r"500 on / \(7\)"),
        ({"generator_saturated": True, "generator_cpu": 0.97}, MeasurementInvalid, "97%"),
    ],
)
def test_a_first_trial_that_can_carry_no_advice_ends_the_run(
    changes: dict[str, object], error: type[Exception], says: str
) -> None:
    machine = Machine()

    def run(planned: PlannedTrial, server: str, after_s: float) -> Measurement:
        return replace(machine.run(planned, server, after_s), **changes)

    with pytest.raises(error, match=says):
        list(sequence.observe(terms(), run))
    assert len(machine.ran) == 1


def test_errors_of_a_trial_that_answered_some_are_no_silence() -> None:
    some = measurement(plan.plan_demand(terms(), None).settings)
    assert sequence.unanswered(some) == ""
    failing = replace(some, requests=0, error_rate=1.0)
    assert sequence.unanswered(failing) == ""


def test_trials_are_sorted_by_role_and_not_by_name_or_place() -> None:
    machine = Machine()
    *_, observations = sequence.observe(terms("gunicorn"), machine.run)
    shuffled = [replace(t, name="any") for t in reversed(observations.all())]
    found = Observations.from_trials(shuffled)
    assert [t.role for t in found.all()] == [t.role for t in observations.all()]
    assert found.saturated() == (found.contrast, *found.servers)
    # on gunicorn but preloaded: all that tells of the first tree
    assert [t.role for t in found.memory_trials()] == [Role.PRELOAD]
    with pytest.raises(ValueError, match="no demand trial"):
        Observations.from_trials(shuffled[:-1])


def test_what_is_not_needed_is_left_out_where_the_run_says_so() -> None:
    machine, asked = Machine(), []

    def leave_out(planned: PlannedTrial) -> bool:
        asked.append(planned.role)
        return planned.role is not SYNC

    *_, observations = sequence.observe(terms("gunicorn"), machine.run, leave_out=leave_out)
    assert [role for role, _, _ in machine.ran] == [Role.DEMAND, Role.CONTRAST, SYNC]
    assert Role.DEMAND not in asked
    assert Role.CONTRAST not in asked
    assert [measured.role for measured in observations.all()] == [Role.DEMAND, Role.CONTRAST, SYNC]
