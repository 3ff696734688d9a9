"""The page is made from what is stored, and from nothing else."""

import pytest

from bench.accuracy import applications, report, store

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


def test_an_application_without_points_is_no_row(monkeypatch):
    monkeypatch.setattr(store, "load_points", lambda apps: [])
    assert report.judged(STORED[0]) is None
