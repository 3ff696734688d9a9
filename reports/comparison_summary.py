"""A comparison as sentences and rows: the part that terminal, HTML and docs/COMPARE.md share.

Pure functions from the document (comparison.json). Text is plain and may be hostile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pretune.reports import numbers, setting
from pretune.reports.document import Document

BEST, SAME = "best", "no difference"
_WORDS = {"p95_s": "p95", "pss_bytes": "memory", "cpu_s_per_request": "CPU per request"}
# The lower the better, under the load that is the same for all.
ALIKE = ("p95_s", "pss_bytes", "cpu_s_per_request")
_SHOW = {"p95_s": numbers.seconds, "pss_bytes": numbers.size, "cpu_s_per_request": numbers.seconds}


@dataclass(frozen=True)
class Cell:
    """``alike``: no difference from the lowest of its column."""

    text: str
    alike: bool = False


def measured(document: Document) -> list[Mapping[str, Any]]:
    """Servers that were measured, the highest capacity first; those without one last."""
    servers = [s for s in document["servers"] if any(s["rounds"])]
    return sorted(servers, key=lambda s: -(numbers.middle(_capacity(s)) or 0.0))


def _capacity(server: Mapping[str, Any]) -> Any:
    return server["figures"]["capacity_rps"]


def _name(server: Mapping[str, Any]) -> str:
    return numbers.line(server["name"])


def left_out(document: Document) -> list[tuple[str, str]]:
    """Server and reason, of those that were not measured or dropped out."""
    fell = [(s["name"], s["failure"]) for s in document["servers"] if s["failure"]]
    return fell + [(a["name"], a["reason"]) for a in document["absent"]]


def sentence(document: Document) -> str:
    """The verdict in one sentence, its word first."""
    word = document["verdict"].replace("_", " ")
    because = numbers.line((document.get("failure") or {}).get("message", ""))
    rows = measured(document)
    if document["verdict"] != "fits" or not rows:
        return f"{word}: {because}" if because else word
    best = rows[0]
    least = "at least " if best["at_least"] else ""
    text = (
        f"{word}: {numbers.line(best['label'])} carries the most within the SLO, {least}"
        f"{numbers.count(_capacity(best))} requests/s"
    )
    if len(rows) == 1:
        return text
    same = [_name(s) for s in rows[1:] if compare_with_best(document, s).startswith(SAME)]
    unknown = any(compare_with_best(document, s).startswith("unknown") for s in rows[1:])
    if same:
        text += f"; no difference from {' and '.join(same)}"
    elif not unknown:
        next_ = rows[1]
        if numbers.middle(_capacity(next_)) is None:
            return f"{text}; {_name(next_)} breaks it with one user"
        text += f", {_times(_ratio(document, 'capacity_rps', best, next_))} {_name(next_)}'s"
    return text


def compare_with_best(document: Document, server: Mapping[str, Any]) -> str:
    """Its capacity relative to the best one's, in words."""
    best = measured(document)[0]
    if server is best and numbers.middle(_capacity(server)) is not None:
        return BEST
    if numbers.middle(_capacity(server)) is None:
        fewest = fewest_users(server)
        if fewest is None:
            return "unknown: too few answers"
        return f"breaks the SLO with {'one user' if fewest == 1 else f'{fewest} users'}"
    pair = _pair(document, "capacity_rps", server["name"], best["name"])
    if pair is None:
        return "unknown: no load broke the SLO"
    ratio = _oriented(pair, server["name"])
    if pair["differs"] is None:
        return "unknown: too few rounds"
    if not pair["differs"]:
        return f"{SAME} ({_share(ratio['low'])}-{_share(ratio['high'])})"
    return f"{_share(ratio['value'])} ({_share(ratio['low'])}-{_share(ratio['high'])})"


def fewest_users(server: Mapping[str, Any]) -> int | None:
    """Users of the smallest load that gave a p95; None where none did."""
    steps = [step for turn in server["rounds"] if turn for step in turn["steps"]]
    return min((s["users"] for s in steps if s["p95_s"] is not None), default=None)


