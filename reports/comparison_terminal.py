"""A comparison in the terminal: one sentence, then the tables, in 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from pretune.reports import comparison_summary as summary
from pretune.reports import numbers, redaction
from pretune.reports.document import Document
from pretune.reports.terminal import (
    VERDICT_STYLE,
    make_table,
    print_failure,
    print_heading,
    print_paragraph,
    print_table,
)

if TYPE_CHECKING:
    from rich.console import Console


def render(document: Document, console: Console) -> None:
    """Print ``document``; without colour where the console has none."""
    document = redaction.redacted(document)
    style = VERDICT_STYLE.get(document["verdict"], "bold")
    console.print(Text(summary.sentence(document), style=style))
    print_failure(document, console)
    if summary.measured(document):
        for section in (_print_capacity, _print_common_load, _print_lifecycles, _print_predicted):
            section(document, console)
    _print_left_out(document, console)
    for note in document["notes"]:
        print_paragraph(console, f"note: {numbers.line(note)}", indent=0)
    files = document.get("files") or {}
    if files.get("report"):
        console.print()
        print_paragraph(console, f"report: {numbers.line(files['report'])}", indent=0)


def _print_capacity(document: Document, console: Console) -> None:
    print_heading(console, "Requests/s within the SLO")
    made = make_table(
        console, "server", "settings", "requests/s", "relative to the best", right=frozenset({2})
    )
    for name, settings, rate, words in summary.capacities(document):
        style = "green" if words == summary.BEST else ""
        made.add_row(Text(name), Text(settings), Text(rate, style="bold"), Text(words, style=style))
    print_table(console, made)
    print_paragraph(console, Text(summary.setup(document), style="dim"))


def _print_common_load(document: Document, console: Console) -> None:
    users = document["users"]
    print_heading(console, f"With {users} user{'s' if users != 1 else ''} each")
    made = make_table(console, "server", "p95", "memory", "CPU per request", "Postgres")
    for name, cells, connections in summary.figures(document):
        shown = [Text(f"{cell.text}{' =' if cell.alike else ''}") for cell in cells]
        made.add_row(Text(name), *shown, Text(connections))
    print_table(console, made)
    print_paragraph(console, Text("= no difference from the lowest of the column", style="dim"))


def _print_lifecycles(document: Document, console: Console) -> None:
    print_heading(console, "Requests lost while the server is")
    made = make_table(console, "", "reloaded", "recycling", "stopped by TERM")
    rows = summary.lifecycles(document)
    for name, checks, _ in rows:
        made.add_row(Text(name), *map(Text, checks))
    print_table(console, made)
    print_heading(console, "An app that does not boot")
    made = make_table(console, "", "")
    for name, _, boot in rows:
        made.add_row(Text(name), Text(boot))
    print_table(console, made)


def _print_predicted(document: Document, console: Console) -> None:
    print_heading(console, "Predicted beside measured")
    made = make_table(console, "server", "", "predicted", "measured", "error", right=frozenset({4}))
    last = ""
    for name, quantity, expected, measured, off in summary.predictions(document):
        made.add_row(
            Text("" if name == last else name), *map(Text, (quantity, expected, measured, off))
        )
        last = name
    print_table(console, made)


def _print_left_out(document: Document, console: Console) -> None:
    rows = summary.left_out(document)
    if not rows:
        return
    print_heading(console, "Not compared")
    made = make_table(console, "server", "why")
    for name, why in rows:
        made.add_row(Text(numbers.line(name)), Text(numbers.line(why)))
    print_table(console, made)
