"""A short run of ``python -m bench.reliability``: nothing is lost without an excuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# scenario, worker class, events
RUNS = (
    ("storm", "gthread", 8),
    ("storm", "asgi", 8),
    ("storm", "sync", 8),
    ("kill", "gthread", 2),
    ("upgrade", "asgi", 1),
)


@pytest.mark.parametrize(("scenario", "worker_class", "events"), RUNS)
def test_no_request_is_lost(scenario, worker_class, events, tmp_path):
    command = [sys.executable, "-m", "bench.reliability", "--scenario", scenario]
    command += ["--worker-class", worker_class, "--events", str(events), "--clients", "4"]
    command += ["--out", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    outcomes = json.loads((tmp_path / "outcome.json").read_text())["outcomes"]
    assert outcomes
    for one in outcomes:
        assert one["answers"] > 0
        assert one["trouble"] == []
        assert one["samples"] == []
    assert done.returncode == 0, done.stderr