def alike(document: Document, server: Mapping[str, Any], quantity: str) -> Cell:
    """Its figure under the load that is the same for all."""
    figure = server["figures"][quantity]
    rows = measured(document)
    compared = [s for s in rows if numbers.middle(s["figures"][quantity]) is not None]
    shown = _SHOW[quantity](figure)
    if not compared or server not in compared:
        return Cell(shown)
    lowest = min(compared, key=lambda s: s["figures"][quantity]["value"])
    if lowest is server:
        return Cell(shown)
    pair = _pair(document, quantity, server["name"], lowest["name"])
    return Cell(shown, pair is not None and pair["differs"] is False)


def capacity_text(server: Mapping[str, Any]) -> str:
    text = numbers.count(_capacity(server))
    if numbers.middle(_capacity(server)) is None:
        return numbers.UNKNOWN if fewest_users(server) is None else "none"
    return f"at least {text}" if server["at_least"] else text


def capacities(document: Document) -> list[tuple[str, ...]]:
    """Server, settings, requests/s within the SLO, against the best."""
    return [
        (
            numbers.line(s["label"]),
            setting.short(s["settings"]),
            capacity_text(s),
            compare_with_best(document, s),
        )
        for s in measured(document)
    ]


def figures(document: Document) -> list[tuple[str, list[Cell], str]]:
    """Server, the cells of ALIKE, Postgres connections."""
    with_database = document["database"] is not None
    return [
        (
            _name(s),
            [alike(document, s, quantity) for quantity in ALIKE],
            numbers.count(s["pg_connections"]) if with_database else "-",
        )
        for s in measured(document)
    ]


LIFE = ("reload", "recycling", "term")


def lifecycles(document: Document) -> list[tuple[str, list[str], str]]:
    """Server, what became of requests at reload, recycling and TERM, and an app without boot."""
    return [
        (
            _name(s),
            [disruption(s["lifecycle"][what], what) for what in LIFE],
            boot(s["lifecycle"]["boot"]),
        )
        for s in measured(document)
    ]


def disruption(check: Mapping[str, Any] | None, what: str) -> str:
    """``0 of 812 lost in 1.2 s``, with what was lost and why it was not tried."""
    if check is None:
        return "not tried"
    note = numbers.line(check["note"])
    if not check["tried"]:
        return note
    text = f"{check['lost']} of {check['requests']:,} lost"
    if check["lost"]:
        kinds = ", ".join(f"{numbers.line(kind)} {n}" for kind, n in check["kinds"].items())
        text += f" ({kinds})"
    if check["kept_closed"]:
        text += f", {check['kept_closed']} kept connections closed unanswered"
    if what == "recycling":
        text += f"; {check['events']} workers replaced"
    elif check["took_s"] is not None:
        text += f"; {numbers.seconds(check['took_s'])}"
    elif not note:
        text += "; not done in time"
    slow = check["p95_s"]
    if slow is not None:
        text += f", p95 {numbers.seconds(slow)}"
    elif check["slowest_s"] is not None:
        text += f", slowest {numbers.seconds(check['slowest_s'])}"
    return f"{text}; {note}" if note else text


def boot(failure: Mapping[str, Any] | None) -> str:
    """``noticed`` when whoever starts the server learns that the app does not boot, and how."""
    if failure is None:
        return "not tried"
    reason = "says why" if failure["said"] else "does not say why"
    times = "" if failure["tries"] == 1 else f" after {failure['tries']} tries"
    if failure["exit_code"] is not None:
        noticed = "noticed" if failure["seen"] else "unnoticed"
        took = numbers.seconds(failure["took_s"])
        return f"{noticed}: exits with {failure['exit_code']}{times} in {took}, {reason}"
    meanwhile = {
        "": "nobody listens",
        "no answer": "clients get no answer",
    }.get(failure["answer"], f"clients get {numbers.line(failure['answer'])}")
    tries = f"{failure['tries']} tries" if failure["tries"] != 1 else "one try"
    return f"unnoticed: keeps running, {tries}, {meanwhile}, {reason}"


# quantity at the alike users, its name among the errors, how it is shown
_SAID = (
    ("throughput_rps", "throughput_rps_alike", numbers.count),
    ("p95_s", "p95_s_alike", numbers.seconds),
    ("pss_bytes", "pss_bytes_alike", numbers.size),
)


