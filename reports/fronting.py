"""What stands in front of the server, as sentences: what it costs and what its file says."""

from __future__ import annotations

from typing import Any

from pretune.reports import numbers
from pretune.reports.document import Document


def title(document: Document) -> str:
    """``nginx 1.22.1 in front``; "" where nothing stands there."""
    found = document.get("front")
    return f"{label(found)} in front" if found else ""


def label(found: Any) -> str:
    return numbers.line(f"{found['name']} {found['version']}".strip())


def sentences(document: Document) -> list[str]:
    found = document.get("front")
    if not found:
        return []
    return [*_cost(document, found["cost"]), *_told(found["told"])]


def _cost(document: Document, cost: Any) -> list[str]:
    if not cost:
        return ["What it costs could not be measured: too few requests went through it."]
    said = [f"It takes {numbers.seconds(cost['cpu_s'])} of CPU per request and "
            f"{numbers.size(cost['pss_bytes'])} of memory, both within the budget"]  # fmt: skip
    rps = numbers.middle(((document.get("recommendation") or {}).get("predicted") or {}).get(
        "throughput_rps"
    ))  # fmt: skip
    cpu = numbers.middle(cost["cpu_s"])
    if rps and cpu:
        said[0] += f": {numbers.percent(rps * cpu)} of a core at {numbers.digits(rps)} requests/s"
    said[0] += "."
    low, high = numbers.bounds(cost["workers_change_s"])
    change = numbers.middle(cost["workers_change_s"])
    if change is not None and low is not None and high is not None:
        if low <= 0 <= high:
            text = "The workers' own CPU per request is the same behind it, within what was seen"
        else:
            text = f"The workers' own CPU per request is {'more' if change > 0 else 'less'}"
        said.append(f"{text}: {_signed(change)}, {_signed(low)} to {_signed(high)}.")
    return said


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{numbers.seconds(abs(seconds))}"


def _told(told: Any) -> list[str]:
    if not told:
        return []
    if told["idle"]:
        kept = (
            f"keeps {told['idle']} connections to the server, each for "
            f"{numbers.digits(told['idle_s'])} s without use, which is less than the server does"
        )
    else:
        kept = "opens a connection to the server for each request, because the server closes each"
    many = told["worker_processes"]
    said = [
        f"It has {many} process{'es' if many > 1 else ''}, {kept}, and waits "
        f"{numbers.digits(told['read_s'])} s for an answer, longer than the server's own timeout."
    ]
    for static in told["statics"]:
        where = f"{numbers.line(static['url'])} from {numbers.line(static['directory'])}"
        said.append(f"It serves {where} itself.")
    return said
