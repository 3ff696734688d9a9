"""How bench.wild judges: pages, stated differences, regret. On values alone."""

from __future__ import annotations

from typing import Any

import pytest

from bench.servers.ratios import Estimate
from bench.wild import claims, hand, pages, report
from bench.wild.applications import APPLICATIONS, Application, matcher
from bench.wild.stage import APPS
from pretune.server.adapters import catalogue
from pretune.server.settings import Settings

SHOP = Application("shop", "shop:app", "Flask", "gunicorn", ("/", "/shelf/*/"), ("/de/**",))
ANSWER = Settings(workers=3, threads=2)


def test_every_application_has_pins_and_a_server_that_can_be_started_by_hand() -> None:
    names = {"gunicorn", *catalogue.SERVERS}
    assert len({each.name for each in APPLICATIONS}) == len(APPLICATIONS) >= 10
    for each in APPLICATIONS:
        pins = (APPS / each.name / "requirements.txt").read_text()
        assert each.server in names
        assert each.pages
        assert each.server in pins or each.server == "uvicorn" or "pyuwsgi" in pins


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a/*/", "/a/b/", True),
        ("/a/*/", "/a/b/c/", False),
        ("/a/**", "/a/b/c/", True),
        ("/a.b", "/axb", False),
    ],
)
def test_a_star_is_one_part_of_a_path_and_two_any_rest(
    pattern: str, path: str, matches: bool
) -> None:
    assert bool(matcher(pattern).fullmatch(path)) is matches


def test_pages_missed_and_the_share_of_the_load_that_goes_astray_are_told() -> None:
    endpoints = [
        {"name": "/", "share": 0.5, "paths": ["/?page=1", "/login"]},
        {"name": "/de/*", "share": 0.5, "paths": ["/de/x/y"]},
    ]
    coverage = {"measured": 2, "known": 3, "listed": True, "root": ""}
    judged = pages.judge(SHOP, endpoints, coverage)
    assert (judged["found"], judged["there"], judged["missed"]) == (1, 2, ["/shelf/*/"])
    assert (judged["astray"], judged["astray_share"]) == (["/login"], 0.25)


def test_differences_are_read_from_the_sentences() -> None:
    reasons = {
        "workers": "the processor limits it; 2 would carry 9.1% less; 4 would carry the same, with",
        "threads": "1 would carry 3.0% more.",
        "worker_class": "the best sync arrangement tried (5 workers) is 60% slower, and a silent",
    }
    found = {claim.other: round(claim.ratio, 3) for claim in claims.read(reasons, ANSWER)}
    assert found == {
        Settings(workers=2, threads=2): 0.909,
        Settings(workers=4, threads=2): 1.0,
        Settings(workers=3, threads=1): 1.03,
        Settings(workers=5, threads=1, worker_class="sync"): 0.4,
    }


@pytest.mark.parametrize(
    ("ratio", "measured", "late", "verdict"),
    [
        (0.9, (0.95, 0.93, 0.98), False, claims.TRUE),
        (0.9, (1.05, 1.01, 1.09), False, claims.FALSE),
        (0.9, (1.00, 0.96, 1.04), False, claims.OPEN),
        (0.9, (1.05, 1.01, 1.09), True, claims.TRUE),
        (1.1, (1.05, 1.01, 1.09), False, claims.TRUE),
        (1.1, (0.95, 0.90, 0.98), False, claims.FALSE),
        (1.0, (1.00, 0.99, 1.01), False, claims.TRUE),
        (1.0, (1.20, 1.10, 1.30), False, claims.FALSE),
        (1.0, (1.00, 0.90, 1.10), False, claims.OPEN),
        (0.9, None, False, claims.OPEN),
    ],
)
def test_a_stated_difference_is_held_against_the_measured_one(
    ratio: float, measured: tuple[float, ...] | None, late: bool, verdict: str
) -> None:
    estimate = Estimate(*measured) if measured else None
    assert claims.judge(ratio, False, estimate, late) == verdict


def test_six_others_are_run_by_hand_first_what_is_deployed_and_what_is_named() -> None:
    today, named = Settings(workers=2, worker_class="sync"), Settings(workers=4, threads=2)
    others = hand.neighbours(ANSWER, today, [named, ANSWER])
    assert others[:2] == [today, named]
    assert len({(s.workers, s.threads, s.worker_class) for s in others}) == len(others) == 6
    assert ANSWER not in others
    asgi = hand.neighbours(Settings(worker_class="asgi"), None, [])
    assert {s.worker_class for s in asgi} == {"asgi"}
    assert len(asgi) == 6


