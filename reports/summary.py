"""A run as sentences and rows: the part that terminal and HTML share.

Pure functions from the document. All text is plain and may be hostile: whoever renders escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pretune.reports import numbers, setting
from pretune.reports.document import Document

_GIB = 1024**3
_MIB = 1024**2

SEVERITY_ORDER = {"critical": 0, "warning": 1, "info": 2}

RESOURCES = {
    "ram_bytes": "RAM",
    "ram": "RAM",
    "cores": "CPU",
    "cpu": "CPU",
    "gil": "GIL",
    "lock": "the application's own lock",
    "shared_lock": "a lock that all workers share",
    "slots": "slots (workers x threads)",
    "db": "database",
    "pg_connections": "Postgres connections",
    "fds": "file descriptors",
    "p95_ms": "p95",
    "error_rate": "error rate",
    "rps": "requests/s",
    "unknown": "the run cannot tell",
}


def resource(name: str) -> str:
    """The word for a budget, threshold or resource of the model."""
    return RESOURCES.get(name, numbers.line(name).replace("_", " "))


@dataclass(frozen=True)
class Check:
    """One line of predicted beside measured; ``ok`` None: cannot be said.

    What is not ``promised`` is shown beside the rest and does not decide whether it holds.
    """

    name: str
    expected: str
    measured: str
    ok: bool | None
    promised: bool = True

    @property
    def word(self) -> str:
        """``ok``, ``miss``, ``outside`` (not promised) or ``-``."""
        if self.ok is None:
            return "-"
        if self.ok:
            return "ok"
        return "miss" if self.promised else "outside"


def format_used(used: Any, budget: float) -> str:
    """``at most 1.4 of 4 GiB`` in one unit, the budget's: the end that the budget is held to."""
    factor, unit = (_GIB, "GiB") if budget >= _GIB else (_MIB, "MiB")
    value, most = numbers.middle(used), numbers.bounds(used)[1]
    shown = numbers.digits(None if most is None else most / factor)
    return f"{_at_most(value, most)}{shown} of {budget / factor:.4g} {unit}"


def _at_most(value: float | None, most: float | None) -> str:
    return "" if value == most else "at most "


def sentence(document: Document) -> str:
    """The verdict in one sentence, its word first, with the share of the routes it speaks for."""
    return "; ".join(filter(None, (_verdict(document), coverage(document))))


def coverage(document: Document) -> str:
    """The share of known routes measured, and why ``/`` was not; "" for named traffic."""
    workload = document.get("workload") or {}
    part = workload.get("coverage")
    if not part or not workload["endpoints"]:
        return ""
    texts = []
    if part["known"]:
        texts.append(f"measured {part['measured']} of {part['known']} known routes")
    if not part["listed"]:
        texts.append(
            f"{'some ' if part['known'] else ''}routes cannot be listed, pages were found by links"
        )
    if part["root"]:
        reason = numbers.line(part["root"])
        reason = f"is {reason}" if reason.startswith("a ") else reason
        way = " (give [headers] or a locustfile)" if "login" in reason else ""
        texts.append(f"/ was not among them: it {reason}{way}")
    return "; ".join(texts)


def _verdict(document: Document) -> str:
    verdict = document["verdict"]
    word = verdict.replace("_", " ")
    because = numbers.line((document.get("failure") or {}).get("message", ""))
    recommendation = document.get("recommendation")
    if verdict == "fits" and recommendation:
        return f"{word}: {_confirmed(document, recommendation)}"
    if not because and verdict == "does_not_fit":
        because = _why_not(document)
    if not because and verdict == "not_enough_data":
        because = _what_is_missing(document)
    if not because and verdict == "measurement_invalid":
        because = _what_disturbed(document)
    return f"{word}: {because}" if because else word


class Standing(StrEnum):
    """The words for what the verification showed of the answer."""

    HOLDS = "holds"
    MISSED = "does not hold"
    NOT_SHOWN = "not shown"


def standing(document: Document) -> Standing:
    """The outcome of the verification; without one, nothing."""
    verification = document.get("verification")
    if not verification:
        return Standing.NOT_SHOWN
    if verification["holds"]:
        return Standing.HOLDS
    unknown = verification.get("not_shown") and not verification.get("misses")
    return Standing.NOT_SHOWN if unknown else Standing.MISSED


def not_shown(document: Document) -> str:
    """Promises that can be called neither kept nor broken, with the reasons; "" where none is."""
    verification = document.get("verification")
    if not verification:
        return "the settings were not run"
    return "; ".join(numbers.line(reason) for reason in verification.get("not_shown", ()))


