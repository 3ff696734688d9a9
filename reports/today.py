"""Today's deployment as rows and sentences: the part that terminal, HTML and dry run share.

Pure; all text is plain and may be hostile: whoever renders escapes.
"""

from __future__ import annotations

from typing import Any

from pretune.reports import numbers, setting, summary
from pretune.reports.document import Document


def placed_values(document: Document) -> dict[str, tuple[str, str]]:
    """Setting -> (value as people write it, file and line); empty where nothing is deployed."""
    today = document.get("today") or {"said": ()}
    return {numbers.line(row["setting"]): (_value(row), _place(row)) for row in today["said"]}


def _value(row: Any) -> str:
    if row["value"] is None:
        return "?"
    return setting.format_value(row["setting"], row["value"])


def _place(row: Any) -> str:
    return numbers.line(", ".join(part for part in (row["where"], row["note"]) if part))


def values(document: Document) -> dict[str, str]:
    """Setting -> today's value, for a column beside the recommended ones."""
    found = {name: value for name, (value, _) in placed_values(document).items()}
    settings = (document.get("today") or {}).get("settings")
    if settings and "worker_class" in settings:
        found["worker_class"] = numbers.line(settings["worker_class"])
    return found


def row(document: Document) -> Any | None:
    """Today's deployment as a row among other formulas; None where it was not predicted."""
    today = document.get("today")
    if not today or not today["predicted"] or not today["settings"]:
        return None
    return {**today, "name": f"today ({today['where']})"}


def sentences(document: Document) -> list[str]:
    """Sentences: what is deployed, what it would do here, and what could not be read."""
    today = document.get("today")
    if not today:
        return []
    found = [_deployed(today)]
    if today["predicted"]:
        found.append(_predicted(today))
        found += [today["gain"]] if today.get("gain") else []
    elif today["why"]:
        found.append(f"Not predicted: {today['why']}.")
    if today["facts"]:
        facts = (f"{f['name']} {f['value']} ({f['where']})" for f in today["facts"])
        found.append(f"Limits there: {', '.join(facts)}.")
    if today["unknown"]:
        found.append(f"Not understood: {', '.join(today['unknown'])}.")
    found += [f"{text}." for text in (*today["others"], *today["problems"])]
    return [numbers.line(text) for text in found]


def _deployed(today: Any) -> str:
    arranged = f": {setting.arrangement(today['settings'])}" if today["settings"] else ""
    return f"{today['where']} starts {today['server']}{arranged}."


def _predicted(today: Any) -> str:
    predicted = today["predicted"]
    on = f" on {today['on']}" if today["on"] != today["server"] else ""
    breaks = summary.violations(today)
    return (
        f"On this budget it is predicted to carry{on} "
        f"{numbers.digits(summary.compared(predicted))} requests/s within the SLO in "
        f"{numbers.size(predicted['ram_bytes'])} of RAM"
        f"{_beside(today.get('difference'))}"
        + (f", and to break: {breaks}." if breaks else ", and to break no limit.")
    )


def _beside(difference: Any) -> str:
    """Say how that compares with what is recommended; "" where nothing is."""
    if not difference:
        return ""
    against, change = numbers.digits(difference["against_rps"]), difference["change"]
    low, high = numbers.bounds(change)
    if low is None or high is None:
        return f" ({against} with what is recommended)"
    if low <= 0 <= high:
        return (
            f" ({against} with what is recommended: no difference can be told, "
            f"{numbers.percent(-low)} less to {numbers.percent(high)} more)"
        )
    ends = sorted(numbers.percent(abs(end)) for end in (low, high))
    word = "less" if high < 0 else "more"
    return f" ({' to '.join(ends)} {word} than the {against} of what is recommended)"
