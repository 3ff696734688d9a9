"""The charts of the HTML report, drawn once by Altair and vl-convert into static SVG.

Colours are roles (``INK``, ``SERIES``); the stylesheet of the report replaces them, so the same
drawing serves light, dark and print. Drawing takes a second, hence the lazy imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pretune.reports import numbers, summary, svg
from pretune.reports.document import Document

INK, MUTED, GRID, SURFACE = "#101112", "#606162", "#d8d9da", "#fefdfc"
LIMIT, GOOD, BAD = "#c0272d", "#1a7f4b", "#c0272e"
SERIES = ("#9cc3e6", "#5f9fd3", "#2f7cbd", "#1b5a94", "#0d3b66", "#071f3a")  # few to many threads
PARTS = {"CPU": "#2f6fb0", "database": "#d98324", "other waiting": "#8a8f98"}

WIDTH = 640
_GIB = 1024**3
_MIB = 1024**2
MOST_ENDPOINTS = 20


@dataclass(frozen=True)
class Chart:
    """``svg`` is markup, already safe; ``problem`` says why there is none."""

    name: str
    title: str
    caption: str
    svg: str
    problem: str = ""


def draw(document: Document) -> dict[str, Chart]:
    """All charts the document has data for, by name."""
    charts = (make(document) for make in (_compared, _capacity, _memory, _demand, _series))
    return {chart.name: chart for chart in charts if chart}


def _finished(name: str, title: str, caption: str, build: Callable[[Any], Any]) -> Chart:
    """Draws it. A report without a picture is better than no report: errors become a sentence."""
    try:
        import altair as alt
        import vl_convert

        # Unvalidated: that takes as long as drawing, and the tests draw every kind.
        specification = build(alt).configure(**_theme()).to_dict(validate=False)
        drawn = vl_convert.vegalite_to_svg(specification, vl_version=_version(alt, vl_convert))
        safe = svg.sanitised(drawn, prefix=name, label=f"{title}. {caption}")
        return Chart(name, title, caption, safe)
    except Exception as error:
        first = numbers.line(str(error).partition("\n")[0])[:200]
        return Chart(name, title, caption, "", f"{type(error).__name__}: {first}")


def _version(alt: Any, vl_convert: Any) -> str:
    """The newest Vega-Lite both sides know, at most Altair's."""
    wanted = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    versions: list[str] = vl_convert.get_vegalite_versions()
    return wanted if wanted in versions else versions[-1]


def _theme() -> dict[str, Any]:
    axis = {
        "labelColor": MUTED,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "labelFontSize": 13,
        "titleFontSize": 13,
        "labelLimit": 190,
        "titlePadding": 8,
    }
    return {
        "background": "transparent",
        "padding": {"left": 24, "right": 12, "top": 4, "bottom": 4},
        "view": {"stroke": None},
        "axis": axis,
        "legend": {
            "labelColor": INK,
            "titleColor": MUTED,
            "titleFontWeight": "normal",
            "labelFontSize": 13,
            "titleFontSize": 13,
            "symbolOpacity": 1,
            "orient": "top",
        },
    }


def _values(alt: Any, rows: Iterable[dict[str, Any]]) -> Any:
    return alt.Data(values=list(rows))


# ------------------------------------------------------------------ predicted beside measured

_COMPARED: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("throughput", lambda x: x["throughput_rps"]),
    ("mean latency", lambda x: (x["latency_ms"] or {}).get("mean")),
    ("p50 latency", lambda x: (x["latency_ms"] or {}).get("p50")),
    ("p95 latency", lambda x: (x["latency_ms"] or {}).get("p95")),
    ("p99 latency", lambda x: (x["latency_ms"] or {}).get("p99")),
    ("memory (PSS)", lambda x: x["pss_bytes"]),
)