def _confirmed(document: Document, recommendation: Any) -> str:
    """The answer as far as the verification bears it out: after a miss, what was measured."""
    fleet = document.get("fleet")
    text = _carries(document, recommendation)
    if fleet and fleet["rps"] is not None:
        text = numbers.line(fleet["sentences"][0])
        text += f"; each {setting.arrangement(recommendation['settings'])}"
    match standing(document):
        case Standing.HOLDS:
            return text
        case Standing.NOT_SHOWN as word:
            return f"{word}: {not_shown(document)}; predicted: {text}"
        case Standing.MISSED as word:
            return f"{_measured(document)}, {word}: {misses(document)}{_better(document)}"


def _better(document: Document) -> str:
    """The trial that carried more than the arrangement that missed; "" where none did."""
    better = (document.get("headline") or {}).get("better")
    if not better:
        return ""
    return (
        f"; better: {setting.arrangement(better['settings'])}, which carried "
        f"{numbers.count(better['throughput_rps'])} requests/s in the "
        f"{numbers.line(better['trial'])} trial within the p95"
    )


def _measured(document: Document) -> str:
    """The verification's measured values, the prediction for its conditions beside them."""
    verification = document["verification"]
    measured, predicted = verification["measured"], verification["predicted"]
    note = numbers.line(verification.get("note", ""))
    return (
        f"{setting.arrangement(verification['settings'])} measured at "
        f"{numbers.count(measured['throughput_rps'])} requests/s "
        f"(p95 {numbers.milliseconds(numbers.middle(measured['latency_ms']['p95']))}"
        f"{f', {note}' if note else ''}); the prediction, "
        f"{numbers.count(predicted['throughput_rps'])} requests/s"
    )


def _carries(document: Document, recommendation: Any) -> str:
    predicted = recommendation["predicted"]
    settings = recommendation["settings"]
    text = (
        f"{setting.arrangement(settings)} {'carries' if settings['workers'] == 1 else 'carry'} "
        f"{numbers.bare(predicted['throughput_rps'])} requests/s "
        f"(p95 {numbers.milliseconds(numbers.middle(predicted['latency_ms']['p95']))})"
    )
    budget = document.get("budget")
    if budget:
        text += f" in {format_used(predicted['ram_bytes'], budget['ram_bytes'])}"
    return text


def _why_not(document: Document) -> str:
    failed = [c for c in (document.get("gate") or {}).get("checks", ()) if c["passed"] is False]
    if failed:
        return numbers.line(failed[0].get("message") or failed[0]["name"])
    verification = document.get("verification")
    # A broken promise to the user (SLO, connections: the last rows) before a wrong prediction.
    missed = [check for check in reversed(checks(document)) if check.word == "miss"]
    if verification and missed:
        first = missed[0]
        return (
            f"{setting.arrangement(verification['settings'])} measured {first.name} "
            f"{first.measured}, expected {first.expected}"
        )
    smallest = smallest_candidate(document)
    if smallest is not None and smallest["rejected_by"]:
        name = setting.arrangement(smallest["settings"])
        return f"even {name}: {numbers.line(smallest['rejected_by'])}"
    return ""


def _what_is_missing(document: Document) -> str:
    for trial in reversed(document["trials"]):
        measured = trial["measured"] or {}
        if measured.get("steady") is False:
            note = numbers.line(measured.get("steady_note", "")) or "no steady state"
            return f"{numbers.line(trial['name'])} trial: {note}"
    return ""


def _what_disturbed(document: Document) -> str:
    for trial in reversed(document["trials"]):
        measured = trial["measured"] or {}
        if measured.get("generator_saturated"):
            return f"the load generator was saturated in the {numbers.line(trial['name'])} trial"
        if measured.get("disturbed"):
            return f"{numbers.line(trial['name'])} trial: {numbers.line(measured['disturbed'])}"
    return ""


def smallest_candidate(document: Document) -> Any | None:
    """The candidate with the fewest slots."""
    return min(
        document["candidates"],
        key=lambda c: (c["settings"]["workers"], c["settings"]["threads"]),
        default=None,
    )


def settings_rows(document: Document) -> list[tuple[str, str, str]]:
    """(setting, value, reason) of the recommendation."""
    recommendation = document.get("recommendation")
    if not recommendation:
        return []
    reasons = recommendation["reasons"]
    return [
        (name, setting.format_value(name, value), numbers.line(reasons.get(name, "")))
        for name, value in setting.select_effective(recommendation["settings"])
    ]


