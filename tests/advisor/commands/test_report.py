"""`tune report --again`: a stored run is concluded again, from its files and without load."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.standin import RUN, stored

from pretune.advisor import saved
from pretune.advisor.commands import report
from pretune.advisor.commands.execution import _save
from pretune.advisor.documents.report import assemble
from pretune.advisor.workspace.output import MEASUREMENTS
from pretune.reports import document as documents


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """What the run's report said on the day it was measured."""
    document = assemble(saved.conclude_again(stored()))
    return {**document, "created": "2026-01-02T03:04:05+00:00"}


@pytest.fixture
def out(tmp_path: Path, before: dict[str, Any]) -> Path:
    documents.write(tmp_path / "report.json", before)
    shutil.copy(RUN, tmp_path / MEASUREMENTS)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(report.command, arguments)


def test_the_numbers_are_the_same(out: Path) -> None:
    expected = documents.read(out / "report.json")
    result = run("--again", str(out))
    assert result.exit_code == 0, result.output
    assert documents.read(out / "report.json") == expected
    assert (out / "report.html").exists()
    assert (out / "gunicorn.conf.py").exists()
    assert result.output.startswith("not enough data")  # it was never verified


def test_they_come_from_the_measurements_and_not_from_the_report(
    out: Path, before: dict[str, Any]
) -> None:
    other = {**before, "verdict": "fits", "recommendation": None, "baselines": []}
    documents.write(out / "report.json", other)
    assert run("--again", str(out)).exit_code == 0
    found = documents.read(out / "report.json")
    assert found["verdict"] == "not_enough_data"
    assert found["recommendation"]["settings"] == before["recommendation"]["settings"]
    assert found["created"] == before["created"]
    # without --again the report is only shown
    documents.write(out / "report.json", other)
    assert run(str(out)).exit_code == 0
    assert documents.read(out / "report.json")["verdict"] == "fits"


def test_without_measurements_it_says_which_file_is_missing(out: Path) -> None:
    (out / MEASUREMENTS).unlink()
    result = run("--again", str(out))
    assert result.exit_code == 2
    assert f"{MEASUREMENTS}: No such file" in result.output


def test_a_damaged_file_is_said_to_be_one(out: Path) -> None:
    (out / MEASUREMENTS).write_bytes(b"\x1f\x8b nothing")
    result = run("--again", str(out))
    assert result.exit_code == 2
    assert "no measurements that this tune can read" in result.output


def test_what_is_saved_holds_no_secret(tmp_path: Path) -> None:
    found = stored()
    headers = (("Cookie", "session=deadbeef"), ("Host", "shop.example"))
    workload = replace(found.facts.workload, headers=headers)
    notes = ("postgresql://app:hunter22@db/app refused", "the key is correct-horse")
    facts = replace(found.facts, workload=workload, notes=notes)
    run_with_it = replace(found.run, workload=workload)
    _save(replace(found, facts=facts, run=run_with_it), tmp_path, ("correct-horse",))
    text = gzip.decompress((tmp_path / MEASUREMENTS).read_bytes()).decode()
    for secret in ("deadbeef", "hunter22", "correct-horse"):
        assert secret not in text
    assert json.loads(text)["version"] == saved.VERSION
    assert saved.read(tmp_path / MEASUREMENTS).facts.workload.headers[1] == headers[1]
