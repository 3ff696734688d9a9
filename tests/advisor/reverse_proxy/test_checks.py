"""What standing behind nginx gives, on real servers; and what is concluded from it, by hand."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pretune.advisor.preflight import reverse_proxy
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.reverse_proxy import checks as front_checks
from pretune.advisor.reverse_proxy.values import Checks, Comparison
from pretune.advisor.workspace import cores
from pretune.server.adapters import nginx
from pretune.server.adapters import nginx_conf as nginx_front
from pretune.server.adapters.nginx_conf import Static
from pretune.server.adapters.process import session_pids
from pretune.server.settings import Settings

LOW, HIGH = Interval(1.0, 0.9, 1.1), Interval(2.0, 1.8, 2.2)
NGINX = nginx.find()
needs_nginx = pytest.mark.skipif(NGINX is None, reason=f"nginx: {nginx_front.INSTALL}")


def row(without: Interval, behind: Interval, question: str = "static", quantity: str = "p95_s"):
    return Comparison(question, quantity, without, behind, 4)


def test_better_is_what_is_surely_less() -> None:
    assert row(HIGH, LOW).better is True
    assert row(LOW, HIGH).better is False
    assert row(LOW, Interval(1.1, 1.0, 1.2)).better is None
    assert row(UNKNOWN, LOW).better is None
    assert row(LOW, UNKNOWN).better is None


def test_kept_connections_that_surely_take_longer_are_given_up() -> None:
    def checks(*rows: Comparison) -> Checks:
        return Checks(Settings(), 1, 1, rows)

    assert front_checks.keeping_costs(checks(row(LOW, HIGH, "keepalive")))
    assert not front_checks.keeping_costs(checks(row(HIGH, LOW, "keepalive")))
    assert not front_checks.keeping_costs(checks(row(LOW, HIGH, "static")))
    assert not front_checks.keeping_costs(checks(row(LOW, HIGH, "keepalive", "cpu_s")))


class Place:
    """What the checks need of a run."""

    def __init__(self, directory: Path, server: str, statics: tuple[Static, ...] = ()) -> None:
        self.temporary = directory
        self.pids: list[int] = []
        self.spawned = self.pids.append
        found = reverse_proxy.find_installed("nginx", statics)
        self.known: Any = SimpleNamespace(
            front=found,
            servers=Servers(server, server),
            target=SimpleNamespace(python=Path(sys.executable)),
            core_plan=cores.plan(frozenset(os.sched_getaffinity(0)), 1.0),
        )

    def forget_if_empty(self, pid: int) -> None: ...

    def marked(self, env: dict[str, str]) -> dict[str, str]:
        return dict(env)

    def log(self, name: str) -> Path:
        return self.temporary / f"{name}.log"

    def run(self, settings: Settings) -> dict[tuple[str, str], Comparison]:
        workspace: Any = self
        checks = front_checks.run_checks(self.known, workspace, settings, lambda what: None)
        assert len(self.pids) == 3
        assert [pid for each in self.pids for pid in session_pids(each)] == []
        return {(each.question, each.quantity): each for each in checks.rows}


@needs_nginx
def test_a_slow_upload_is_inside_a_sync_worker_alone_and_not_behind_nginx() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        place = Place(Path(name), "gunicorn")
        rows = place.run(Settings(workers=1, worker_class="sync"))
    held = rows["slow_upload", "held_s"]
    assert held.without.value > 0.2
    assert held.behind.value < held.without.value / 4
    assert rows["slow_upload", "others_s"].without.value > 0.05
    for each in rows.values():
        assert each.rounds >= front_checks.LEAST_ROUNDS, each
        assert each.without.value >= 0
    # gunicorn's sync worker keeps no connection
    assert not any(question == "keepalive" for question, _ in rows)


@needs_nginx
def test_a_file_of_the_app_s_own_and_kept_connections_are_compared() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        files = Path(name, "files")
        files.mkdir()
        (files / "a b.css").write_bytes(b"x" * 5000)
        place = Place(Path(name), "embedded", (Static("/s/", str(files)),))
        rows = place.run(Settings(workers=2, threads=2))
    static = rows["static", "cpu_s"]
    assert 0 < static.behind.value < static.without.value
    assert rows["keepalive", "cpu_s"].behind.value < rows["keepalive", "cpu_s"].without.value
    assert {quantity for _, quantity in rows} == {
        "cpu_s", "p95_s", "others_s", "held_s", "growth_bytes",
    }  # fmt: skip


@needs_nginx
def test_files_that_nginx_may_not_read_are_no_data_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's nginx runs as somebody else")
    asked = {name: front_checks._QUESTIONS[name] for name in ("static", "slow_upload")}
    monkeypatch.setattr(front_checks, "_QUESTIONS", asked)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        closed = Path(name, "closed")
        closed.mkdir(mode=0o700)
        (closed / "a.css").write_bytes(b"x")
        rows = Place(Path(name), "embedded", (Static("/s/", str(closed)),)).run(Settings())
    assert "403" in rows["static", ""].note
    assert rows["static", ""].better is None
    assert rows["slow_upload", "others_s"].rounds > 0
