"""What stands in front, as a reader sees it, and its file as nginx does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretune.reports import deployment, document, fronting, html, terminal
from pretune.server.adapters import nginx, nginx_conf

Load = Callable[[str], dict[str, Any]]
NGINX = nginx.find()
ONE = {"value": 40e-6, "low": 30e-6, "high": 50e-6}
TOLD = {
    "listen": "80", "upstream": "127.0.0.1:8000", "worker_processes": 1,
    "worker_connections": 4096, "backlog": 512, "idle": 6, "idle_s": 2.5, "connect_s": 5.0,
    "read_s": 35.0, "client_idle_s": 75.0, "largest_body": 1 << 24,
    "statics": [{"url": "/static/", "directory": "/srv/static"}], "upgrades": False,
    "told_scheme": False,
}  # fmt: skip
MIB = 1 << 20


def check(question: str, quantity: str, without: Any, behind: Any, better: Any) -> dict[str, Any]:
    def around(x: Any) -> dict[str, Any]:
        return {"value": x, "low": x and 0.9 * x, "high": x and 1.1 * x}

    return {
        "question": question, "quantity": quantity, "without": around(without),
        "behind": around(behind), "rounds": 4, "better": better, "note": "",
    }  # fmt: skip


@pytest.fixture
def fronted(load: Load) -> dict[str, Any]:
    made = load("fits")
    made["front"] = {
        "name": "nginx",
        "version": "1.22.1",
        "cost": {
            "cpu_s": ONE,
            "pss_bytes": {"value": 5 * MIB, "low": 5 * MIB, "high": 6 * MIB},
            "workers_change_s": {"value": 1e-5, "low": -2e-5, "high": 4e-5},
        },
        "told": TOLD,
        "checks": {
            "settings": made["recommendation"]["settings"],
            "slow": 6,
            "file_bytes": 16 << 10,
            "upload_bytes": 8 << 20,
            "slow_s": 0.4,
            "rows": [
                check("slow_upload", "others_s", 0.2, 0.002, True),
                check("keepalive", "cpu_s", 50e-6, 49e-6, None),
                check("large_upload", "growth_bytes", None, None, None),
                {**check("static", "", None, None, None), "note": "status 403"},
            ],
        },
    }
    document.validate(made)
    return made


@pytest.mark.skipif(NGINX is None, reason=f"nginx: {nginx_conf.INSTALL}")
def test_nginx_takes_the_file(fronted: dict[str, Any], tmp_path: Path) -> None:
    assert NGINX is not None
    made = deployment.render_front(fronted)
    assert made is not None
    file = tmp_path / made.name
    file.write_text(made.text)
    assert nginx.check(NGINX, file) == ""
    assert "keepalive_timeout 2500ms;" in made.text
    assert 'alias "/srv/static/";' in made.text
    assert set(deployment.choose_all(fronted)) == {"configuration", "front"}


def test_without_a_front_there_is_no_file_and_no_word(load: Load) -> None:
    plain = load("fits")
    assert deployment.render_front(plain) is None
    assert set(deployment.choose_all(plain)) == {"configuration"}
    assert fronting.sentences(plain) == []
    assert fronting.title(plain) == ""


def test_no_text_of_a_report_becomes_a_directive(
    fronted: dict[str, Any], poisoned: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    fronted["failure"] = {"kind": "x", "message": "x;\nuser root;\n", "traceback": ""}
    made = deployment.render_front(fronted)
    assert made is not None
    assert "\nuser root" not in made.text
    assert deployment.render_front(poisoned(fronted)) is None
    told = {**TOLD, "upstream": "127.0.0.1:8000; include /etc/passwd"}
    assert deployment.render_front({**fronted, "front": {**fronted["front"], "told": told}}) is None


def test_no_text_of_it_runs_in_a_page_or_a_terminal(
    fronted: dict[str, Any],
    poisoned: Callable[[dict[str, Any]], dict[str, Any]],
    show: Callable[..., str],
) -> None:
    hostile = poisoned(fronted)
    page = html.render(hostile)
    assert "status 403&lt;/script&gt;" in page
    assert "<img src=x" not in page
    assert "<script" not in page
    assert "\x1b" not in show(terminal.render, hostile)


def test_it_says_what_it_costs_and_what_it_was_told(
    fronted: dict[str, Any], show: Callable[..., str]
) -> None:
    shown = " ".join(show(terminal.render, fronted, width=200).split())
    for words in (
        "nginx 1.22.1 in front",
        "40.0 (30.0-50.0) us of CPU per request",
        "CPU per request is the same, as far as can be told: +10.0 us, -20.0 us to +40.0 us",
        "keeps up to 6 idle connections to the server for 2.50 s",
        "/static/ from /srv/static",
    ):
        assert words in shown
    page = html.render(fronted)
    assert "nginx 1.22.1 in front" in page
    assert "proxy_pass http://app;" in page


def test_each_check_says_what_was_seen_or_that_there_is_not_enough_data(
    fronted: dict[str, Any], show: Callable[..., str]
) -> None:
    rows = {(done, measured): (*rest,) for done, measured, *rest in fronting.checks(fronted)}
    slow = rows["6 slow uploads of 0.4 s", "others wait"]
    assert slow == ("200 (180-220) ms", "2 (1.80-2.20) ms", "better")
    assert (
        rows["connections to the server: new, kept", "CPU per request"][2] == "no difference seen"
    )
    assert rows["6 uploads of 8 MiB", "additional memory"][2] == "not enough data"
    assert rows["a file of 16 KiB", ""][2] == "not enough data: status 403"
    shown = " ".join(show(terminal.render, fronted, width=200).split())
    assert "What the proxy gives" in shown
    assert "others wait 200 (180-220) ms 2 (1.80-2.20) ms better" in shown
    assert "status 403" in html.render(fronted)


def test_a_cost_that_could_not_be_measured_is_no_cost_of_nothing(fronted: dict[str, Any]) -> None:
    fronted["front"]["cost"] = None
    assert "could not be measured" in fronting.sentences(fronted)[0]
