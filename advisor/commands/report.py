"""`tune report [DIR]`: a saved run, shown and rendered again."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from pretune.advisor.verdict import EXIT_USAGE


@click.command("report", short_help="Show a saved run again, and render its files anew.")
@click.argument("directory", default="capacity", metavar="[DIR]")
def command(directory: str) -> None:
    """Show the run or the comparison saved in DIR (default: capacity/) and render its page and
    the deployable files anew. Nothing is measured.
    """
    from rich.console import Console

    from pretune.reports import comparison, deployment, html, terminal
    from pretune.reports import document as documents

    out = Path(directory)
    try:
        if (out / comparison.NAME).exists() and not (out / "report.json").exists():
            _show_comparison(out)
            return
        document = documents.read(out / "report.json")
    except (OSError, documents.InvalidDocument) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        click.echo(f"tune: {out / 'report.json'}: {reason}", err=True)
        sys.exit(EXIT_USAGE)
    documents.write_text(out / "report.html", html.render(document))
    if document["recommendation"]:
        for deploy in deployment.choose_all(document).values():
            documents.write_text(out / deploy.name, deploy.text)
    terminal.render(document, Console(highlight=False))


def _show_comparison(out: Path) -> None:
    """Raises OSError, InvalidDocument."""
    from rich.console import Console

    from pretune.reports import comparison, comparison_html, comparison_terminal
    from pretune.reports import document as documents

    found = comparison.read(out / comparison.NAME)
    documents.write_text(out / comparison.PAGE, comparison_html.render(found))
    comparison_terminal.render(found, Console(highlight=False))