def _compared(document: Document) -> Chart | None:
    verification = document.get("verification")
    if not verification:
        return None
    rows: list[dict[str, Any]] = []
    for name, part in _COMPARED:
        expected = numbers.middle(part(verification["predicted"]))
        if not expected:
            continue
        for kind in ("predicted", "measured"):
            value = numbers.middle(part(verification[kind]))
            low, high = numbers.bounds(part(verification[kind]))
            if value is None:
                continue
            rows.append(
                {
                    "metric": name,
                    "kind": kind,
                    "value": 100 * value / expected,
                    "low": 100 * (value if low is None else low) / expected,
                    "high": 100 * (value if high is None else high) / expected,
                }
            )
    if not rows:
        return None
    order = [name for name, _ in _COMPARED]

    def build(alt: Any) -> Any:
        y = alt.Y("metric:N", sort=order, title=None)
        offset = alt.YOffset("kind:N", sort=["predicted", "measured"])
        x = alt.X(
            "low:Q",
            title="% of the predicted value",
            scale=alt.Scale(zero=False),
            axis=alt.Axis(tickCount=7),
        )
        colour = alt.Color(
            "kind:N",
            title=None,
            sort=["predicted", "measured"],
            scale=alt.Scale(domain=["predicted", "measured"], range=[SERIES[1], PARTS["database"]]),
        )
        base = alt.Chart(_values(alt, rows)).encode(y=y, yOffset=offset, color=colour)
        line = alt.Chart(_values(alt, [{"x": 100}])).mark_rule(color=MUTED, strokeDash=[3, 3])
        return alt.layer(
            line.encode(x="x:Q"),
            base.mark_rule(strokeWidth=4, opacity=0.5, strokeCap="round").encode(x=x, x2="high:Q"),
            base.mark_circle(size=70, opacity=1).encode(x="value:Q"),
        ).properties(width=WIDTH - 100, height=alt.Step(17))

    return _finished(
        "compared",
        "Predicted beside measured",
        "Dots are values, bars their 95% intervals, both relative to the predicted value.",
        build,
    )


# ------------------------------------------------------------------------ across the candidates


def grid(document: Document) -> list[dict[str, Any]]:
    """One row a candidate of the recommendation's class (or the commonest one)."""
    candidates = document["candidates"]
    recommendation = document.get("recommendation")
    classes = [c["settings"]["worker_class"] for c in candidates]
    if not classes:
        return []
    wanted = (
        recommendation["settings"]["worker_class"]
        if recommendation
        else max(classes, key=classes.count)
    )
    chosen = recommendation["settings"] if recommendation else {}
    rows = []
    for candidate in candidates:
        settings, predicted = candidate["settings"], candidate["predicted"]
        rps, ram = _compared_interval(predicted), predicted["ram_bytes"]
        if settings["worker_class"] != wanted or numbers.middle(rps) is None:
            continue
        low, high = numbers.bounds(rps)
        rows.append(
            {
                "workers": settings["workers"],
                "threads": settings["threads"],
                "rps": numbers.middle(rps),
                "low": low,
                "high": high,
                "ram": numbers.middle(ram),
                "ram_high": numbers.bounds(ram)[1],
                "chosen": all(settings[k] == chosen.get(k) for k in ("workers", "threads")),
            }
        )
    return _few_lines(rows, chosen.get("threads"))


def _compared_interval(predicted: Any) -> Any:
    """The rate by which arrangements are compared, as unsure as the one that is promised."""
    value, rps = summary.compared(predicted), predicted["throughput_rps"]
    of = numbers.middle(rps)
    if value is None or not of:
        return None
    low, high = (None if end is None else end * value / of for end in numbers.bounds(rps))
    return {"value": value, "low": low, "high": high}


def _few_lines(rows: list[dict[str, Any]], chosen: int | None) -> list[dict[str, Any]]:
    """At most as many thread counts as there are colours, the chosen one among them."""
    counts = sorted({row["threads"] for row in rows})
    most = len(SERIES)
    if len(counts) > most:
        step = (len(counts) - 1) / (most - 1)
        kept = {counts[round(i * step)] for i in range(most)}
        if chosen in counts and chosen not in kept:
            kept.discard(min(kept - {counts[0]}, key=lambda n: abs(n - chosen)))
            kept.add(chosen)
        rows = [row for row in rows if row["threads"] in kept]
    return rows


