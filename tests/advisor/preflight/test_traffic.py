"""How long each route takes is known before the load; a slow first answer is tried once more."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from pretune.advisor.preflight import traffic
from pretune.advisor.preflight.traffic import Timed
from pretune.loadtests.asking import Answer
from pretune.loadtests.workload import Endpoint, Workload

pytestmark = pytest.mark.fast


class App:
    """Answers at once by a clock of its own, on which each path has its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: list[float]) -> None:
        self.seconds, self.now = seconds, 0.0
        self.asked: list[str] = []
        monkeypatch.setattr(traffic.time, "monotonic", lambda: self.now)

    def __call__(self, address: tuple[str, int], path: str, headers: Mapping[str, str]) -> Answer:
        self.asked.append(path)
        left = self.seconds[path[1:]]
        self.now += left.pop(0) if len(left) > 1 else left[0]
        return Answer(status=200)


def test_what_is_slow_at_first_only_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(monkeypatch, quick=[0.01], lazy=[3.0, 0.02], report=[8.0])
    timed = Timed(app)
    names = ("/quick", "/lazy", "/report")
    given = Workload(tuple(Endpoint(name, (name,), 1 / 3) for name in names))
    for name in names:
        timed(("127.0.0.1", 1), name, {})
    found = timed.with_times(("127.0.0.1", 1), given)
    assert [round(e.tried_s, 3) for e in found.endpoints] == [0.01, 0.02, 8.0]
    assert app.asked[3:] == ["/lazy", "/report"]


def test_second_tries_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(monkeypatch, a=[9.0], b=[9.0], c=[9.0])
    timed = Timed(app)
    given = Workload(tuple(Endpoint(f"/{name}", (f"/{name}",), 1 / 3) for name in "abc"))
    for endpoint in given.endpoints:
        timed(("127.0.0.1", 1), endpoint.name, {})
    timed.with_times(("127.0.0.1", 1), given)
    assert len(app.asked) == 3 + 2
    assert time.monotonic() == app.now
