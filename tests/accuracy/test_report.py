"""The page is made from what is stored, and from nothing else."""

from dataclasses import replace

import pytest
from support.accuracy_points import point

from bench.accuracy import advice, applications, report, rerun, store
from bench.accuracy.store import shape_of
from pretune.server.settings import Settings

STORED = [app for app in applications.APPLICATIONS if store.load_trials(app.name)]


def test_every_application_was_swept():
    assert list(applications.APPLICATIONS) == STORED


@pytest.mark.parametrize("app", STORED[:1], ids=lambda app: app.name)
def test_a_stored_sweep_is_predicted_again_and_told(app):
    judged = report.judged(app, seeds=2)
    usable = [p for p in store.load_points([app.name]) if p.usable]
    assert [pair.point for pair in judged.pairs] == usable
    assert all(pair.claimed("throughput").low > 0 for pair in judged.pairs)
    page = report.page([judged], seeds=2)
    assert f"**1 applications, {len(usable)} points" in page
    for section in ("Aims", "Errors", "Regret", "Other people's formulas", "Time", "Claimed"):
        assert f"## {section}" in page
    disturbed = sum(bool(p.disturbed) for p in usable)
    assert f"{disturbed} of {len(usable)} points were disturbed" in page


def test_reruns_of_the_answer_as_it_is_now_are_told(monkeypatch):
    app = STORED[0]
    known = advice.advise(app)
    assert known.match is not None
    users = known.trials.users

    def measure(task):
        rate = 90.0 if task.settings == known.match.ours else 100.0
        return point(shape_of(task.settings), task.users, task.repeat, throughput=rate, p95=1e-4)

    pairs = [rerun.run(known.match, number, measure) for number in range(2)]
    other = rerun.run(replace(known.match, ours=Settings(31, 7)), 0, measure)
    monkeypatch.setattr(store, "load_reruns", lambda name: [*pairs, other])
    again = advice.advise(app)
    value, count = again.rerun
    assert count == 2
    assert value.value == pytest.approx(0.1)
    assert len(users) == len(pairs[0].ours)
    assert "10.0% (10.0% to 10.0%), 2 pairs" in report.page([report.judged(app, seeds=2)], seeds=2)


def test_an_application_without_points_is_no_row(monkeypatch):
    monkeypatch.setattr(store, "load_points", lambda apps: [])
    assert report.judged(STORED[0]) is None
