"""The line of the user's own code a stack stands at, and what it is doing there.

A stack goes from the innermost frame outwards. Its *user frame* is the innermost frame that belongs
to the user's project, with the function of the library it has called there: of the frames further
in, the outermost one of the innermost package, as ``execute`` of psycopg below ten frames of an
ORM. A stack without a line of the user's (a view that a framework brings) stands where the
framework does.

The project is what lies under the app's directory, but for installed packages, virtual
environments and the standard library, which may lie there, too.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

DEEPEST = 400  # frames looked at

_SERVER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PROBES = os.path.dirname(os.path.abspath(__file__)) + os.sep
_INSTALLED = ("site-packages", "dist-packages")
OWN, OURS, PROBE, STDLIB = "own", "ours", "probe", "stdlib"

# A frame as far as it counts: its code and its line.
Line = tuple[CodeType, int]


class UserFrame(NamedTuple):
    """``file`` as shown: relative to the project, or ``package/module.py`` when not ``own``."""

    file: str
    line: int
    function: str
    own: bool


class UserFrames:
    """Knows whose file is whose. ``roots``: directories of the project, the first to show from."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = tuple(os.path.join(os.path.abspath(root), "") for root in roots)
        paths = sysconfig.get_paths()
        self._stdlib = tuple(
            os.path.join(paths[name], "") for name in ("stdlib", "platstdlib") if name in paths
        )
        self._prefixes = tuple(
            os.path.join(prefix, "")
            for prefix in {sys.prefix, sys.base_prefix}
            if any(prefix.startswith(root) for root in self._roots)
        )
        self._owners: dict[str, tuple[str, str]] = {}

    def owner(self, filename: str) -> tuple[str, str]:
        """(whose, as shown): OWN, OURS, PROBE, STDLIB or the name of a package."""
        owner = self._owners.get(filename)
        if owner is None:
            owner = self._owners[filename] = self._find_owner(filename)
        return owner

    def _find_owner(self, filename: str) -> tuple[str, str]:
        if filename.startswith(_PROBES):
            return PROBE, filename
        if filename.startswith(_SERVER):
            return OURS, filename
        parts = filename.split(os.sep)
        for name in _INSTALLED:
            if name in parts:
                after = parts[len(parts) - parts[::-1].index(name) :]
                return after[0].removesuffix(".py"), "/".join(after)
        if filename.startswith(("<frozen", *self._stdlib)):
            return STDLIB, "/".join(parts[-2:])
        if not filename.startswith(self._prefixes or ("\0",)):
            for root in self._roots:
                if filename.startswith(root):
                    return OWN, filename[len(root) :]
        return parts[-2] if len(parts) > 1 else filename, "/".join(parts[-2:])

    def find(self, stack: Iterable[Line]) -> UserFrame | None:
        """None for a stack in which only this server stands."""
        package = None  # the innermost one
        entered = ""  # through which of its functions
        reached = ("", 0)
        served = False  # this server has been called, or has called
        closed = False  # the innermost package has been left
        for code, line in stack:
            whose, shown = self.owner(code.co_filename)
            if whose == OWN:
                return UserFrame(shown, line, entered or _name(code), True)
            if whose == OURS:
                served = True
                continue
            if served:
                continue  # who called the server; only a line of the user's further out counts
            if whose == PROBE:
                if package is None and code.co_name != "_watched":
                    # The innermost of all: the function it times is written in C.
                    entered, closed = code.co_name, True
                continue
            if package is None:
                package = whose
            elif whose != package:
                closed = True
            if not closed:
                entered, reached = _name(code), (shown, line)
            elif not reached[0]:
                reached = (shown, line)
        if package is None:
            return None
        return UserFrame(reached[0], reached[1], entered, False)


def _name(code: CodeType) -> str:
    # A method with its class; of a function made by another, its own name is enough.
    return str(getattr(code, "co_qualname", code.co_name)).rpartition("<locals>.")[2]


def frames(frame: FrameType | None) -> Iterator[Line]:
    """A thread's, the innermost first."""
    for _ in range(DEEPEST):
        if frame is None:
            return
        yield frame.f_code, frame.f_lineno
        frame = frame.f_back


def awaits(coroutine: Any) -> list[Line]:
    """A suspended coroutine's: what it awaits, what that awaits; the innermost first."""
    lines: list[Line] = []
    for _ in range(DEEPEST):
        if coroutine is None:
            break
        for frame, awaited in (
            ("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"),
        ):  # fmt: skip
            at = getattr(coroutine, frame, None)
            if at is not None:
                lines.append((at.f_code, at.f_lineno))
                coroutine = getattr(coroutine, awaited, None)
                break
        else:
            break
    return lines[::-1]
