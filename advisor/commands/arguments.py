"""The arguments that `advise` and `gate` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from pretune.advisor.commands.completion import targets
from pretune.server.adapters.catalogue import every

_SERVERS = [server.name for server in every()]

F = TypeVar("F", bound=Callable[..., Any])

# Every option here may stand in [tool.pretune] under its own name.
ARGUMENTS = (
    click.argument("target", shell_complete=lambda ctx, param, word: targets(word, Path.cwd())),
    click.option(
        "--ram",
        metavar="SIZE",
        help="RAM of one instance, as 4G or 512M. Default: the "
        "control group's limit, else the machine's.",
    ),
    click.option(
        "--cores",
        type=float,
        metavar="N",
        help="CPU cores of one instance; a fraction "
        "is a CPU quota. Default: quota and affinity, else the machine's.",
    ),
    click.option(
        "--cpu-factor",
        type=float,
        metavar="X",
        help="Cores of the deployment are X times as fast as this machine's. Default: these cores.",
    ),
    click.option(
        "--instances",
        type=int,
        metavar="N",
        help="Instances that "
        "share the database and --rps. Default: one, or as many as --rps takes.",
    ),
    click.option(
        "--database-url",
        metavar="URL",
        help="Postgres to use; its limits are read, and the app gets the URL as DATABASE_URL.",
    ),
    click.option(
        "--pg-connections",
        type=int,
        metavar="N",
        help="Postgres connections that all "
        "instances together may take. Default: what the server leaves free.",
    ),
    click.option(
        "--allow-remote-db",
        is_flag=True,
        default=None,
        help="Allow a database that is not on this machine: the load will reach it.",
    ),
    click.option(
        "--p95",
        metavar="TIME",
        help="95% of responses must be faster, as 300ms. Default: three times the unloaded p95.",
    ),
    click.option(
        "--rps",
        type=float,
        metavar="N",
        help="Carry this many requests/s, all "
        "instances together, with the smallest settings. Default: carry as many as possible.",
    ),
    click.option(
        "--server",
        metavar="NAME",
        help=f"Measure and verify on this server: {', '.join(_SERVERS[:-1])} or {_SERVERS[-1]}. "
        "Default: measure on the embedded one, verify on the one that the project's files deploy, "
        "else on the app's gunicorn, if it has one.",
    ),
    click.option(
        "--front",
        metavar="NAME",
        help=(
            "Put nginx in front of the server; it is measured, configured, and part of the "
            "verification."
        ),
    ),
    click.option(
        "--static",
        multiple=True,
        metavar="URL=DIR",
        help="Files that nginx serves itself, as /static/=staticfiles; repeat for more. "
        "Default: what the app's settings say (Django's STATIC_URL and STATIC_ROOT).",
    ),
    click.option(
        "--workload",
        metavar="FILE",
        help="The traffic: a TOML file of endpoints with shares, a locustfile, or an access log "
        "(plain or gz, a folder, or 'access.log*'). Default: the app's own GET routes in equal "
        "shares.",
    ),
    click.option(
        "--log-format",
        metavar="TEXT",
        help="How the log's lines are written, where it is not recognised: nginx's log_format, "
        "Apache's LogFormat, gunicorn's access_log_format or uWSGI's log-format.",
    ),
    click.option(
        "--path",
        multiple=True,
        metavar="/PATH",
        help="Request this path; repeat for more, in equal shares.",
    ),
    click.option(
        "--python",
        metavar="PATH",
        help="The app's interpreter or environment. Default: "
        "the active one, or .venv beside the project.",
    ),
    click.option(
        "--chdir",
        metavar="DIR",
        help="Where the app runs. Default: here, or where [tool.pretune] says.",
    ),
    click.option("--env-file", metavar="FILE", help="NAME=value lines for the app's environment."),
    click.option(
        "--time-budget",
        metavar="TIME",
        help="How long the answer may take; half of it is load. Default: 120s.",
    ),
    click.option("--seed", type=int, metavar="N", help="Seed of the load and the model."),
    click.option("--out", metavar="DIR", help="Where the files go. Default: capacity/."),
    click.option(
        "--strict", is_flag=True, default=None, help="Exit with 4 when there is not enough data."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print report.json and nothing else."),
)


# What it takes to start the application and to try its routes.
_TRYING = frozenset(
    {"target", "database_url", "allow_remote_db", "log_format", "path", "python", "chdir",
     "env_file", "time_budget", "out"}
)  # fmt: skip


def shared(function: F) -> F:
    """Add all arguments."""
    for argument in reversed(ARGUMENTS):
        function = argument(function)
    return function


def trying(function: F) -> F:
    """Add those without which the application's routes cannot be tried."""
    own = list(getattr(function, "__click_params__", ()))
    function = shared(function)
    params: list[click.Parameter] = function.__click_params__  # type: ignore[attr-defined]
    params[:] = [each for each in params if each in own or each.name in _TRYING]
    return function
