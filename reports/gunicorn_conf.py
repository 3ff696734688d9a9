"""A ``gunicorn.conf.py`` with the recommended settings, the reason above each.

The file is Python that will be run on a server, and parts of the document come from traffic: only
numbers and names from our own tables become code, every text becomes a one-line comment.
"""

from __future__ import annotations

import math
from typing import Any

from pretune.reports import commented, redaction, setting
from pretune.reports.document import Document

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
        "#\n" + commented.header(document, start_command(document)),
    ]
    # the timeout's reason is made of gunicorn's own row then
    for_gunicorn = recommendation.get("server") == "gunicorn"
    remarks = {
        name: text
        for (kind, name), text in _REMARKS.items()
        if kind == worker_class and not (name == "timeout" and for_gunicorn)
    }
    for name, value in setting.select_effective(recommendation["settings"]):
        texts = [recommendation["reasons"].get(name, ""), remarks.get(name, "")]
        lines = [commented.comment(text) for text in texts if text]
        parts.append("\n".join([*lines, f"{name} = {_literal(name, value, document)}"]))
    if recommendation["settings"].get("preload_app"):
        parts.append(_FREEZE)
    parts.append(
        '# bind = "127.0.0.1:8000" is gunicorn\'s default; behind a proxy in another container\n'
        '# it has to be "0.0.0.0:8000". It depends on where you deploy, so it is left to you.'
    )
    return "\n".join(parts[:2]) + "\n\n" + "\n\n".join(parts[2:]) + "\n"


def start_command(document: Document) -> str:
    """As it is typed beside the file."""
    return f"gunicorn -c gunicorn.conf.py {commented.application(document)}"


def _literal(name: str, value: Any, document: Document) -> str:
    if name == "worker_class":
        names = _WORKER_CLASS[value]
        verified = (document.get("verification") or {}).get("worker_class")
        return f'"{verified if verified in names else names[0]}"'
    if name == "preload_app":
        return str(bool(value))
    return str(math.ceil(value))  # gunicorn takes whole seconds only