@pytest.mark.parametrize("server", ["gunicorn", *sorted(set(catalogue.SERVERS) - {"mod_wsgi"})])
def test_a_command_line_by_hand_has_the_application_itself(server: str) -> None:
    kind = "asgi" if server in ("uvicorn", "hypercorn", "granian") else "gthread"
    settings = Settings(workers=1, worker_class=kind)
    words = hand.command(server, "shop:app", settings, 8123, APPS / "python")
    assert "shop:app" in words
    assert any("8123" in word for word in words)
    assert not any("pretune" in word for word in words)


def test_the_mix_asks_for_paths_by_their_shares() -> None:
    workload = {
        "headers": {"Host": "x"},
        "endpoints": [
            {"share": 0.75, "paths": ["/a", "/b"], "weights": [9, 1], "headers": {"X-Zone": "eu"}},
            {"share": 0.25, "paths": ["/c"]},
        ],
    }
    mix = hand.mix_of(workload)
    counts = {path: mix.paths.count(path) / len(mix.paths) for path in ["/a", "/b", "/c"]}
    assert counts == pytest.approx({"/a": 0.675, "/b": 0.075, "/c": 0.25}, abs=0.05)
    assert dict(mix.headers) == {"X-Zone": "eu", "Host": "x"}


def run_of(rates: list[float], p95_ms: list[float]) -> dict[str, Any]:
    rows = [
        {
            "settings": Settings(workers=n + 1).to_json(),
            "problem": "",
            "rounds": [
                {"users": {"rps": rate, "p95_ms": p95}, "half": {"rps": rate / 2, "p95_ms": 1.0},
                 "pss_bytes": 100}
            ],
        }
        for n, (rate, p95) in enumerate(zip(rates, p95_ms, strict=True))
    ]  # fmt: skip
    return {
        "verdict": "fits", "took_s": 50.0, "time_budget_s": 60, "load_before": 0.1,
        "created": "2026-01-01T00:00", "commit": "abc", "server": "gunicorn", "by_hand": rows,
        "slo_p95_ms": 100.0, "settings": Settings().to_json(), "verification": {"holds": True},
        "predicted": {"throughput_rps": {"value": 100.0}, "pss_bytes": {"value": 110}, "users": 8},
        "predicted_half": {"rps": 55.0},
        "claims": [
            {"text": "2 would carry 9% less", "ratio": 0.91, "at_most": False,
             "other": rows[1]["settings"]}
        ],
    }  # fmt: skip


def test_regret_is_against_those_that_keep_the_p95_and_errors_against_what_was_promised() -> None:
    found = run_of([105.0, 110.0, 300.0], [50.0, 60.0, 400.0])
    assert report.regret(found) == pytest.approx(110 / 105 - 1)
    assert report.errors(found) == pytest.approx({"rps": 0.05, "half": 52.5 / 55 - 1,
                                                  "memory": -1 / 11})  # fmt: skip
    assert report.judged(found) == [("2 would carry 9% less", claims.FALSE, "1.05 (1.05-1.05)")]


def test_the_page_stands_whatever_is_stored() -> None:
    looked = {**pages.judge(SHOP, [], None), "exit": 2, "took_s": 3.0, "said": "no route",
              "created": "2026-01-01T00:00", "commit": "abc"}  # fmt: skip
    failed = {"verdict": "app_failed", "took_s": 130.0, "time_budget_s": 120, "load_before": 0.4,
              "failure": {}, "created": "2026-01-01T00:00", "commit": "abc"}  # fmt: skip
    text = report.page(
        [
            (SHOP, {"pages": looked, "run": run_of([105.0, 110.0], [1.0, 1.0])}),
            (SHOP, {"pages": {"problem": "cannot be installed"}, "run": failed}),
            (SHOP, {"run": {"problem": "cannot be filled"}}),
            (SHOP, {"run": {**failed, "load_before": 50.0}}),  # shown, and no part of the aims
            (SHOP, {}),
        ]
    )
    assert "missed `/`, `/shelf/*/`" in text
    assert "1 of 1, 0 open" in text  # the sentence that measuring contradicts
    assert "| runs beyond their time budget | 0 | 1 of 2 |" in text
    assert "| 50.0* |" in text
