"""The page: complete, escaped, without any request."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pretune.reports import breakdown, charts, html

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: elements with attributes, text, and whether tags balance."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open, self.unbalanced = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if not (self.open and self.open[-1] == "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def without_charts(monkeypatch):
    monkeypatch.setattr(charts, "draw", lambda document: {})


@pytest.fixture(scope="module")
def drawings():
    return {}


@pytest.fixture
def drawn_once(monkeypatch, drawings):
    """Drawing takes a second: the same document is drawn once for all tests that look at it."""
    draw = charts.draw

    def remembered(document):
        key = json.dumps(document)
        if key not in drawings:
            drawings[key] = draw(document)
        return drawings[key]

    monkeypatch.setattr(charts, "draw", remembered)


@pytest.mark.parametrize(
    ("verdict", "facts"),
    [
        (
            "fits",
            [
                "5 workers x 4 threads carry",
                "max_requests_jitter",
                "a worker boots in 1.9 s",
                "holds",
                "gunicorn 27.0.1",
                "Passenger",
                "no faster than 5 x 4 within noise",
                "/product/<int:pk>/",
                "memory-leak",
                "Load the related rows",
                "gunicorn -c gunicorn.conf.py examples.shop.wsgi:application",
                "docker stop -t 15",
                "equal shares of 7 routes",
                "only answers POST",
                "Page cache charged to the cgroup",
                "cgroup quota (cpu.max)",
            ],
        ),
        ("does_not_fit", ["even 1 worker x 1 thread: needs 406 MiB", "one worker alone"]),
        (
            "not_enough_data",
            ["found no steady state", "They are not confirmed", "at most 4.00 KiB"],
        ),
        ("app_failed", ["KeyError: 'SECRET_KEY'", "line 41, in <module>", "DEBUG is on"]),
        ("measurement_invalid", ["load generator was saturated", "another process used 0.8"]),
    ],
)
def test_each_verdict_has_its_facts(load, without_charts, verdict, facts):
    page = Page(html.render(load(verdict)))
    for fact in facts:
        assert fact in page.text


def test_the_page_is_well_formed_and_accessible(any_document, drawn_once):
    text = html.render(any_document)
    page = Page(text)
    assert not page.open
    assert not page.unbalanced
    assert len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attrs.get("aria-label") for attrs in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_nothing_is_requested_and_nothing_runs(any_document, drawn_once):
    text = html.render(any_document)
    page = Page(text)
    for tag, attrs in page.elements:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "href", "xlink:href", "srcset", "action", "background"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
    assert "@import" not in text
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text))
    assert "default-src 'none'" in text


def test_hostile_text_stays_text(hostile, any_document, drawn_once):
    raw = html.render(hostile)
    clean, page = Page(html.render(any_document)), Page(raw)
    foreign = {tag for tag, _ in page.elements} - {tag for tag, _ in clean.elements}
    assert foreign <= {"small", "p", "pre", "h3"}
    assert not page.all("img")
    assert not page.all("script")
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", raw)


def test_a_hostile_endpoint_is_drawn_as_text(load):
    document = load("fits")
    for row in document["demand"]["by_endpoint"]:
        row["name"] = "</script><img src=x onerror=alert(1)>\x1b"
    chart = charts.draw(document)["demand"]
    assert chart.svg
    assert "&lt;/script&gt;" in chart.svg
    assert "<img" not in chart.svg
    assert "onerror=alert(1)>" not in chart.svg


def test_the_charts_are_drawn_and_the_page_is_small(load, drawn_once):
    text = html.render(load("fits"))
    drawn = Page(text).all("svg")
    assert len(drawn) == 5
    assert len(text.encode()) < 300_000
    assert "could not be drawn" not in text


def test_a_chart_that_cannot_be_drawn_does_not_lose_the_report(load, monkeypatch):
    import vl_convert

    def broken(*args, **kwargs):
        raise ValueError("no <fonts>")

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", broken)
    page = Page(html.render(load("fits")))
    assert "could not be drawn (ValueError: no <fonts>)" in page.text
    assert not page.all("svg")


def test_the_gate_has_a_section(load, without_charts):
    document = load("fits")
    document["gate"] = {"checks": [{"name": "ram_bytes", "passed": None, "message": "too wide"}]}
    assert "ram_bytes undecided too wide" in Page(html.render(document)).text


def test_a_broken_budget_shows_in_its_meter(load, without_charts):
    document = load("fits")
    document["recommendation"]["headroom"] = {"ram_bytes": -0.2, "fds": None}
    page = Page(html.render(document))
    assert {"style": "width:100%", "class": "over"} in page.all("i")
    assert "20% over" in page.text


def test_many_thread_counts_keep_the_recommended_line(load):
    document = load("fits")
    template = document["candidates"][0]
    document["candidates"] = [
        {**template, "settings": {**template["settings"], "threads": n, "workers": w}}
        for n in range(1, 33)
        for w in (1, 5)
    ]
    document["recommendation"]["settings"]["threads"] = 18
    rows = charts.grid(document)
    assert len({row["threads"] for row in rows}) == len(charts.SERIES)
    assert any(row["chosen"] for row in rows)


def test_one_candidate_alone_is_drawn(load):
    document = load("fits")
    document["candidates"] = document["candidates"][:1]
    drawn = charts.draw(document)
    assert not drawn["capacity"].problem
    assert not drawn["memory"].problem


def test_unknown_numbers_are_said_not_zero(load):
    document = load("fits")
    unknown = {"value": None, "low": None, "high": None}
    for tree in (document["verification"]["measured"], document["verification"]["predicted"]):
        tree["latency_ms"] = dict.fromkeys(("mean", "p50", "p95", "p99"), unknown)
        tree["throughput_rps"] = unknown
    document["recommendation"]["predicted"]["ram_bytes"] = unknown
    text = html.render(document)
    assert "unknown" in Page(text).text
    assert "could not be drawn" not in text


def test_the_winner_is_the_first_candidate(load, without_charts):
    text = Page(html.render(load("fits"))).text
    rows = text[text.index("Candidates, and why each lost") :]
    assert rows.index("5 x 4 187") < rows.index("12 x 8") < rows.index("1 x 1")


def test_writing_replaces_the_page(load, tmp_path, without_charts):
    path = tmp_path / "report.html"
    path.write_text("old")
    html.write(path, load("app_failed"))
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    if len(colour) == 4:
        colour = "#" + "".join(c * 2 for c in colour[1:])
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("ink", "paper"),
        ("muted", "paper"),
        ("muted", "raised"),
        ("good", "paper"),
        ("good", "good-bg"),
        ("ink", "good-bg"),
        ("muted", "good-bg"),
        ("warn", "raised"),
        ("warn", "warn-bg"),
        ("bad", "paper"),
        ("bad", "bad-bg"),
        ("info", "info-bg"),
    ],
)
def test_text_has_the_contrast_of_wcag_aa(scheme, ink, paper):
    css = (Path(html.__file__).parent / "report.css").read_text()
    light, dark = css.split("@media (prefers-color-scheme:dark)")[:2]
    colours = dict(re.findall(r"--([\w-]+):(#\w+)", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+):(#\w+)", dark.split("}")[0]))
    high, low = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_parts_of_a_worker_add_up_to_what_it_has(load):
    document = load("fits")
    rows = breakdown.boot_memory(document, 3)
    assert sum(row[1] for row in rows) == document["boot_memory"]["process"]["rss_bytes"]
    assert [row[0] for row in rows][:2] == ["the interpreter", "django"]
    assert "before its first request" in html.render(document)
    del document["boot_memory"]  # an older file has none
    assert "before its first request" not in html.render(document)


def test_lines_hosts_and_waiting_for_each_other_are_shown(load, without_charts):
    document = load("fits")
    document["demand"]["inside"]["loop"] = {
        "asked": 300, "lag_p50_s": {"value": 1e-4, "low": 1e-4, "high": 1e-4},
        "lag_p95_s": {"value": 1e-3, "low": 1e-3, "high": 1e-3},
        "lag_p99_s": {"value": 0.08, "low": 0.07, "high": 0.09}, "lag_max_s": 0.091,
        "blocking": [
            {"endpoint": "/slow", "file": "shop/views.py", "line": 9, "function": "sleep",
             "times": 40, "longest_s": 0.08}
        ],
    }  # fmt: skip
    text = html.render(document)
    for said in (
        "shop/views.py:41 in Cursor.execute",
        "72% (66-78%) of the waiting",
        "(not your code)",
        "api.example:443",
        "each waited 12.1 (10.2-14.3) ms for the GIL",
        "/slow blocked it 40 times, for up to 80 ms, at shop/views.py:9 in sleep",
    ):
        assert said in text
