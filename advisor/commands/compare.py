"""`tune compare TARGET`: which server for this app, measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from pretune.advisor.commands.arguments import shared

if TYPE_CHECKING:
    from rich.console import Console

    from pretune.advisor.preflight.options import Options
    from pretune.advisor.workspace.directory import Workspace

OUT = "comparison"
# Of a deployment of many instances, of one server or what stands before it: not in question.
NOT_ASKED = {"rps", "server", "instances", "cpu_factor", "front", "static"}
HELP = {
    "time_budget": "How long it may take. Default: 45 s plus 80 s for each server.",
    "out": f"Where the files go. Default: {OUT}/.",
    "as_json": "Print comparison.json and nothing else.",
}


@click.command("compare", short_help="Compare servers for TARGET, each with its best settings.")
@click.option(
    "--servers",
    metavar="NAMES",
    help="Compare these, as gunicorn,granian; `all` adds a line for each that is not installed. "
    "Default: those that are installed and can serve the app.",
)
@shared
def command(servers: str | None, **flags: Any) -> None:
    """Measure TARGET on every server, each at the settings that are best for it on this machine:
    capacity within the SLO, p95, memory, CPU, and what is lost at reload, recycling and TERM.

    Takes about 80 s for each server (--time-budget) and writes comparison.json and
    comparison.html to --out (default: comparison/). Exit codes are those of advise.
    """
    from pretune.advisor.commands.execution import execute
    from pretune.advisor.comparison import contestants

    try:
        asked = contestants.parse(servers)
    except ValueError as error:
        raise click.UsageError(f"--servers: {error}") from error
    given = {**dict.fromkeys(NOT_ASKED), **flags, "out": flags["out"] or OUT}

    def work(
        options: Options,
        workspace: Workspace,
        console: Console,
        flags: Mapping[str, Any],
        thresholds: object,
        secrets: tuple[str, ...],
    ) -> int:
        return _compare(options, workspace, console, asked, as_json=bool(flags["as_json"]))

    execute(given, work=work)


command.params = [p for p in command.params if p.name not in NOT_ASKED]
for _option in command.params:
    if isinstance(_option, click.Option) and _option.name in HELP:
        _option.help = HELP[_option.name]


def _compare(
    options: Options,
    workspace: Workspace,
    console: Console,
    asked: tuple[str, ...] | None,
    *,
    as_json: bool,
) -> int:
    from pretune.advisor.commands.execution import ending, show_json
    from pretune.advisor.comparison import document as documents
    from pretune.advisor.comparison import plan
    from pretune.advisor.comparison.run import Comparison
    from pretune.advisor.confidential import hide, known_secrets
    from pretune.advisor.session import Session
    from pretune.advisor.verdict import Verdict, exit_code
    from pretune.advisor.workspace import output
    from pretune.reports import comparison_terminal
    from pretune.reports.progress import Progress

    output.set_aside(options.out)
    if options.sources.get("time_budget") != "--time-budget":  # that of an answer is too short
        options = replace(options, time_budget_s=plan.budget_s(len(asked) if asked else None))
    session = Session(options, workspace)
    comparison = Comparison(session, asked)
    with Progress(console, options.time_budget_s) as progress:
        with ending(session, progress):
            comparison.compare(progress)
        secrets = known_secrets({**options.environ, **session.environ}, *session.database_urls)
        document = hide(documents.assemble(comparison.outcome()), secrets)
        document["files"] = _write(document, options.out)
    if as_json:
        show_json(document)
    else:
        comparison_terminal.render(document, console)
    return exit_code(Verdict(document["verdict"]), strict=options.strict)


def _write(document: dict[str, Any], out: Path) -> dict[str, str]:
    """Write the files; return a map from the kind of each to its path."""
    from pretune.reports import comparison, comparison_html
    from pretune.reports import document as documents

    data, page = out / comparison.NAME, out / comparison.PAGE
    files = {"report": str(page), "data": str(data), "logs": str(out / "logs")}
    document["files"] = files
    comparison.write(data, document)
    documents.write_text(page, comparison_html.render(document))
    return files
