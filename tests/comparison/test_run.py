"""The comparison on a stand-in bench that gives back what was measured once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.standin import Change, Progress, StandIn, session_of, spend

from pretune.advisor.comparison import broken, contestants, lifecycle
from pretune.advisor.comparison.broken import BootFailure
from pretune.advisor.comparison.document import assemble
from pretune.advisor.comparison.lifecycle import Check
from pretune.advisor.comparison.run import Comparison
from pretune.advisor.failure import AppFailed, MeasurementInvalid
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.session import Session
from pretune.advisor.verdict import Verdict

HERE = tuple(Servers(name, name, "1.0") for name in ("embedded", "gunicorn", "waitress"))
FIRST = ["demand", "contrast", "crowd"]


@pytest.fixture(autouse=True)
def no_real_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("reload", "term", "recycling"):
        monkeypatch.setattr(lifecycle, name, lambda stage, load: Check(None, "not tried here"))
    monkeypatch.setattr(broken, "write", lambda directory: directory / "tries")
    failure = BootFailure(None, None, said=True, tries=3, answer="")
    monkeypatch.setattr(broken, "watch", lambda start, launch, tries: failure)


class Case:
    """A comparison of ``here``, its session and its bench."""

    def __init__(
        self,
        out: Path,
        monkeypatch: pytest.MonkeyPatch,
        changes: dict[str, list[Change]] | None = None,
        here: tuple[Servers, ...] = HERE,
    ) -> None:
        monkeypatch.setattr(contestants, "find", lambda *asked: (here, ()))
        out.joinpath("broken").mkdir()
        given = {"time_budget": "--time-budget"}
        self.session: Session = session_of(out, time_budget_s=900.0, sources=given)
        self.session.workspace.marked = dict  # type: ignore[method-assign]
        self.session.workspace.spawned = lambda pid: None  # type: ignore[method-assign]
        self.progress = Progress()
        self._changes = changes or {}
        self.comparison = Comparison(self.session, None, self._bench)

    def _bench(self, workspace: object, known: Preflight, progress: object) -> StandIn:
        self.bench = StandIn(known, self._changes)
        return self.bench

    def compare(self) -> Case:
        self.comparison.compare(self.progress)
        return self


def test_every_server_has_its_turn_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretune.advisor.comparison.plan.MOST_ROUNDS", 3)
    done = Case(tmp_path, monkeypatch).compare()
    names, result = done.bench.names, done.comparison.outcome()
    assert names[:5] == [*FIRST, "gunicorn-cost", "waitress-cost"]
    servers = {name: server for name, server, *_ in done.bench.ran}
    assert [servers[name] for name in names[:5]] == [*["embedded"] * 3, "gunicorn", "waitress"]
    # each begins a round
    assert names[5:14] == [
        "embedded-1", "gunicorn-1", "waitress-1",
        "gunicorn-2", "waitress-2", "embedded-2",
        "waitress-3", "embedded-3", "gunicorn-3",
    ]  # fmt: skip
    assert done.bench.closed
    assert result.run.verdict is Verdict.FITS
    for entry in result.entries:
        assert entry.recommendation is not None
        assert entry.alike is not None
        assert entry.alike.users == result.users
        assert len(entry.done) == 3
        assert all(turn.crossing is not None for turn in entry.done)
        assert entry.lifecycle.boot is not None
    # the server that takes longest for a request carries least within the same SLO
    rates = [e.done[0].crossing.throughput_rps for e in result.entries if e.done[0].crossing]
    assert rates == sorted(rates, reverse=True)
    document = assemble(result)
    assert document["slo"]["source"].endswith("on the embedded server")
    assert all(server["cost"] is not None for server in document["servers"])


def test_a_server_that_fails_drops_out_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretune.advisor.comparison.plan.MOST_ROUNDS", 3)
    gone = AppFailed("boot", "gunicorn does not boot\nand more")
    crashed = AppFailed("died", "every worker died under load")
    made = Case(tmp_path, monkeypatch, {"server": [gone, {}], "waitress-2": [crashed]})
    entries = {e.name: e for e in made.compare().comparison.outcome().entries}
    assert entries["gunicorn"].failure == "gunicorn does not boot"
    assert entries["gunicorn"].turns == ()
    assert entries["waitress"].failure == "round 2: every worker died under load"
    assert len(entries["waitress"].done) == 1
    assert len(entries["embedded"].done) == 3
    assert not any(name.startswith("waitress-3") for name in made.bench.names)
    assert made.session.run.verdict is Verdict.FITS


def test_a_round_that_gives_nothing_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretune.advisor.comparison.plan.MOST_ROUNDS", 3)
    spoiled = MeasurementInvalid("the load generator failed")
    made = Case(tmp_path, monkeypatch, {"gunicorn-2": [spoiled]}, HERE[:2]).compare()
    entries = {e.name: e for e in made.comparison.outcome().entries}
    assert [turn is None for turn in entries["gunicorn"].turns] == [False, True, False]
    assert "gunicorn-2 could not be measured: the load generator failed" in made.session.run.notes


def test_an_app_that_only_fails_ends_it_before_any_server_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Case(tmp_path, monkeypatch, {"demand": [{"error_rate": 1.0}]})
    with pytest.raises(AppFailed, match="answered only errors"):
        made.compare()
    assert made.bench.names == ["demand"]
    assert made.bench.closed


def test_long_after_its_time_nothing_more_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Case(tmp_path, monkeypatch, here=HERE[:2])
    spend(10_000.0, made.session)
    made.compare()
    assert made.bench.names == [*FIRST, "gunicorn-cost"]
    assert made.session.run.verdict is Verdict.DOES_NOT_FIT


def test_without_a_server_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Case(tmp_path, monkeypatch, here=()).compare()
    assert not hasattr(made, "bench")
    assert made.session.run.verdict is Verdict.NOT_ENOUGH_DATA
    assert made.session.run.failure is not None
    assert "none of the servers" in made.session.run.failure.message
