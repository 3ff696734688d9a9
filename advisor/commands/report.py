"""`tune report [DIR]`: a saved run, shown and rendered again; with --again concluded again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click

from pretune.advisor.verdict import EXIT_USAGE
from pretune.advisor.workspace.output import MEASUREMENTS

# Of the day a run was measured, not of the day it is concluded again.
OF_THAT_DAY = ("created", "machine")


@click.command("report", short_help="Show a saved run and render its files again.")
@click.argument("directory", default="capacity", metavar="[DIR]")
@click.option(
    "--again",
    is_flag=True,
    help=f"Conclude again, from what was measured ({MEASUREMENTS}), as this version of tune does.",
)
def command(directory: str, again: bool) -> None:
    """Show the run or the comparison saved in DIR (default: capacity/) and render its page and
    the deployable files anew. Nothing is measured.
    """
    from rich.console import Console

    from pretune.reports import comparison, deployment, html, terminal
    from pretune.reports import document as documents

    out = Path(directory)
    data = out / "report.json"
    try:
        if not again and (out / comparison.NAME).exists() and not data.exists():
            _show_comparison(out)
            return
        document = _concluded_again(out) if again else documents.read(data)
    except (OSError, documents.InvalidDocument) as error:
        _refuse(data, error)
    if again:
        documents.write(data, document)
    documents.write_text(out / "report.html", html.render(document))
    if document["recommendation"]:
        for deploy in deployment.choose_all(document).values():
            documents.write_text(out / deploy.name, deploy.text)
    terminal.render(document, Console(highlight=False))


def _concluded_again(out: Path) -> dict[str, Any]:
    """The document of the run as it is concluded now. Raises OSError, InvalidDocument."""
    from pretune.advisor import saved
    from pretune.advisor.documents.report import assemble
    from pretune.reports import document as documents

    before = documents.read(out / "report.json")
    try:
        measurements = saved.read(out / MEASUREMENTS)
    except (OSError, saved.Unreadable) as error:
        _refuse(out / MEASUREMENTS, error)
    document = assemble(saved.conclude_again(measurements))
    return {
        **document,
        **{name: before[name] for name in OF_THAT_DAY},
        "files": before.get("files", {}),
    }


def _refuse(path: Path, error: Exception) -> NoReturn:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    click.echo(f"tune: {path}: {reason}", err=True)
    sys.exit(EXIT_USAGE)


def _show_comparison(out: Path) -> None:
    """Raises OSError, InvalidDocument."""
    from rich.console import Console

    from pretune.reports import comparison, comparison_html, comparison_terminal
    from pretune.reports import document as documents

    document = comparison.read(out / comparison.NAME)
    documents.write_text(out / comparison.PAGE, comparison_html.render(document))
    comparison_terminal.render(document, Console(highlight=False))
