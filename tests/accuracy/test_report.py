"""The page is made from what is stored, and from nothing else."""

import pytest

from bench.accuracy import applications, report, store

STORED = [app for app in applications.APPLICATIONS if store.load_trials(app.name)]


def test_every_application_was_swept():
    assert list(applications.APPLICATIONS) == STORED


@pytest.mark.parametrize("app", STORED[:1], ids=lambda app: app.name)
def test_a_stored_sweep_is_predicted_again_and_told(app):
    judged = report.judged(app)
    usable = [p for p in store.load_points([app.name]) if p.usable]
    assert [pair.point for pair in judged.pairs] == usable
    assert all(pair.claimed("throughput").low > 0 for pair in judged.pairs)
    page = report.page([judged])
    assert f"**1 applications, {len(usable)} points" in page
    for section in ("Aims", "Errors", "Regret", "Time", "Claimed intervals"):
        assert f"## {section}" in page


def test_an_application_without_points_is_no_row(monkeypatch):
    monkeypatch.setattr(store, "load_points", lambda apps: [])
    assert report.judged(STORED[0]) is None
