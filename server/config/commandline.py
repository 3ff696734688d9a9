"""The flags, read off the table of options. What is repeated is converted together."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pretune.server.config import conffile
from pretune.server.config.options import FOREIGN, GROUPS, OPTIONS, Option, asks

_DESCRIPTION = """\
Serve a WSGI or ASGI application with pre-forked workers. The flags, and the names in a
configuration file, are gunicorn's.
"""

_EPILOG = """\
A flag goes before $GUNICORN_CMD_ARGS, that before the configuration file, that before
$WEB_CONCURRENCY, $PORT and $FORWARDED_ALLOW_IPS. TIME is 30, 1.5, 90s, 15m, 12h or 500ms; SIZE is
512M or 1.5G. Signals: TERM finishes what was begun, INT and QUIT stop at once, HUP reloads
configuration and app, TTIN and TTOU change the number of workers, USR1 reopens the logs.
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="tune serve",
        usage="tune serve [FLAGS] [TARGET]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="module, module:name, module:factory() or path/to/file.py[:name]; may stand in the "
        "configuration file as wsgi_app",
    )
    of_file = made.add_argument_group("configuration")
    of_file.add_argument(
        "-c", "--config", metavar="FILE",
        help="read this file, or python:MODULE (default: ./gunicorn.conf.py, if there is one)",
    )  # fmt: skip
    of_file.add_argument(
        "--no-config", action="store_true", help="read no file, and no GUNICORN_CMD_ARGS"
    )
    of_file.add_argument(
        "--check-config", action="store_true",
        help="import the app as a worker does, say whether all is well, and exit with 0 or 1",
    )  # fmt: skip
    of_file.add_argument(
        "--print-config", action="store_true", help="the same, and print every setting first"
    )
    for title, group in GROUPS.items():
        section = made.add_argument_group(title)
        for option in group:
            _add(section, option)
    for name, (flags, valued, _) in FOREIGN.items():
        if flags:
            how: dict[str, Any] = {} if valued else {"action": "store_const", "const": _GIVEN}
            made.add_argument(*flags, dest=name, help=argparse.SUPPRESS, **how)
    return made


_GIVEN = "given"  # the value of a flag of gunicorn's that takes none, and that we do not have


def _add(section: Any, option: Option) -> None:
    how: dict[str, Any] = {"dest": option.name, "default": None, "help": _help(option)}
    if option.kind == "true":
        how |= {"action": "store_const", "const": True}
    else:
        how |= {"metavar": option.metavar, "type": _typed(option)}
    if option.kind == "append":
        how |= {"action": "append", "type": str}
    elif option.kind == "optional":
        how |= {"nargs": "?", "const": True}
    section.add_argument(*option.flags, **how)


def _help(option: Option) -> str:
    text = option.help
    default = option.default
    if option.shown is not None or not (default is None or default is False or default == ()):
        text += f" (default: {option.shown or _plain(default)})"
    return text.replace("%", "%%")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _typed(option: Option) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return option.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def to_settings(options: argparse.Namespace, made: argparse.ArgumentParser) -> conffile.Settings:
    """Convert flags to settings, by name; repeated ones are converted together."""
    values: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = getattr(options, name)
        if value is None:
            continue
        if option.kind == "append":
            try:
                value = option.convert(value)
            except ValueError as error:
                made.error(f"argument {'/'.join(option.flags)}: {error}")
        values[name] = value
    foreign = {n: getattr(options, n) for n, (flags, _, _) in FOREIGN.items() if flags}
    return conffile.Settings(
        known=values, foreign={n: v for n, v in foreign.items() if v is not None and asks(n, v)}
    )
