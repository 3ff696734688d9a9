"""An application that replaces the clocks has them replaced; the server goes by the real ones."""

from __future__ import annotations

import ast
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from support.rings import records

import pretune.server
from pretune.server.clock import Clock

SERVER = Path(pretune.server.__file__).parent
# Run by the tool or in a process without the application.
ELSEWHERE = ("adapters", "clock.py")
CLOCKS = {name for name in vars(Clock) if not name.startswith("_")}


@pytest.mark.parametrize(
    "file",
    [f for f in sorted(SERVER.rglob("*.py")) if f.relative_to(SERVER).parts[0] not in ELSEWHERE],
    ids=lambda f: str(f.relative_to(SERVER)),
)
def test_code_in_the_apps_process_takes_no_clock_that_can_be_replaced(file: Path) -> None:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            pytest.fail(f"line {node.lineno}: from time import")
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time":
            assert node.attr not in CLOCKS, f"line {node.lineno}: Clock.{node.attr} is meant"
    for node in tree.body:  # what a library finds among a module's attributes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            owner = node.value.value
            assert not (isinstance(owner, ast.Name) and owner.id == "Clock"), node.lineno


@pytest.mark.parametrize(
    ("worker_class", "target"),
    [
        ("sync", "frozen:app"),
        ("gthread", "frozen:app"),
        ("gevent", "frozen:app"),
        ("asgi", "frozen:application"),
    ],
)
def test_an_app_that_freezes_time_is_served_and_measured(serve, tmp_path, worker_class, target):
    telemetry = tmp_path / "telemetry"
    telemetry.mkdir()
    served = serve(target, worker_class=worker_class, telemetry=telemetry, probes=True)
    before = time.time()
    answer = served.get("/here")
    assert (answer.status, answer.text) == (200, "/here")
    sent = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    assert before - 2 < sent < time.time() + 2
    (ready,) = served.events("worker_ready")
    assert 0 < ready["boot_s"] < 60
    for _ in range(20):
        served.get("/again")
    assert served.running.stop(15) < 10  # not killed
    written = records(telemetry)
    assert len(written) >= 20
    assert all(record["wall"] > 0 for record in written)
