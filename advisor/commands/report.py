"""`tune report [DIR]`: a saved run, shown and rendered again."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from pretune.advisor.verdict import EXIT_USAGE


@click.command("report", short_help="Show a saved run again, and render its files anew.")
@click.argument("directory", default="capacity", metavar="[DIR]")
def command(directory: str) -> None:
    """Show the run saved in DIR (default: capacity/) and render report.html and the
    deployable files anew. Nothing is measured.
    """
    from rich.console import Console

    from pretune.reports import deployment, html, terminal
    from pretune.reports import document as documents

    out = Path(directory)
    try:
        document = documents.read(out / "report.json")
    except (OSError, documents.InvalidDocument) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        click.echo(f"tune: {out / 'report.json'}: {reason}", err=True)
        sys.exit(EXIT_USAGE)
    documents.write_text(out / "report.html", html.render(document))
    if document["recommendation"]:
        for deploy in deployment.files(document).values():
            documents.write_text(out / deploy.name, deploy.text)
    terminal.render(document, Console(highlight=False))