def _thread_colour(alt: Any, rows: list[dict[str, Any]]) -> Any:
    counts = sorted({row["threads"] for row in rows})
    step = (len(SERIES) - 1) / max(len(counts) - 1, 1)
    colours = (
        [SERIES[round(i * step)] for i in range(len(counts))] if len(counts) > 1 else [SERIES[2]]
    )
    return alt.Color(
        "threads:O", title="threads per worker", scale=alt.Scale(domain=counts, range=colours)
    )


def _workers_axis(alt: Any, rows: list[dict[str, Any]]) -> Any:
    """Logarithmic: what is tried lies close together near the answer and far apart beyond it."""
    ticks = sorted({row["workers"] for row in rows})
    return alt.X(
        "workers:Q",
        title="workers",
        axis=alt.Axis(values=ticks, format="d", grid=False, labelOverlap=True),
        scale=alt.Scale(
            type="log", base=2, domain=[min(ticks), max(ticks)], nice=False, padding=12
        ),
    )


def _ring(alt: Any, rows: list[dict[str, Any]], field: str) -> Any:
    """Around the recommendation, with its name beside."""
    chosen = [
        {**row, "name": "recommended: {workers} x {threads}".format(**row)}
        for row in rows
        if row["chosen"]
    ]
    base = alt.Chart(_values(alt, chosen)).encode(x="workers:Q", y=f"{field}:Q")
    return alt.layer(
        base.mark_point(size=190, color=PARTS["database"], strokeWidth=2.5, opacity=1),
        base.mark_text(dx=14, dy=-14, color=INK, fontSize=13, align="left").encode(text="name:N"),
    )


def _capacity(document: Document) -> Chart | None:
    rows = grid(document)
    if not rows:
        return None
    wanted = (document.get("slo") or {}).get("rps")

    def build(alt: Any) -> Any:
        base = alt.Chart(_values(alt, rows)).encode(
            x=_workers_axis(alt, rows), color=_thread_colour(alt, rows)
        )
        layers = [
            base.mark_rule(opacity=0.45, strokeWidth=2).encode(y="low:Q", y2="high:Q"),
            base.mark_line(strokeWidth=2).encode(y=alt.Y("rps:Q", title="requests/s")),
            base.mark_circle(size=36, opacity=1).encode(y="rps:Q"),
            _ring(alt, rows, "rps"),
        ]
        if wanted:
            layers.append(_limit(alt, wanted, f"asked for: {numbers.digits(wanted)}/s", rows))
        return alt.layer(*layers).properties(width=WIDTH - 50, height=270)

    return _finished(
        "capacity",
        "Capacity across the candidates",
        "Requests per second that keep the SLO, predicted, with 95% intervals.",
        build,
    )


def _limit(alt: Any, value: float, name: str, rows: list[dict[str, Any]]) -> Any:
    data = _values(alt, [{"y": value, "name": name, "x": min(row["workers"] for row in rows)}])
    base = alt.Chart(data).encode(y="y:Q")
    return alt.layer(
        base.mark_rule(color=LIMIT, strokeWidth=1.5, strokeDash=[6, 3]),
        base.mark_text(color=LIMIT, align="left", dy=-7, fontSize=13).encode(
            x="x:Q", text="name:N"
        ),
    )