def predictions(document: Document) -> list[tuple[str, str, str, str, str]]:
    """Server, quantity, predicted, measured, error: under the load that is the same for all."""
    rows = []
    for server in measured(document):
        predicted = server["predicted_alike"]
        for quantity, error, show in _SAID if predicted else ():
            off = server["errors"].get(error) or {}
            rows.append(
                (
                    _name(server),
                    {"throughput_rps": "requests/s"}.get(quantity, _WORDS.get(quantity, quantity)),
                    show(predicted[quantity]),
                    show(server["figures"][quantity]),
                    signed(off.get("error_fraction")),
                )
            )
    return rows


def costs(document: Document) -> list[tuple[str, str, str, str]]:
    """Server, CPU per request in the cost trial, against the embedded one's, its busiest worker."""
    by_server = {s["name"]: s["cost"] for s in document["servers"] if s["cost"]}
    base = by_server.get("embedded") or document.get("embedded_cost")
    rows = []
    for server in measured(document):
        cost = server["cost"]
        if cost is None:
            continue
        extra = "-"
        if base is not None and server["name"] != "embedded":
            extra = _signed_seconds(cost["cpu_s"]["value"] - base["cpu_s"]["value"])
        discipline = server["discipline"] or {}
        share = discipline.get("busiest_worker_share")
        workers = discipline.get("workers", 1)
        busy = "-" if workers == 1 or share is None else f"{numbers.percent(share)}, 1 of {workers}"
        rows.append((_name(server), numbers.seconds(cost["cpu_s"]), extra, busy))
    return rows


def signed(fraction: float | None) -> str:
    """``+3.1%``."""
    return numbers.UNKNOWN if fraction is None else f"{fraction:+.1%}"


def _signed_seconds(s: float) -> str:
    return f"{'-' if s < 0 else '+'}{numbers.seconds(abs(s))}"


def setup(document: Document) -> str:
    """The conditions of the comparison, in one sentence."""
    slo, cores = document["slo"], document["server_cores"]
    plural = "" if cores == 1 else "s"
    said = f"{document['rounds']} rounds on {numbers.digits(cores)} core{plural}, each server at "
    said += "the settings that are best for it there."
    if not slo:
        return said
    p95 = numbers.milliseconds(slo["p95_ms"]) if slo["p95_ms"] else numbers.UNKNOWN
    source = f" ({numbers.line(slo['source'])})" if slo["source"] else ""
    rate = numbers.percent(slo["error_rate"])
    return f"SLO: p95 within {p95}{source}, at most {rate} errors. {said}"


def format_ratio(document: Document, quantity: str, first: str, second: str) -> str:
    """``0.76 (0.71-0.82)``, with = where there is no difference; "" of a server with itself."""
    pair = _pair(document, quantity, first, second)
    if first == second:
        return ""
    if pair is None or numbers.middle(pair["ratio"]) is None:
        return numbers.UNKNOWN
    ratio = _oriented(pair, first)
    ends = f"{_share(ratio['low'])}-{_share(ratio['high'])}"
    return f"{_share(ratio['value'])} ({ends}){' =' if pair['differs'] is False else ''}"


def _pair(document: Document, quantity: str, a: str, b: str) -> Mapping[str, Any] | None:
    for pair in document["pairs"]:
        if pair["quantity"] == quantity and {pair["first"], pair["second"]} == {a, b}:
            found: Mapping[str, Any] = pair
            return found
    return None


def _oriented(pair: Mapping[str, Any], first: str) -> dict[str, float | None]:
    """The ratio with ``first`` above the line."""
    ratio = pair["ratio"]
    if pair["first"] == first:
        return dict(ratio)

    def turned(x: float | None) -> float | None:
        return None if not x else 1 / x

    low, high = turned(ratio["high"]), turned(ratio["low"])
    return {"value": turned(ratio["value"]), "low": low, "high": high}


def _ratio(document: Document, quantity: str, a: Any, b: Any) -> dict[str, float | None]:
    pair = _pair(document, quantity, a["name"], b["name"])
    return {"value": None} if pair is None else _oriented(pair, a["name"])


def _times(ratio: Mapping[str, float | None]) -> str:
    value = ratio["value"]
    return "unknown times" if value is None else f"{value:.2f} times"


def _share(x: float | None) -> str:
    return "?" if x is None or not math.isfinite(x) else f"{x:.2f}"
