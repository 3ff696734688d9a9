"""A ``gunicorn.conf.py`` with the recommended settings, the reason above each.

The file is Python that will be run on a server, and parts of the document come from traffic: only
numbers and names from our own tables become code, every text becomes a one-line comment.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from pretune.reports import numbers, redaction, setting, summary
from pretune.reports.document import Document

_WIDTH = 96

# Our worker class -> gunicorn's names for it, the usual one first.
_WORKER_CLASS = {
    "sync": ("sync",),
    "gthread": ("gthread",),
    "asgi": ("asgi", "uvicorn_worker.UvicornWorker"),
}

# What a reader of gunicorn's documentation has to know beside the reason.
_REMARKS = {
    ("asgi", "worker_class"): (
        "gunicorn's own asgi worker needs gunicorn >= 24; before that, or for httptools, there is "
        '"uvicorn_worker.UvicornWorker" of uvicorn-worker. Measure again with another.'
    ),
    ("asgi", "worker_connections"): "gunicorn's asgi worker up to 27 does not enforce this.",
    ("gthread", "timeout"): (
        "In gunicorn this is a heartbeat of the whole worker for gthread, not a limit per request."
    ),
    ("asgi", "timeout"): "How long the event loop may stand still, not a limit per request.",
}


# The trials ran with it: without it the first garbage collection of each worker writes to, and so
# copies, what preload shares.
_FREEZE = """# What is loaded before the fork stays shared: no garbage collector writes to it.
def pre_fork(server, worker):
    import gc

    gc.collect()
    gc.freeze()"""


class NothingRecommended(ValueError):
    """The document has no recommendation, so there is nothing to deploy."""


def render(document: Document) -> str:
    """The text of the file, for gunicorn >= 20. Raises NothingRecommended."""
    document = redaction.redacted(document)
    recommendation = document.get("recommendation")
    if not recommendation:
        raise NothingRecommended("the report recommends no settings, so no file is written")
    worker_class = recommendation["settings"]["worker_class"]
    # The first two lines are fixed: a comment there could declare an encoding (PEP 263).
    parts = [
        "# gunicorn.conf.py, from measurements of this application. The reasons stand beside\n"
        "# each setting; the numbers behind them are in report.html and report.json.",
        "#\n" + _header(document),
    ]
    for name, value in setting.applying(recommendation["settings"]):
        said = [recommendation["reasons"].get(name, ""), _REMARKS.get((worker_class, name), "")]
        lines = [_comment(text) for text in said if text]
        parts.append("\n".join([*lines, f"{name} = {_literal(name, value, document)}"]))
    if recommendation["settings"].get("preload_app"):
        parts.append(_FREEZE)
    parts.append(
        '# bind = "127.0.0.1:8000" is gunicorn\'s default; behind a proxy in another container\n'
        '# it has to be "0.0.0.0:8000". It depends on where you deploy, so it is left to you.'
    )
    return "\n".join(parts[:2]) + "\n\n" + "\n\n".join(parts[2:]) + "\n"


def _header(document: Document) -> str:
    target: Mapping[str, Any] = document["target"]
    name = target.get("callable_name") or target["spec"]
    lines = [f"start with: gunicorn -c gunicorn.conf.py {name}", summary.sentence(document)]
    if document["verdict"] != "fits":
        lines.append("NOT CONFIRMED: read the report before you deploy this.")
    budget = document.get("budget")
    if budget:
        limits = [numbers.size(budget["ram_bytes"]), f"{numbers.digits(budget['cores'])} cores"]
        if budget["pg_connections"] is not None:
            instances = budget["instances"]
            shared = f" shared by {instances} instances" if instances > 1 else ""
            limits.append(f"{budget['pg_connections']} Postgres connections{shared}")
        lines.append("for one instance with " + ", ".join(limits))
    lines.append(f"{document['tool']}, {document['created']}")
    return "\n".join(_comment(text) for text in lines)


def _comment(text: object) -> str:
    wrapped = textwrap.wrap(numbers.line(text), _WIDTH - 2, break_on_hyphens=False)
    return "\n".join(f"# {row}" for row in wrapped)


def _literal(name: str, value: Any, document: Document) -> str:
    if name == "worker_class":
        known = _WORKER_CLASS[value]
        verified = (document.get("verification") or {}).get("worker_class")
        return f'"{verified if verified in known else known[0]}"'
    if name == "preload_app":
        return str(bool(value))
    return str(math.ceil(value))  # gunicorn takes whole seconds only