# name of a row of the verification -> what a reader calls it, how it is shown
_COMPARED: dict[str, tuple[str, Callable[[Any], str]]] = {
    "throughput_rps": ("throughput", lambda x: f"{numbers.count(x)}/s"),
    "mean_ms": ("mean latency", numbers.milliseconds),
    "p50_ms": ("p50 latency", numbers.milliseconds),
    "p95_ms": ("p95 latency", numbers.milliseconds),
    "p99_ms": ("p99 latency", numbers.milliseconds),
    "pss_bytes": ("memory (PSS)", numbers.size),
    "pg_connections": ("Postgres connections", numbers.bare),
    "slo_p95_ms": ("SLO: p95", lambda x: numbers.milliseconds(numbers.middle(x))),
    "error_rate": ("SLO: error rate", numbers.percent),
    "load_users": ("load: users", numbers.bare),
    "load_rps": ("load", lambda x: f"{numbers.bare(x)}/s"),
    "ram_bytes": ("budget: RAM", numbers.size),
    "pg_connections_budget": ("budget: Postgres connections", numbers.bare),
}


# rows whose limit is what was claimed, not the most there may be
_CLAIMED = frozenset({"load_users", "load_rps"})


def checks(document: Document) -> list[Check]:
    """Predicted beside measured, as the run judged it: intervals, SLO, budgets."""
    return _checks(document.get("verification") or {})


def half_checks(document: Document) -> list[Check]:
    """The same at half of the load; empty where there is no half."""
    return _checks((document.get("verification") or {}).get("half") or {})


def half_load(document: Document) -> str:
    """``At half of the load (4 users)``, or why there is none; "" without a verification."""
    verification = document.get("verification") or {}
    half = verification.get("half")
    if half:
        load = half["load"]
        users = f"{load['users']} user{'' if load['users'] == 1 else 's'}"
        sent = users if load.get("rps") is None else f"{numbers.bare(load['rps'])} requests/s"
        return f"At half of the load ({sent}), on the same server"
    why = numbers.line(verification.get("why_no_half", ""))
    return f"Not run at half of the load: {why}" if why else ""


def _checks(level: Any) -> list[Check]:
    return [_check(row) for row in level.get("rows", ()) if row["name"] in _COMPARED]


def _check(row: Any) -> Check:
    label, show = _COMPARED[row["name"]]
    limit = row["limit"]
    exact = isinstance(limit, Mapping) or row["name"] in _CLAIMED
    expected = show(limit) if exact else f"at most {show(limit)}"
    return Check(label, expected, show(row["value"]), row["kept"], row["promised"])


def binding(document: Document) -> str:
    """The limit of the recommendation's capacity, with the model's own sentence."""
    recommendation = document.get("recommendation")
    if not recommendation:
        return ""
    why = numbers.line(recommendation["predicted"]["explanation"])
    return resource(recommendation["binding"]) + (f": {why}" if why else "")


def headroom(document: Document) -> list[tuple[str, str, float | None]]:
    """(budget, used of it, fraction left free)."""
    recommendation = document.get("recommendation")
    if not recommendation:
        return []
    return [
        (resource(name), _used(name, document), left)
        for name, left in recommendation["headroom"].items()
    ]


def _used(name: str, document: Document) -> str:
    predicted, budget = document["recommendation"]["predicted"], document.get("budget") or {}
    limit = budget.get("ram_bytes" if name == "ram" else name)
    if name in ("ram_bytes", "ram") and limit:
        return format_used(predicted["ram_bytes"], limit)
    if name in ("cores", "cpu"):
        busy = predicted["utilisation"].get("cpu")
        cores = budget.get("cores")
        if busy is not None and cores:
            return f"{numbers.digits(busy * cores)} of {numbers.digits(cores)} cores"
    if name == "pg_connections" and limit is not None:
        # of all instances together already
        return f"{predicted['pg_connections']} of {limit}"
    slo_ms = (document.get("slo") or {}).get("p95_ms")
    if name == "p95_ms" and slo_ms is not None:
        p95 = predicted["latency_ms"]["p95"]
        value, most = numbers.middle(p95), numbers.bounds(p95)[1]
        shown = numbers.milliseconds(most)
        return f"{_at_most(value, most)}{shown} of {numbers.milliseconds(slo_ms)}"
    if name == "fds" and limit:
        return f"{predicted['fds']} of {limit:,}"
    return ""


