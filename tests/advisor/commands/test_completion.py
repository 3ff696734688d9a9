"""What a shell offers for TARGET."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretune.advisor.commands.completion import targets

TUNE = Path(sys.executable).with_name("tune")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for file in (
        "manage.py",
        "app.py",
        "mysite/__init__.py",
        "mysite/wsgi.py",
        "mysite/asgi.py",
        "mysite/settings.py",
        "mytools/__init__.py",
        "mytools/inner/__init__.py",
        "mytools/inner/main.py",
        "tests/app.py",
        ".venv/app.py",
        "notes/readme.md",
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("incomplete", "offered"),
    [
        ("", ["app", "mysite.asgi", "mysite.wsgi", "mytools."]),
        ("my", ["mysite.asgi", "mysite.wsgi", "mytools."]),
        ("mysite.w", ["mysite.wsgi"]),
        ("mysite.s", ["mysite.settings"]),
        ("mytools.", ["mytools.inner.main"]),
        ("man", ["manage"]),
        ("nowhere.", []),
        ("../", []),
    ],
)
def test_modules_that_may_hold_an_application_are_offered(
    project: Path, incomplete: str, offered: list[str]
) -> None:
    assert targets(incomplete, project) == offered


def test_the_shell_is_offered_targets_beside_commands(project: Path) -> None:
    def offered(words: str, place: int) -> set[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(place), "_TUNE_COMPLETE": "bash_complete"}
        said = subprocess.run(
            [str(TUNE)], env=os.environ | asked, cwd=project, capture_output=True, text=True
        ).stdout
        return {line.partition(",")[2] for line in said.splitlines()}

    assert {"gate", "advise", "mysite.wsgi"} <= offered("tune ", 1)
    assert offered("tune mysite.w", 1) == {"mysite.wsgi"}
    assert offered("tune gate mysite.w", 2) == {"mysite.wsgi"}
    assert "--ram" in offered("tune mysite.wsgi --r", 2)
