"""Reports what a gunicorn.conf.py says, without serving: one JSON object.

The file is executed as a server would, in the app's interpreter. How many cores it is told can be
given: ``multiprocessing.cpu_count() * 2 + 1`` is about the machine of the deployment. Which of the
environment's variables it asked for in vain is noted, since they may be set there.
"""

from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from pretune.server.config import conffile
from pretune.server.config.config import ConfigBroken
from pretune.server.settings import Settings

SHOWN = (*Settings.__dataclass_fields__, "wsgi_app")


class _Watched(os._Environ):  # type: ignore[type-arg]
    """The environment, keeping the names that were asked for and not there."""

    missed: dict[str, None]

    def __getitem__(self, key: str) -> str:
        try:
            value: str = super().__getitem__(key)
            return value
        except KeyError:
            type(self).missed[key] = None
            raise


class _Counted:
    """Stands in for what counts cores, and knows whether it was asked."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.asked = False

    def __call__(self, *_: Any) -> int:
        self.asked = True
        return self.cores

    def affinity(self, *_: Any) -> set[int]:
        self.asked = True
        return set(range(self.cores))


def main(argv: Sequence[str]) -> NoReturn:
    """``PLACE --chdir DIR [--cores N] --out-fd FD``: a path, or ``python:MODULE``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("place")
    parser.add_argument("--chdir", default=".")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out-fd", type=int, required=True)
    asked = parser.parse_args(argv)
    document = report(asked.place, os.path.abspath(asked.chdir), asked.cores)
    with os.fdopen(asked.out_fd, "w") as out:
        json.dump(document, out, default=str)
    os._exit(0)  # threads that the file began may never end


def report(place: str, directory: str, cores: int) -> dict[str, Any]:
    """``settings``: by name; ``lines``: where each stands; ``foreign`` and ``unknown``: names;
    ``rests``: of each, whether it counts cores, and the variables it asked for in vain."""
    counted = _Counted(cores)
    _Watched.missed = {}
    os.environ.__class__ = _Watched
    os.cpu_count = multiprocessing.cpu_count = counted
    if hasattr(os, "process_cpu_count"):
        os.process_cpu_count = counted
    os.sched_getaffinity = counted.affinity
    try:
        file = conffile.read(place, directory)
    except ConfigBroken as error:
        return {"ok": False, "message": str(error)}
    shown = {n: v for n, v in file.known.items() if n in SHOWN}
    made = _made(place)
    rests = {}
    for name in shown:
        words = _behind(name, made)
        rests[name] = {
            "cores": counted.asked and not words.isdisjoint(_COUNTING),
            "missed": [variable for variable in _Watched.missed if variable in words],
        }
    return {
        "ok": True,
        "settings": shown,
        "lines": {name: nodes[-1].lineno for name, nodes in made.items()},
        "foreign": [name for name in file.foreign if not name.isidentifier()],
        "unknown": list(file.unknown),
        "rests": rests,
    }


_COUNTING = frozenset({"cpu_count", "process_cpu_count", "sched_getaffinity"})


def _made(place: str) -> dict[str, list[ast.stmt]]:
    """Name -> the statements that give it a value, in order; empty where there is no file."""
    try:
        with open(place, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return {}
    assignments: dict[str, list[ast.stmt]] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    assignments.setdefault(node.id, []).append(statement)
        elif isinstance(statement, ast.FunctionDef):
            assignments.setdefault(statement.name, []).append(statement)
    for statements in assignments.values():
        statements.sort(key=lambda s: s.lineno)
    return assignments


def _behind(name: str, made: dict[str, list[ast.stmt]]) -> set[str]:
    """Names, attributes and texts that a name's value is made of, through the file's own names."""
    words: set[str] = set()
    left = [name]
    while left:
        for statement in made.get(left.pop(), ()):
            for node in ast.walk(statement):
                word = (
                    node.id if isinstance(node, ast.Name)
                    else node.attr if isinstance(node, ast.Attribute)
                    else node.value if isinstance(node, ast.Constant) else None
                )  # fmt: skip
                if isinstance(word, str) and word not in words:
                    words.add(word)
                    left.append(word)
    return words
