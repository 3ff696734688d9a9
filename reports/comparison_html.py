"""comparison.html: self-contained as report.html is, and made the same way."""

from __future__ import annotations

from typing import Any

from pretune.reports import comparison_summary as summary
from pretune.reports import html, numbers, redaction, setting
from pretune.reports.document import Document

_RATIOS = {
    "capacity_rps": "requests/s within the SLO",
    "p95_s": "p95",
    "pss_bytes": "memory",
    "cpu_s_per_request": "CPU per request",
}


def render(document: Document) -> str:
    """The whole page as text. The document is taken as valid."""
    from markupsafe import Markup

    document = redaction.redacted(document)
    servers = summary.measured(document)
    return (
        html.templates()
        .get_template("comparison.html.jinja")
        .render(
            document=document,
            css=Markup(html.stylesheet()),
            sentence=summary.sentence(document),
            setup=summary.setup(document),
            capacities=summary.capacities(document),
            bars=_bars(servers),
            figures=summary.figures(document),
            lives=summary.lifecycles(document),
            predictions=summary.predictions(document),
            costs=summary.costs(document),
            settings=[(s["label"], _settings(s)) for s in servers],
            rounds=[(s["name"], [r for r in s["rounds"] if r]) for s in servers],
            ratios=[(words, _matrix(document, servers, name)) for name, words in _RATIOS.items()],
            left_out=summary.left_out(document),
            machine=html.machine(document),
        )
    )


def _bars(servers: list[Any]) -> list[float]:
    """Percent of the highest capacity, in the order of the rows."""
    values = [numbers.middle(s["figures"]["capacity_rps"]) or 0.0 for s in servers]
    most = max(values, default=0.0) or 1.0
    return [round(100 * value / most, 1) for value in values]


def _settings(server: Any) -> list[tuple[str, str, str]]:
    return [
        (name, setting.format_value(name, value), server["reasons"].get(name, ""))
        for name, value in setting.select_effective(server["settings"])
    ]


def _matrix(document: Document, servers: list[Any], quantity: str) -> list[tuple[str, list[str]]]:
    """Row over column."""
    names = [s["name"] for s in servers]
    return [(a, [summary.format_ratio(document, quantity, a, b) for b in names]) for a in names]
