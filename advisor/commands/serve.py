"""`tune serve TARGET`: the embedded server by itself, in the app's interpreter."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click


@click.command(
    "serve",
    short_help="Serve an application on the embedded pre-fork server.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.option("--python", metavar="PATH", help="The app's interpreter or environment.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(python: str | None, arguments: tuple[str, ...]) -> None:
    """Serve an application on the embedded pre-fork server. The flags are gunicorn's."""
    import pretune.server
    from pretune.advisor.preflight.location import LocationError, find_python

    try:
        interpreter = find_python(Path(python) if python else None, Path.cwd(), os.environ)
    except LocationError as error:
        raise click.UsageError(str(error)) from error
    bootstrap = Path(pretune.server.__file__).with_name("bootstrap.py")
    # exec: signals, pid and exit code are the server's own from here on
    os.execv(interpreter, [str(interpreter), str(bootstrap), "serve", *arguments])
