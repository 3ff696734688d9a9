"""Real runs of the command: a tiny application of our own, and the examples."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.runs import APP, CONFIG, HOOK, Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    project = Sandbox(tmp_path / "project")
    project.temporary.mkdir(parents=True)
    (project.directory / "tiny.py").write_text(APP)
    (project.directory / "hook.py").write_text(HOOK)
    (project.directory / "pyproject.toml").write_text(CONFIG)
    yield project
    for process in project.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    assert project.empties() == []


@pytest.fixture
def until() -> Callable[[subprocess.Popen[str], str], str]:
    """Reads a run's output until a line holds the word; everything read so far."""

    def read(process: subprocess.Popen[str], word: str) -> str:
        assert process.stdout
        seen = ""
        for line in process.stdout:
            seen += line
            if word in line:
                return seen
        raise AssertionError(f"{word!r} never came:\n{seen}")

    return read
