"""A saved run is concluded again from its file: the same numbers, no load, no secret."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.standin import NUMBERS, RUN, stored

from pretune.advisor import saved
from pretune.advisor.conclusion import conclude
from pretune.advisor.documents.report import assemble
from pretune.advisor.profiler.measurement import Role
from pretune.advisor.run import Run, Trial, Verification
from pretune.advisor.saved import conclude_again
from pretune.loadtests.workload import Workload
from pretune.server.settings import Settings


def numbers(run: Run) -> dict[str, Any]:
    """All that is concluded, as the report shows it."""
    document = assemble(run)
    parts = ("demand", "slo", "server_costs", "recommendation", "baselines", "verdict")
    return {part: document[part] for part in parts}


def alike(found: Any, expected: Any, path: str = "") -> None:
    """The same, but for the last digits of a float: processors and libraries differ in those."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for key, value in expected.items():
            alike(found[key], value, f"{path}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for number, value in enumerate(expected):
            alike(found[number], value, f"{path}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6), path
    else:
        assert found == expected, path


@pytest.fixture(scope="module")
def concluded() -> Run:
    return conclude_again(stored())


def test_the_stored_run_is_concluded_as_it_was(concluded: Run) -> None:
    alike(json.loads(json.dumps(numbers(concluded))), json.loads(NUMBERS.read_text()))


def test_written_and_read_it_gives_the_same_numbers(concluded: Run, tmp_path: Path) -> None:
    saved.write(tmp_path / "run.json.gz", stored())
    again = conclude_again(saved.read(tmp_path / "run.json.gz"))
    assert json.dumps(numbers(again)) == json.dumps(numbers(concluded))


def test_what_is_concluded_depends_on_nothing_but_the_evidence(concluded: Run) -> None:
    found = stored()
    conclusion = conclude(found.facts, found.observations, seed=1, think_s=0.0)
    assert conclusion.recommendation is not None
    assert concluded.recommendation is not None
    assert conclusion.recommendation.settings == concluded.recommendation.settings
    # another trial, another conclusion
    slower = replace(
        found.observations.demand,
        cpu_s_per_request=found.observations.demand.cpu_s_per_request.scaled(2.0),
    )
    other = conclude(found.facts, replace(found.observations, demand=slower), seed=1, think_s=0.0)
    before, after = (c.estimate.demand.overhead_cpu_s.value for c in (conclusion, other))
    assert after > before


def test_records_of_requests_are_kept_of_the_trials_that_need_them() -> None:
    kept = {t.role: len(t.telemetry) for t in stored().observations.all()}
    assert kept[Role.DEMAND] == 300
    assert kept[Role.CONTRAST] == 40
    assert sum(kept.values()) == 340


def test_a_verification_of_other_settings_is_none_of_what_is_recommended_now() -> None:
    found = stored()
    (server,) = found.observations.servers
    trial = Trial(replace(server, settings=Settings(7, 1)))
    run = replace(found.run, verification=Verification(trial, ()))
    again = conclude_again(replace(found, run=run, recommended=Settings(7, 1)))
    assert again.verification is None
    assert "7 workers x 1 threads" in again.notes[-1]
    assert again.failure is not None
    assert again.failure.message == "the recommendation was not verified"


def test_secrets_stand_in_no_part_of_the_file(tmp_path: Path) -> None:
    found = stored()
    workload = Workload(found.facts.workload.endpoints, assumption="asked with s3cret-token")
    facts = replace(found.facts, workload=workload, notes=("postgresql://u:s3cret-token@db",))
    saved.write(
        tmp_path / "run.json.gz",
        replace(found, facts=facts),
        text=lambda text: text.replace("s3cret-token", "***"),
    )
    text = gzip.decompress((tmp_path / "run.json.gz").read_bytes()).decode()
    assert "s3cret-token" not in text
    again = saved.read(tmp_path / "run.json.gz").facts
    assert again.notes == ("postgresql://u:***@db",)
    assert again.servers == found.facts.servers  # what chooses is no secret, whatever it is called


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"{}", mtime=0),
        gzip.compress(b'{"version": 1, "type": "Popen"}', mtime=0),
        gzip.compress(b'{"version": 99}', mtime=0),
        RUN.read_bytes()[:5000],
    ],
)
def test_a_file_that_is_no_such_file_is_said_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.json.gz"
    path.write_bytes(content)
    with pytest.raises(saved.Unreadable):
        saved.read(path)
