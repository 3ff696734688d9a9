"""The command this process was started with, so that its successor is started the same way."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class OwnCommand:
    """The command line, with the interpreter's path; the directory and environment it came into."""

    command: tuple[str, ...]
    directory: str
    environ: tuple[tuple[str, str], ...]


_remembered: OwnCommand | None = None


def remember() -> OwnCommand:
    """To be called before anything changes directory or environment; what it says first, stays."""
    global _remembered
    if _remembered is None:
        directory, named = os.getcwd(), os.environ.get("PWD", "")
        # The name by which we came here: it may lead through a link that points elsewhere tomorrow.
        try:
            if os.path.isabs(named) and os.path.samefile(named, directory):
                directory = named
        except OSError:
            pass
        command = (sys.executable, *sys.orig_argv[1:])
        _remembered = OwnCommand(command, directory, tuple(os.environ.items()))
    return _remembered
