"""Completion of TARGET in a shell: modules below a directory that may hold an application."""

from __future__ import annotations

import os
from pathlib import Path

# Modules whose names say that they hold an application: what is meant, nearly always.
LIKELY = ("wsgi", "asgi", "app", "main", "application", "server")
_SKIPPED = ("tests", "test", "migrations", "node_modules", "venv", "site-packages")


def targets(incomplete: str, directory: Path) -> list[str]:
    """Dotted names that begin with ``incomplete``: likely modules, and packages to go on into."""
    package, _, stem = incomplete.rpartition(".")
    base = directory.joinpath(*package.split(".")) if package else directory
    prefix = f"{package}." if package else ""
    names = []
    for name, module in _modules(base):
        if not name.startswith(stem):
            continue
        if module:
            if name in LIKELY or stem:
                names.append(prefix + name)
            continue
        inner = [each for each, is_module in _modules(base / name) if is_module and each in LIKELY]
        names += [f"{prefix}{name}.{each}" for each in inner] or [f"{prefix}{name}."]
    return sorted(names)


def _modules(directory: Path) -> list[tuple[str, bool]]:
    """(name, whether it is a module and not a package) of what can be imported from there."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return []
    modules = []
    for entry in entries:
        name, suffix = os.path.splitext(entry.name)
        if not name.isidentifier() or name in _SKIPPED or name.startswith("_"):
            continue
        if suffix == ".py" and entry.is_file():
            modules.append((name, True))
        elif not suffix and entry.is_dir() and _holds_python(entry.path):
            modules.append((name, False))
    return modules


def _holds_python(directory: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(directory))
    except OSError:
        return False
