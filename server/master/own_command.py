"""How this process was started, so that it can start its successor the same way."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """The command line, with the interpreter's path; the directory and environment it came into."""

    command: tuple[str, ...]
    directory: str
    environ: tuple[tuple[str, str], ...]


_remembered: Origin | None = None


def remember() -> Origin:
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
        _remembered = Origin(command, directory, tuple(os.environ.items()))
    return _remembered
