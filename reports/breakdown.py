"""The memory of a booted worker and the time of a request by where they go: rows and sentences.

Pure functions from the document. All text is plain and may be hostile: whoever renders escapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pretune.reports import numbers
from pretune.reports.document import Document

# The standard library and packages below this part of a worker are shown as one row each.
_SMALL_PACKAGE = 0.01


def boot_memory(document: Document, most: int) -> list[tuple[str, float, float, float, float]]:
    """Memory of a booted worker by package, the largest first, the small ones in one row: name, own
    RSS, own private memory, RSS with what it imported (bytes), own seconds of import.
    """
    weighed = document.get("boot_memory")
    if not weighed:
        return []
    whole = max(weighed["process"]["rss_bytes"], 1)
    shown: list[Any] = []
    small: list[Any] = []
    standard: list[Any] = []
    for row in weighed["packages"]:
        if row["standard_library"]:
            standard.append(row)
        elif len(shown) < most and row["rss_bytes"] >= _SMALL_PACKAGE * whole:
            shown.append(row)
        else:
            small.append(row)
    rows = [
        (numbers.line(row["package"]), row["rss_bytes"], row["anon_bytes"],
         row.get("whole_rss_bytes", row["rss_bytes"]), row["seconds"])
        for row in shown
    ]  # fmt: skip
    together = (
        ("the standard library", standard),
        (f"{len(small)} smaller packages", small),
        ("outside of imports", [weighed["elsewhere"]]),
        ("the interpreter", [weighed["interpreter"]]),
    )
    for name, parts in together:
        if parts:
            rss, anon, seconds = (
                sum(part[key] for part in parts) for key in ("rss_bytes", "anon_bytes", "seconds")
            )
            rows.append((name, rss, anon, rss, seconds))
    return sorted(rows, key=lambda row: -row[1])


def boot_check(document: Document) -> str:
    """The sum beside a measured worker; "" without one."""
    weighed = document.get("boot_memory")
    if not weighed or not weighed.get("worker_anon_bytes"):
        return ""
    return (
        f"A process that imported the app has {numbers.size(weighed['process']['anon_bytes'])} of "
        "private memory; a worker of the first trial had "
        f"{numbers.size(weighed['worker_anon_bytes'])} before its first request."
    )


# kind of a line -> what its time is, the same in a word, what its part is of
_SPENT = {
    "cpu": ("computing", "CPU", "of the CPU"),
    "db": ("waiting for the database", "database", "of the waiting"),
    "out": ("waiting for an outbound call", "outbound", "of the waiting"),
    "other": ("other waiting", "waiting", "of the waiting"),
}


@dataclass(frozen=True)
class Spent:
    """A line of the user's code and what an endpoint spends there per request.

    ``seconds`` has its interval, ``value`` not; ``weight``: s of a request of the whole mix.
    """

    endpoint: str
    what: str
    word: str
    place: str
    part: str
    seconds: str
    value: str
    own: bool
    weight: float


def lines(document: Document) -> list[Spent]:
    """Time by line of source, the line that the mix spends most on first."""
    rows = []
    for endpoint in (document.get("demand") or {}).get("by_endpoint", ()):
        for line in endpoint.get("lines") or ():
            what, word, of = _SPENT[line["kind"]]
            seconds = numbers.middle(line["seconds"]) or 0.0
            rows.append(
                Spent(
                    numbers.line(endpoint["name"]),
                    what,
                    word,
                    numbers.line(f"{line['file']}:{line['line']} in {line['function']}"),
                    f"{numbers.percent(line['fraction'])} {of}",
                    numbers.seconds(line["seconds"]),
                    numbers.seconds(seconds),
                    line["own"],
                    seconds * endpoint["share"],
                )
            )
    return sorted(rows, key=lambda spent: -spent.weight)


def hosts(document: Document) -> list[tuple[str, str, str, str]]:
    """(endpoint, host, calls per request, seconds waited per request)."""
    return [
        (
            numbers.line(endpoint["name"]),
            numbers.line(host["host"]),
            numbers.count(host["calls"]),
            numbers.seconds(host["wait_s"]),
        )
        for endpoint in (document.get("demand") or {}).get("by_endpoint", ())
        for host in endpoint.get("hosts") or ()
    ]


def contention(document: Document) -> list[str]:
    """The event loop's lag, what holds it, and the wait for the GIL: a sentence each."""
    inside = (document.get("demand") or {}).get("inside") or {}
    texts = []
    loop, contention = inside.get("loop"), inside.get("contention")
    if loop:
        texts.append(
            f"The event loop responded {numbers.seconds(numbers.middle(loop['lag_p50_s']))} late "
            f"(median), {numbers.seconds(loop['lag_p99_s'])} late at the 99th percentile and "
            f"{numbers.seconds(loop['lag_max_s'])} late at most."
        )
        texts += [
            f"{numbers.line(b['endpoint']) or 'A task outside any request'} blocked it "
            f"{b['times']} times, for up to {numbers.seconds(b['longest_s'])}, at "
            f"{numbers.line(b['file'])}:{b['line']} in {numbers.line(b['function'])}."
            for b in loop["blocking"]
        ]
    if contention:
        lock = {"gil": "the GIL", "loop": "its turn on the loop"}[contention["lock"]]
        texts.append(
            f"With {contention['requests']} requests at once in one worker, each waited "
            f"{numbers.seconds(contention['wait_s'])} for {lock}."
        )
    return texts
