"""``--check-config`` and ``--print-config``: all that a start does, except for serving."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from pretune.server.config import privileges
from pretune.server.config.config import Config, choose_class
from pretune.server.config.options import OPTIONS
from pretune.server.master import worker_main
from pretune.server.process.importing import Loaded, TargetError

if TYPE_CHECKING:
    from pretune.server.config.configuration import Gathered


def check(config: Config, gathered: Gathered) -> int:
    """Import the app as a worker does and say how it went. Ends this process with 0 or 1.

    It does not wait for threads the import has started.
    """
    if gathered.show:
        print("\n".join(lines(config, gathered)))
    for level, text in config.notes:
        print(f"{level}: {text}", file=sys.stderr)
    code = _check(config)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _check(config: Config) -> int:
    try:
        privileges.assume(config, "check")
        loaded = worker_main.load_app(config)
        chosen = choose_class(config.settings, loaded.interface)
    except TargetError as error:
        print(f"{error.traceback}the app does not boot: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"the app cannot be served: {error}", file=sys.stderr)
        return 1
    print(_verdict(config, loaded, chosen))
    return 0


def _verdict(config: Config, loaded: Loaded, chosen: str) -> str:
    settings = config.settings
    return (
        f"ok: {loaded.module}:{loaded.name} is {loaded.interface.upper()}, to be served by "
        f"{settings.workers} {chosen} workers at {', '.join(config.binds)}"
    )


def lines(config: Config, gathered: Gathered) -> list[str]:
    """Every setting, and who said it. Values of the environment may be secrets."""
    width = max(len(name) for name in OPTIONS)
    shown = []
    for name in sorted(OPTIONS):
        value, source = gathered.value(name)
        if name == "workers":
            value = config.settings.workers
        shown.append(f"{name:{width}} = {_shown(name, value)}  # {source}")
    return [*shown, f"{'wsgi_app':{width}} = {config.target!r}"]


def _shown(name: str, value: Any) -> str:
    if name == "raw_env":
        return repr([f"{key}=***" for key, _ in value])
    return repr(list(value) if isinstance(value, tuple) else value)
