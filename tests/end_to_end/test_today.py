"""A project with a deployment of its own: what it is started with stands beside the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.runs import Sandbox

PROCFILE = """\
release: python manage.py migrate
web: gunicorn tiny --workers ${WEB_CONCURRENCY:-9} --timeout 120 --frobnicate 3 --log-file -
"""


@pytest.fixture
def deployed(sandbox: Sandbox) -> Sandbox:
    (sandbox.directory / "Procfile").write_text(PROCFILE)
    return sandbox


def test_a_run_shows_what_is_deployed_beside_what_it_recommends(deployed: Sandbox) -> None:
    # too little for nine workers, whatever one of them takes here; enough for a few
    code, output = deployed.run("tiny", "--path", "/", "--ram", "130M", "--time-budget", "40s")
    document = json.loads((deployed.out / "report.json").read_text())
    assert document["recommendation"], output
    today = document["today"]
    assert (today["server"], today["where"]) == ("gunicorn", "Procfile:2")
    assert today["settings"]["workers"] == 9
    assert today["settings"]["worker_class"] == "sync"
    assert today["unknown"] == ["--frobnicate (Procfile:2)"]
    said = {row["setting"]: row for row in today["said"]}
    assert said["workers"]["note"] == "unless $WEB_CONCURRENCY is set"
    assert (said["timeout"]["value"], said["timeout"]["where"]) == (120, "Procfile:2")
    # predicted on the server of the answer, and judged by the run's budget
    assert document["verification"]["server"].startswith("gunicorn")
    rate = today["predicted"]["throughput_rps"]
    assert 0 < rate["low"] <= rate["value"] <= rate["high"]
    assert today["predicted"]["ram_bytes"]["high"] > document["budget"]["ram_bytes"]
    assert today["violates"][0].startswith("RAM: ")
    assert "today-breaks" in [finding["id"] for finding in document["findings"]]
    place = "Procfile:2, unless $WEB_CONCURRENCY is set"
    assert document["recommendation"]["reasons"]["workers"].startswith(f"instead of 9 ({place}): ")
    assert "Procfile:2 starts gunicorn: 9 workers (sync)." in output
    page = (deployed.out / "report.html").read_text()
    assert "today (Procfile:2)" in page
    conf = Path(document["files"]["configuration"]).read_text()
    assert "instead of 9 (Procfile:2" in " ".join(conf.replace("#", " ").split())
    assert deployed.empties() == []
    assert code in (0, 1, 3)


def test_a_dry_run_shows_what_was_read(deployed: Sandbox) -> None:
    code, output = deployed.run("tiny", "--path", "/", "--dry-run")
    assert code == 0, output
    assert "Procfile:2, unless $WEB_CONCURRENCY is set" in output
    assert "Not understood: --frobnicate (Procfile:2)." in output
    assert deployed.empties() == []


def test_the_answer_is_verified_on_the_server_that_is_deployed(sandbox: Sandbox) -> None:
    command = '["waitress-serve", "--threads=8", "--listen=*:80", "tiny:application"]'
    (sandbox.directory / "Dockerfile").write_text(f"FROM python:3.12\nCMD {command}\n")
    _, output = sandbox.run("tiny", "--path", "/", "--time-budget", "30s")
    document = json.loads((sandbox.out / "report.json").read_text())
    today = document["today"]
    assert (today["server"], today["on"], today["where"]) == (
        "waitress",
        "waitress",
        "Dockerfile:2",
    )
    assert today["settings"]["threads"] == 8
    assert document["verification"]["server"].startswith("waitress ")
    servers = {trial["name"]: trial["conditions"]["server"] for trial in document["trials"]}
    # everything before the answer on the server that shows most, then on the deployed one
    assert servers["demand"] == servers["contrast"] == "embedded"
    # a busy machine has no time for the server trial
    assert servers.get("server", "waitress") == servers["verification"] == "waitress"
    assert "preload" not in servers  # there is one process: nothing to share
    assert today["predicted"]["throughput_rps"]["value"] > 0
    assert "Dockerfile:2 starts waitress: 1 worker x 8 threads." in output
    assert sandbox.empties() == []
