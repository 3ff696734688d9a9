"""The main job on the three examples, as a user would run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import ROOT, Sandbox

from pretune.reports import document as documents

EXAMPLES = {
    "shop": ("examples.shop.wsgi", "wsgi", "django"),
    "board": ("examples.board.app:create_app()", "wsgi", "flask"),
    "tickets": ("examples/tickets/main.py:app", "asgi", "fastapi"),
}


# where the example's own files start a server
DEPLOYED = {
    "shop": "examples/shop/Procfile:2",
    "board": None,
    "tickets": "examples/tickets/Dockerfile:12",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gets_a_verified_answer(sandbox: Sandbox, name: str) -> None:
    target, interface, framework = EXAMPLES[name]
    code, output = sandbox.run(target, "--ram", "4G", "--time-budget", "60s", cwd=ROOT)
    document = documents.read(sandbox.out / "report.json")
    # a busy machine may break a promise or spoil a trial, never the run
    assert code in (0, 1, 3), output
    assert document["verdict"] != "app_failed"
    assert document["target"]["interface"] == interface
    assert document["target"]["framework"] == framework
    assert document["verification"]["measured"]["requests"] > 0
    assert document["verification"]["conditions"]["server"] == "gunicorn"
    assert document["verification"]["predicted"]["throughput_rps"]["value"] > 0
    assert document["budget"]["pg_connections"] > 50
    peak = document["verification"]["measured"]["pg_connections_peak"]
    assert 1 <= peak <= document["budget"]["pg_connections"]
    assert document["demand"]["db_s"]["value"] > 0
    assert document["demand"]["db_calls"]["value"] > 0
    assert "assumed" in output
    deployed = document["today"]
    assert (deployed and deployed["where"]) == DEPLOYED[name]
    assert not deployed or deployed["predicted"]["throughput_rps"]["value"] > 0
    assert sandbox.survivors() == []

    html = (sandbox.out / "report.html").read_text()
    assert "<html" in html
    assert "<script src" not in html
    conf = sandbox.out / "gunicorn.conf.py"
    settings = document["recommendation"]["settings"]
    assert f"workers = {settings['workers']}" in conf.read_text()
    check = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--check-config", "-c", str(conf), "tiny"],
        cwd=sandbox.directory,
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr


def test_a_dry_run_shows_the_plan_without_load(sandbox: Sandbox) -> None:
    code, output = sandbox.run("examples.shop.wsgi", "--ram", "4G", "--dry-run", cwd=ROOT)
    assert code == 0, output
    for word in ("/search/", "redirects to a login", "equal shares", "shop.example", "contrast"):
        assert word in output
    assert not (sandbox.out / "report.json").exists()


def test_a_saved_run_is_shown_again_without_measuring(sandbox: Sandbox) -> None:
    code, first = sandbox.run("tiny", "--ram", "1G", "--time-budget", "20s")
    assert code in (0, 1, 3), first
    (sandbox.out / "report.html").unlink()
    tune = Path(sys.executable).with_name("tune")
    again = subprocess.run(
        [str(tune), "report", str(sandbox.out)],
        capture_output=True,
        text=True,
        env=sandbox.environment(),
    )
    assert again.returncode == 0
    assert (sandbox.out / "report.html").exists()
    verdict = documents.read(sandbox.out / "report.json")["verdict"]
    first_word = verdict.split("_")[0]
    assert again.stdout.startswith(first_word)
    if not (sandbox.out / "measurements.json.gz").exists():  # it came to no conclusion
        assert code == 3
        return
    before = documents.read(sandbox.out / "report.json")
    (sandbox.out / "report.json").write_text(json.dumps({**before, "findings": []}))
    concluded = subprocess.run(
        [str(tune), "report", "--again", str(sandbox.out)],
        capture_output=True,
        text=True,
        env=sandbox.environment(),
    )
    assert concluded.returncode == 0, concluded.stderr
    assert documents.read(sandbox.out / "report.json") == before