# advice -> (label, unit)
_AROUND = {
    "ram_mib": ("RAM to provide", " MiB"),
    "pool_size": ("app's pool, per worker", ""),
    "pgbouncer": ("PgBouncer", ""),
    "nofile": ("descriptors (ulimit -n)", ""),
    "stop_grace_s": ("time to stop", " s"),
    "restart_every_h": ("restart it every", " h"),
}


def deployment(document: Document) -> list[tuple[str, str, str]]:
    """(what, value, reason) of what has to be set around the server."""
    recommendation = document.get("recommendation") or {}
    rows = []
    for advice in recommendation.get("deployment") or ():
        label, unit = _AROUND.get(advice["name"], (numbers.line(advice["name"]), ""))
        value = advice["value"]
        shown = f"{value:,}{unit}" if isinstance(value, int) else numbers.line(value)
        rows.append((label, shown, numbers.line(advice["reason"])))
    return rows


def fleet(document: Document) -> list[str]:
    """The number of instances and what they need together, a sentence each."""
    fleet = document.get("fleet") or {"sentences": []}
    texts = [numbers.line(text) + "." for text in fleet["sentences"]]
    return [text[:1].upper() + text[1:] for text in texts]


def extrapolated(document: Document) -> list[str]:
    """Each step from this machine to the budget's that was not measured, as a sentence."""
    extrapolation = document.get("extrapolation") or {"parts": []}
    texts = [numbers.line(part["sentence"]) + "." for part in extrapolation["parts"]]
    if texts:
        low, high = numbers.bounds(extrapolation["cpu"])
        texts.append(
            f"Altogether a request's CPU there may be {numbers.digits(low)} to "
            f"{numbers.digits(high)} times what was measured here; every interval includes that."
        )
    return [text[:1].upper() + text[1:] for text in texts]


def misses(document: Document) -> str:
    """Broken promises and predictions of the verification; empty when it holds."""
    verification = document.get("verification") or {}
    return "; ".join(resource(miss) for miss in verification.get("misses", ()))


def findings(document: Document) -> list[Any]:
    """Worst first, otherwise as they came."""
    return sorted(document["findings"], key=lambda f: SEVERITY_ORDER.get(f["severity"], 3))


def evidence(finding: Any) -> str:
    """``database calls 31, ...`` of one finding, on a line."""
    pairs = (numbers.named(name, value) for name, value in finding["evidence"].items())
    return ", ".join(f"{label} {value}" for label, value in pairs)


def baselines(document: Document, most: int) -> tuple[list[Any], int]:
    """Rows of formulas and the number left out: those that break something first, then the
    fastest, equal settings in one row."""
    together: dict[tuple[object, ...], list[Any]] = {}
    for row in document["baselines"]:
        predicted = row["predicted"]
        # what a row shows: other memory, of preload for one, is another row
        key = (
            setting.short(row["settings"]),
            tuple(row["violates"]),
            numbers.digits(compared(predicted)),
            numbers.size(numbers.middle(predicted["ram_bytes"])),
        )
        together.setdefault(key, []).append(row)
    rows = sorted(
        together.values(),
        key=lambda alike: (
            not alike[0]["violates"],
            -(compared(alike[0]["predicted"]) or 0.0),
        ),
    )
    shown = [{**alike[0], "name": "; ".join(row["name"] for row in alike)} for alike in rows[:most]]
    return shown, sum(len(alike) for alike in rows[most:])


def compared(predicted: Any) -> float | None:
    """Requests/s by which arrangements are compared: where p95 meets the SLO."""
    expected = numbers.middle(predicted.get("expected_rps"))
    return numbers.middle(predicted["throughput_rps"]) if expected is None else expected


def at_load(document: Document) -> str:
    """Say at which load the rows of a table of arrangements stand."""
    slo_ms = (document.get("slo") or {}).get("p95_ms")
    limit = "the SLO" if slo_ms is None else numbers.milliseconds(slo_ms)
    return (
        f"requests/s: predicted for each at the load where its own p95 reaches {limit}; less is "
        "promised, so that the upper end of p95 keeps it"
    )


def violations(baseline: Any) -> str:
    """Limits that a baseline breaks, or "" when it breaks none."""
    return ", ".join(resource(name) for name in baseline["violates"])


def assumption(document: Document) -> str:
    """``equal shares of 7 routes``; empty when the user said what the traffic is."""
    return numbers.line((document.get("workload") or {}).get("assumption", ""))
