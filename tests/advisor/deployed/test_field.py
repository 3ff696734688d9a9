"""Deployments as they are in the field: what is read of each is right, or unknown, never wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pretune.advisor.deployed import conf, looking
from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.files import Place
from pretune.advisor.deployed.value import Look
from pretune.advisor.workspace.directory import Workspace
from tests.advisor.deployed.field_cases import CASES, NAMES, WHOLE, Expected
from tests.advisor.deployed.field_variations import VARIATIONS

CORES = 2
LEAST_RIGHT = 0.9


def look(directory: Path, files: Mapping[str, str], names: tuple[str, ...]) -> Look:
    (directory / ".git").mkdir(parents=True)
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    workspace = Workspace(directory.parent / f"{directory.name}-out")

    def ask(path: str, shown: str, environ: Mapping[str, str]) -> Said | str:
        return conf.ask(
            path, shown, chdir=directory, python=Path(sys.executable),
            environ={"PATH": os.environ["PATH"], **environ}, cores=CORES, workspace=workspace,
        )  # fmt: skip

    try:
        return looking.find_deployment(Place(directory, directory, names, CORES, ask))
    finally:
        workspace.close()


def judge(found: Look, expected: Expected) -> tuple[str, str]:
    """right, unknown or wrong; and what was read."""
    server, workers = expected
    deployed = found.deployed
    if deployed is None:
        return "right" if server is None else "unknown", "none"
    setting = deployed.settings.get("workers")
    value = setting.value if setting is not None else None
    said = f"{deployed.server}, {value}"
    if deployed.server != server:
        return "wrong", said
    if value == workers:
        return "right", said
    return "unknown" if value is None else "wrong", said


def test_variations_of_each_kind_are_read_right(tmp_path: Path) -> None:
    rows = []
    for i, (name, files, expected) in enumerate(VARIATIONS):
        verdict, said = judge(found := look(tmp_path / str(i), files, NAMES), expected)
        if verdict != "right":
            rows.append(f"{verdict:8} {name:32} {expected!s:22} read: {said:20} {found.problems}")
    assert not rows, "\n".join(rows)


ALL = [(name, files, expected, NAMES) for name, files, expected in CASES] + WHOLE


def test_deployments_of_the_field_are_read_right_or_not_at_all(tmp_path: Path) -> None:
    rows = []
    for i, (name, files, expected, names) in enumerate(ALL):
        found = look(tmp_path / str(i), files, names)
        rows.append((judge(found, expected), name, expected, found.problems))
    table = "\n".join(
        f"{verdict:8} {name:32} {expected!s:22} read: {said:20} {'; '.join(problems)}"
        for (verdict, said), name, expected, problems in sorted(rows, key=str)
        if verdict != "right"
    )
    verdicts = [row[0][0] for row in rows]
    counts = {each: verdicts.count(each) for each in ("right", "unknown", "wrong")}
    assert counts["wrong"] == 0, f"{counts}\n{table}"
    assert counts["right"] >= LEAST_RIGHT * len(rows), f"{counts}\n{table}"


@pytest.mark.parametrize(("name", "files", "expected", "names"), WHOLE, ids=[w[0] for w in WHOLE])
def test_a_whole_deployment_is_read(
    tmp_path: Path, name: str, files: Mapping[str, str], expected: Expected, names: tuple[str, ...]
) -> None:
    found = look(tmp_path / "project", files, names)
    assert judge(found, expected)[0] == "right", found
