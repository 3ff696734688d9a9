"""Comments of the files to deploy: texts that may come from traffic, line by line behind a #."""

from __future__ import annotations

import textwrap

from pretune.reports import numbers, summary
from pretune.reports.document import Document

_WIDTH = 96


def application(document: Document) -> str:
    """``module:name`` of the target."""
    target = document["target"]
    return str(target.get("callable_name") or target["spec"])


def header(document: Document, command: str) -> str:
    """The file's first comments: its start command, its verdict, its budget and its date."""
    lines = [f"start with: {command}", summary.sentence(document)]
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
    return "\n".join(comment(text) for text in lines)


def comment(text: object) -> str:
    """One or more lines, each a comment, whatever the text holds."""
    wrapped = textwrap.wrap(numbers.line(text), _WIDTH - 2, break_on_hyphens=False)
    return "\n".join(f"# {row}" for row in wrapped)
