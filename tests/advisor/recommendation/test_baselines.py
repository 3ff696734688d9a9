"""Others' formulas give what their sources say, and are judged by the same budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.judged import CONDITIONS, DEMAND, EXACT, GIB, MIB, WORKER, capacity

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.recommendation.baselines import (
    FORMULAS,
    FormulaInputs,
    judge_pools,
    predict_all,
    settings_of,
)
from pretune.advisor.resources.budget import Budget, Slo
from pretune.server.settings import Settings


def answers(case: FormulaInputs) -> dict[str, tuple[int, int]]:
    return {
        name.split(":")[0]: (s.workers, s.threads)
        for name, s in reversed(settings_of(case, "wsgi"))
    }


@pytest.mark.parametrize(
    ("case", "name", "expected"),
    [
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False), "gunicorn", (9, 1)),
        (FormulaInputs(4, 1.0 * GIB, 200.0 * MIB, False), "Heroku", (4, 1)),
        (FormulaInputs(4, 0.1 * GIB, 200.0 * MIB, False), "Heroku", (1, 1)),
        (FormulaInputs(1, 8.0 * GIB, 200.0 * MIB, False), "tiangolo image", (2, 1)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False), "Puma", (4, 5)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False), "Passenger", (4, 1)),
        (FormulaInputs(4, 0.5 * GIB, 200.0 * MIB, False), "Passenger", (1, 1)),
        (FormulaInputs(4, 0.3 * GIB, 200.0 * MIB, False), "GitLab", (1, 4)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False), "GitLab", (4, 4)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False), "Puppet", (3, 1)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False, users=20.0), "Odoo", (4, 1)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False, users=200.0), "Odoo", (9, 1)),
        (FormulaInputs(4, 8.0 * GIB, 200.0 * MIB, False), "HikariCP", (4, 3)),
    ],
)
def test_a_formula_gives_what_its_source_says(
    case: FormulaInputs, name: str, expected: tuple[int, int]
) -> None:
    assert answers(case)[name] == expected


def test_every_formula_is_valid_on_tiny_and_huge_machines() -> None:
    for cores in (1, 2, 64):
        for ram in (0.05, 1, 256):
            for blocking in (False, True):
                for _, s in settings_of(
                    FormulaInputs(cores, ram * GIB, 200.0 * MIB, blocking), "wsgi"
                ):
                    assert s.workers >= 1
                    assert 1 <= s.threads <= 32


def test_the_copied_formula_is_caught_by_the_ram() -> None:
    found = predict_all(
        Question(DEMAND, Budget(GIB, 2.0, 100, 1024), Slo(1.0), CONDITIONS), capacity
    )
    first = next(b for b in found if b.name.startswith("gunicorn: 2"))
    assert first.settings.workers == 5
    assert any(v.startswith("RAM: 1.19 GiB > 1 GiB") for v in first.violates)


def test_connections_of_all_instances_are_judged() -> None:
    budget = Budget(64 * GIB, 8.0, 100, 1024, instances=6)
    found = predict_all(Question(DEMAND, budget, Slo(1.0), CONDITIONS), capacity)
    first = next(b for b in found if b.name.startswith("gunicorn: 2"))
    assert "108 Postgres connections > 100" in first.violates  # 6 x (17 + 1 overlapping)


def test_a_leak_nobody_recycles_is_told_in_hours() -> None:
    leaking = replace(
        DEMAND,
        worker=replace(WORKER, leak_class="leak", leak_slope_bytes_per_request=EXACT(10_000.0)),
    )
    found = predict_all(
        Question(leaking, Budget(4 * GIB, 2.0, None, 1024), Slo(1.0), CONDITIONS), capacity
    )
    assert all(any("leak fills the RAM" in v for v in b.violates) for b in found[:1])


def test_asgi_gets_workers_only_and_equal_shapes_are_predicted_once() -> None:
    asked = []

    def counting(*args: object, **more: Any) -> Prediction:
        asked.append(args[1])
        return capacity(*args, **more)  # type: ignore[arg-type]

    found = predict_all(
        Question(DEMAND, Budget(4 * GIB, 2.0, None, 1024), Slo(1.0), CONDITIONS, "asgi"), counting
    )
    assert len(found) == len(FORMULAS)
    assert {(b.settings.worker_class, b.settings.threads) for b in found} == {("asgi", 1)}
    assert len(asked) == len({b.settings.workers for b in found})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gunicorn: 2 x cores (lower of 2-4)", (8, 1)),
        ("gunicorn: 4 x cores (upper of 2-4)", (16, 1)),
        ("gunicorn: 4 workers (lower of 4-12)", (4, 1)),
        ("gunicorn: 12 workers (upper of 4-12)", (12, 1)),
        ("Puma: 1 GB + 1 GB a worker, 5 threads", (2, 5)),
        ("GitLab: 0.9 x cores, 4 threads", (3, 4)),
    ],
)
def test_a_source_with_several_formulas_has_each(name: str, expected: tuple[int, int]) -> None:
    found = dict(settings_of(FormulaInputs(4, 3.0 * GIB, 200.0 * MIB, False), "wsgi"))
    assert (found[name].workers, found[name].threads) == expected


def test_default_pools_are_counted_against_postgres() -> None:
    settings = Settings(6, 4)
    budget = Budget(64 * GIB, 2.0, 100, 1024)
    prediction = capacity(Question(DEMAND, budget, Slo(0.1), CONDITIONS), settings)
    (django,) = judge_pools(settings, prediction, budget, 0.1, "django")
    (sqlalchemy,) = judge_pools(settings, prediction, budget, 0.1, "litestar")
    assert "Django" not in sqlalchemy.name
    assert django.predicted.pg_connections == 28  # (6 + 1 overlapping) x 4
    assert django.violates == ()
    assert sqlalchemy.violates == ("105 Postgres connections > 100",)
    assert judge_pools(settings, prediction, replace(budget, pg_connections=None), 0.1) == ()
