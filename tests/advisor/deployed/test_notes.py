"""The app's names in the deployment's files, and bounds there that are not the run's."""

from __future__ import annotations

from pathlib import Path

from pretune.advisor.deployed.notes import module_names, note_bounds
from pretune.advisor.deployed.value import Deployed, Fact
from pretune.advisor.resources.budget import Budget

BUDGET = Budget(ram_bytes=1 << 30, cores=2.0, pg_connections=None, fds=1024)


def test_limits_in_the_files_that_the_run_does_not_have_are_noted() -> None:
    facts = (
        Fact("memory limit", "512m", "compose.yaml:9"),
        Fact("replicas", "3", "compose.yaml:7"),
        Fact("memory limit", "infinity", "shop.service:4"),
    )
    said = Deployed("gunicorn", "Procfile:1", "shop.wsgi", {}, facts=facts)
    notes = note_bounds(said, BUDGET, ())
    assert [note.partition(" ")[0] for note in notes] == ["compose.yaml:9", "compose.yaml:7"]
    assert "--ram 512m" in notes[0]
    assert "--instances 3" in notes[1]
    assert note_bounds(said, BUDGET, ("ram", "instances")) == ()


def test_the_target_has_the_names_that_deployments_use() -> None:
    chdir = Path("/srv")
    assert module_names("shop.wsgi", "shop.wsgi:application", Path("/srv/shop/wsgi.py"), chdir) == (
        "shop.wsgi",
    )
    assert module_names("/srv/app/main.py:api", "main:api", Path("/srv/app/main.py"), chdir) == (
        "main",
        "app.main",
    )
