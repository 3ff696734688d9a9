"""Real servers, given an app that does not boot."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pretune.advisor.comparison import broken
from pretune.advisor.preflight.servers import START
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings


def found(name: str, directory: Path, **settings: int) -> broken.BootFailure:
    tries = broken.write(directory)
    launch = Launch(
        target=broken.TARGET,
        settings=Settings(**{"workers": 2, "threads": 2, **settings}),
        python=Path(sys.executable),
        chdir=directory,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        log=directory / "log",
        bind=broken.free_address(),
        telemetry=directory,
    )
    return broken.watch(START[name], launch, tries)


@pytest.mark.parametrize("name", ["embedded", "gunicorn", "waitress", "uwsgi"])
def test_a_server_that_ends_with_a_word_is_seen_to(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"embedded": "pretune.server", "uwsgi": "pyuwsgi"}.get(name, name))
    boot = found(name, tmp_path)
    assert boot.said, (tmp_path / "log").read_text()
    assert boot.exit_code not in (None, 0)
    assert boot.seen
    assert boot.tries >= 1


def test_an_app_that_boots_is_not_taken_for_broken(tmp_path: Path, monkeypatch) -> None:
    app = "def application(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n"
    monkeypatch.setattr(broken, "_SOURCE", app)
    monkeypatch.setattr(broken, "BEGIN_S", 5.0)
    boot = found("embedded", tmp_path)
    assert boot.exit_code is None
    assert not boot.seen
    assert boot.answer == "200"
    assert boot == replace(boot, said=False, tries=0, took_s=None)
