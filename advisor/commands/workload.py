"""`tune workload TARGET [SOURCE]`: the traffic as a file to read, edit and commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from pretune.advisor.commands.arguments import trying
from pretune.advisor.confidential import hide, known_secrets
from pretune.advisor.verdict import exit_code

if TYPE_CHECKING:
    from rich.console import Console

    from pretune.advisor.preflight.options import Options
    from pretune.advisor.workspace.directory import Workspace
    from pretune.loadtests.workload import Workload


@click.command("workload", short_help="Write the traffic of TARGET as a file to edit and commit.")
@trying
@click.argument("source", required=False)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="traffic.toml",
    show_default=True,
    help="Where the workload is written.",
)
def command(**flags: Any) -> None:
    """Say which traffic TARGET would be measured with, and write it as a workload file.

    SOURCE is an access log (plain or gz, a folder of them, or 'access.log*') of nginx, Apache,
    gunicorn, uWSGI, Caddy, Traefik, an AWS load balancer or Heroku's router, or a workload file.
    Without one the routes of the application that answer are written, in equal shares. Of a log
    only the shares of routes and the rate of the busiest minute are kept: no address, query,
    identifier or user agent. Edit the file, commit it, and measure with
    `tune TARGET --workload traffic.toml`.

    **Examples**

    `tune workload myapp.wsgi access.log -o traffic.toml`

    `tune workload myapp.wsgi '/var/log/nginx/access.log*'`
    """
    from pretune.advisor.commands.execution import execute

    if flags["source"]:
        flags["workload"] = flags["source"]
    execute({**flags, "as_json": False}, work=_write)


def _write(
    options: Options,
    workspace: Workspace,
    console: Console,
    flags: Mapping[str, Any],
    thresholds: Mapping[str, Any] | None,
    secrets: tuple[str, ...],
) -> int:
    from pretune.advisor.commands.execution import ending
    from pretune.advisor.documents.report import assemble
    from pretune.advisor.session import Session
    from pretune.loadtests.file_writing import format_file
    from pretune.reports import document, dry_run, terminal
    from pretune.reports.progress import Progress

    session = Session(options, workspace)
    with Progress(console, options.time_budget_s) as progress, ending(session, progress):
        session.preflight(progress)
    known = session.environ, session.database_urls
    found = hide(assemble(session.run), known_secrets({**options.environ, **known[0]}, *known[1]))
    workload = session.run.workload
    if workload is None or session.run.failure is not None:
        terminal.print_paragraph(console, (found["failure"] or {}).get("message", ""), indent=0)
        terminal.print_failure(found, console)
        return exit_code(session.run.verdict, strict=True)
    file = Path.cwd() / flags["output"]
    # Hosts and schemes that the app's settings demand are found again, and secrets are no part of
    # a file that is committed: a file's own headers are for the user to keep.
    text = format_file(replace(workload, headers=()), _routes(workload), _comments(workload))
    document.write_text(file, text)
    dry_run.render_traffic(console, found["workload"])
    for note in session.run.notes:
        terminal.print_paragraph(console, note, indent=0)
    console.print(f"\nwritten to {flags['output']}; measure with --workload {flags['output']}")
    return 0


def _routes(workload: Workload) -> list[str]:
    """Names of endpoints whose paths are to be found anew in each database."""
    return [
        each.name
        for each in workload.endpoints
        if workload.source in ("discovered", "log") and each.paths != (each.name,)
    ]


def _comments(workload: Workload) -> list[str]:
    if not workload.assumption:
        return []
    text = f"{workload.assumption}."
    if workload.peak_at:
        text += f" Busiest minute: {workload.peak_at} UTC."
    return [text]
