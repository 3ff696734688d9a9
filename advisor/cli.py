"""The command ``tune``. Nothing heavy is imported until a command runs: help comes at once."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

import rich_click as click
from click.shell_completion import CompletionItem

from pretune.advisor.commands.completion import targets
from pretune.advisor.verdict import EXIT_USAGE

# name -> (module, one line)
COMMANDS = {
    "advise": ("pretune.advisor.commands.advise", "Measure TARGET and recommend its settings."),
    "gate": (
        "pretune.advisor.commands.gate",
        "Measure TARGET and judge it by [tool.pretune.gate], for CI.",
    ),
    "compare": (
        "pretune.advisor.commands.compare",
        "Compare servers for TARGET, each with its best settings.",
    ),
    "workload": (
        "pretune.advisor.commands.workload",
        "Write the traffic of TARGET as a file to edit and commit.",
    ),
    "serve": (
        "pretune.advisor.commands.serve",
        "Serve an application on the embedded pre-fork server.",
    ),
    "report": (
        "pretune.advisor.commands.report",
        "Show a saved run and render its files again.",
    ),
}

click.rich_click.TEXT_MARKUP = "markdown"
click.rich_click.MAX_WIDTH = 100


class LazyGroup(click.RichGroup):
    """``tune TARGET ...`` is ``tune advise TARGET ...``; commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[name][0])
        command: click.Command = module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0] not in COMMANDS and args[0] not in own:
            _refuse_mistyped(ctx, args[0])
            args = ["advise", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The first word is a command, or the target of `advise`."""
        names = [*targets(incomplete, Path.cwd())] if not incomplete.startswith("-") else []
        return super().shell_complete(ctx, incomplete) + [CompletionItem(name) for name in names]


def _refuse_mistyped(ctx: click.Context, word: str) -> None:
    """``tune gaet app`` means the command; a target of that name is written out."""
    close = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.7)
    if close and "." not in word and ":" not in word:
        ctx.fail(
            f"there is no command {word!r}; did you mean {close[0]}? (a target of that name: "
            f"tune advise {word})"
        )


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(package_name="pretune", prog_name="tune")
@click.pass_context
def tune(ctx: click.Context) -> None:
    """Ends the guessing about Python web servers.

    `tune TARGET --ram 4G` runs your application on a pre-fork server under load, measures what a
    request and a worker really cost, and recommends workers, threads, timeout and the rest for
    the RAM, the cores and the Postgres connections you have: measured, predicted, verified.

    TARGET is what you give to gunicorn or uvicorn: `myapp.wsgi`, `module:name`,
    `module:factory()`, or `path/to/file.py[:name]`.

    **Examples**

    `tune myapp.wsgi --ram 4G`: what fits on a 4 GiB machine?

    `tune mysite.asgi --ram 1G --cores 0.5 --rps 40`: the smallest settings that carry 40 rps.

    `tune app:create_app() --path / --path /search --p95 300ms`: traffic and promise named.

    `tune advise --help`: all options. They can stand in `[tool.pretune]` of pyproject.toml too.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """The console script."""
    if sys.platform != "linux":
        system = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)
        click.echo(
            f"tune: {system} has no /proc to measure memory per worker with and no control groups; "
            "run tune on Linux, in a container or a virtual machine if need be.",
            err=True,
        )
        sys.exit(EXIT_USAGE)
    tune(prog_name="tune")
