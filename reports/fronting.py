"""The reverse proxy as sentences and rows: what it costs, what it gives, what its file says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pretune.reports import numbers, setting
from pretune.reports.document import Document


def title(document: Document) -> str:
    """``nginx 1.22.1 in front``; "" without a proxy."""
    front = document.get("front")
    return f"{label(front)} in front" if front else ""


def label(front: Any) -> str:
    return numbers.line(f"{front['name']} {front['version']}".strip())


def sentences(document: Document) -> list[str]:
    front = document.get("front")
    if not front:
        return []
    return [*_cost(document, front["cost"]), *_config(front["told"])]


def _cost(document: Document, cost: Any) -> list[str]:
    if not cost:
        return ["What it costs could not be measured: too few requests went through it."]
    texts = [f"It takes {numbers.seconds(cost['cpu_s'])} of CPU per request and "
            f"{numbers.size(cost['pss_bytes'])} of memory, both counted in the budget"]  # fmt: skip
    rps = numbers.middle(((document.get("recommendation") or {}).get("predicted") or {}).get(
        "throughput_rps"
    ))  # fmt: skip
    cpu = numbers.middle(cost["cpu_s"])
    if rps and cpu:
        texts[0] += f": {numbers.percent(rps * cpu)} of a core at {numbers.digits(rps)} requests/s"
    texts[0] += "."
    low, high = numbers.bounds(cost["workers_change_s"])
    change = numbers.middle(cost["workers_change_s"])
    if change is not None and low is not None and high is not None:
        if low <= 0 <= high:
            text = "Behind it the workers' own CPU per request is the same, as far as can be told"
        else:
            text = (
                f"Behind it the workers' own CPU per request is {'more' if change > 0 else 'less'}"
            )
        texts.append(f"{text}: {_signed(change)}, {_signed(low)} to {_signed(high)}.")
    return texts


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{numbers.seconds(abs(seconds))}"


def _config(config: Any) -> list[str]:
    if not config:
        return []
    if config["idle"]:
        kept = (
            f"keeps up to {config['idle']} idle connections to the server for "
            f"{numbers.digits(config['idle_s'])} s, which is shorter than the server keeps them"
        )
    else:
        kept = "opens a new connection to the server for each request, because the server closes it"
    many = config["worker_processes"]
    texts = [
        f"It has {many} process{'es' if many > 1 else ''}, {kept}, and waits "
        f"{numbers.digits(config['read_s'])} s for an answer, longer than the server's own timeout."
    ]
    for static in config["statics"]:
        where = f"{numbers.line(static['url'])} from {numbers.line(static['directory'])}"
        texts.append(f"It serves {where} itself.")
    return texts


# question -> what was done; quantity -> what was measured of it, and how it is shown
_QUESTIONS = {
    "static": "a file of {file}",
    "slow_upload": "{slow} slow uploads of {slow_s} s",
    "slow_download": "{slow} slow readers of {slow_s} s",
    "large_upload": "{slow} uploads of {upload}",
    "keepalive": "connections to the server: new, kept",
}
_QUANTITIES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "cpu_s": ("CPU per request", numbers.seconds),
    "p95_s": ("p95", numbers.seconds),
    "others_s": ("others wait", numbers.seconds),
    "held_s": ("time in the app", numbers.seconds),
    "growth_bytes": ("additional memory", numbers.size),
}
_WORDS = {True: "better", False: "worse", None: "no difference seen"}


def checks(document: Document) -> list[tuple[str, str, str, str, str]]:
    """(what was done, what was measured, without, behind, in a word)."""
    checks = (document.get("front") or {}).get("checks")
    if not checks:
        return []
    words = {
        "file": numbers.size(checks["file_bytes"]),
        "upload": numbers.size(checks["upload_bytes"]),
        "slow": checks["slow"],
        "slow_s": f"{checks['slow_s']:g}",
    }
    rows = []
    for row in checks["rows"]:
        done = _QUESTIONS[row["question"]].format(**words)
        if not row["quantity"]:
            rows.append((done, "", "", "", f"not enough data: {numbers.line(row['note'])}"))
            continue
        measured, show = _QUANTITIES[row["quantity"]]
        both = [row["without"], row["behind"]]
        bounded = all(None not in numbers.bounds(each) for each in both)
        word = _WORDS[row["better"]] if bounded else "not enough data"
        rows.append((done, measured, show(both[0]), show(both[1]), word))
    return rows


def describe_checks(document: Document) -> str:
    """The conditions of the checks, as a sentence."""
    checks = (document.get("front") or {}).get("checks")
    if not checks:
        return ""
    return (
        f"The server ran with {setting.arrangement(checks['settings'])} and an application that "
        "only reads and sends, because uploads to yours could change its data. Both ways took "
        "turns. Connections were compared behind the proxy: a new one per request, and kept ones."
    )