def _memory(document: Document) -> Chart | None:
    rows = [row for row in grid(document) if row["ram"] is not None]
    budget = (document.get("budget") or {}).get("ram_bytes")
    if not rows:
        return None
    largest = max([row["ram"] for row in rows] + [budget or 0])
    factor, unit = (_GIB, "GiB") if largest >= _GIB else (_MIB, "MiB")
    scaled = [{**row, "ram": row["ram"] / factor} for row in rows]

    def build(alt: Any) -> Any:
        base = alt.Chart(_values(alt, scaled)).encode(
            x=_workers_axis(alt, scaled), color=_thread_colour(alt, scaled)
        )
        y = alt.Y("ram:Q", title=f"RAM, {unit}", scale=alt.Scale(zero=True))
        layers = [
            base.mark_line(strokeWidth=2).encode(y=y),
            base.mark_circle(size=36, opacity=1).encode(y="ram:Q"),
            _ring(alt, scaled, "ram"),
        ]
        if budget:
            name = f"budget: {numbers.digits(budget / factor)} {unit}"
            layers.append(_limit(alt, budget / factor, name, scaled))
        return alt.layer(*layers).properties(width=WIDTH - 50, height=230)

    return _finished(
        "memory",
        "Memory of the candidates",
        "RAM that must be there: peak PSS, one overlapping worker, growth and the reserve.",
        build,
    )


# -------------------------------------------------------------------------- demand and workers


def _demand(document: Document) -> Chart | None:
    endpoints = (document.get("demand") or {}).get("by_endpoint") or []
    rows: list[dict[str, Any]] = []
    heaviest = sorted(endpoints, key=_cost, reverse=True)[:MOST_ENDPOINTS]
    for endpoint in heaviest:
        for i, (part, field) in enumerate(zip(PARTS, ("cpu_s", "db_s", "wait_s"), strict=True)):
            value = numbers.middle(endpoint[field])
            name = numbers.line(endpoint["name"])
            rows.append({"name": name, "part": part, "order": i, "ms": max(value or 0, 0) * 1e3})
    if not rows:
        return None
    order = [numbers.line(endpoint["name"]) for endpoint in heaviest]

    def build(alt: Any) -> Any:
        colour = alt.Color(
            "part:N", title=None, scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values()))
        )
        return (
            alt.Chart(_values(alt, rows))
            .mark_bar()
            .encode(
                y=alt.Y("name:N", sort=order, title=None),
                x=alt.X("ms:Q", title="ms per request", stack=True, axis=alt.Axis(tickCount=6)),
                color=colour,
                order="order:Q",
            )
            .properties(width=WIDTH - 150, height=alt.Step(24))
        )

    more = len(endpoints) - len(heaviest)
    rest = f" The {more} cheapest endpoints are only in the table." if more else ""
    return _finished(
        "demand",
        "What one request costs, by endpoint",
        f"Seconds of CPU, of the database and of other waiting, without queueing.{rest}",
        build,
    )


def _cost(endpoint: Any) -> float:
    return sum(numbers.middle(endpoint[field]) or 0 for field in ("cpu_s", "db_s", "wait_s"))


def _series(document: Document) -> Chart | None:
    rows = []
    for i, series in enumerate((document.get("series") or {}).get("memory") or ()):
        label = f"{numbers.line(series.get('trial', ''))} worker {i + 1}".strip()
        for served, private in zip(series["requests"], series["private_bytes"], strict=False):
            rows.append({"worker": label, "requests": served, "mib": private / _MIB})
    if not rows:
        return None
    names = list(dict.fromkeys(row["worker"] for row in rows))[: len(SERIES)]
    rows = [row for row in rows if row["worker"] in names]
    colours = [SERIES[1], SERIES[4], SERIES[2], SERIES[5], SERIES[0], SERIES[3]][: len(names)]

    def build(alt: Any) -> Any:
        return (
            alt.Chart(_values(alt, rows))
            .mark_line(strokeWidth=1.8)
            .encode(
                x=alt.X("requests:Q", title="requests served by the worker", axis=_plain_axis(alt)),
                y=alt.Y("mib:Q", title="private memory, MiB", scale=alt.Scale(zero=False)),
                color=alt.Color(
                    "worker:N", title=None, scale=alt.Scale(domain=names, range=colours)
                ),
            )
            .properties(width=WIDTH - 50, height=200)
        )

    return _finished(
        "series",
        "Memory of a worker over the requests it served",
        "Warm-up, plateau and leak look different here; the leak class is in the table.",
        build,
    )


def _plain_axis(alt: Any) -> Any:
    return alt.Axis(grid=False, format=",d")
