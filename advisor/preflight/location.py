"""The location of the target: its file, its project's configuration, its directory, its
interpreter.

Nothing is imported here: the app's code runs only in the app's own interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretune.advisor.preflight import config as configuration
from pretune.server.process import importing


class LocationError(ValueError):
    """The target or its interpreter is not where it was said to be."""


@dataclass(frozen=True)
class Location:
    """``chdir`` is where hooks and app run; ``file`` None when the module was not found by path."""

    spec: str
    file: Path | None
    chdir: Path
    config: configuration.Config
    python: Path


def locate(
    spec: str,
    *,
    cwd: Path,
    chdir: Path | None,
    python: Path | None,
    environ: Mapping[str, str],
) -> Location:
    """Raises LocationError, ConfigError."""
    try:
        importing.split(spec)
    except importing.TargetMissing as error:
        raise LocationError(f"TARGET: {error}") from error
    base = (cwd / chdir).resolve() if chdir else cwd
    if not base.is_dir():
        raise LocationError(f"--chdir {chdir}: no such directory")
    file = find_file(spec, base)
    if is_path(spec) and file is None:
        raise LocationError(f"{spec.partition(':')[0]}: no such file")
    config = configuration.find(file.parent if file else base)
    if chdir is None:
        base = config.path("chdir") or _default_directory(spec, file, base)
        if not base.is_dir():
            raise LocationError(f"{config.file}: chdir = {config.get('chdir')!r} is no directory")
    interpreter = find_python(python or config.path("python"), base, environ)
    if is_path(spec) and file is not None:
        name = spec.partition(":")[2]
        spec = f"{file}:{name}" if name else str(file)
    return Location(spec, file, base, config, interpreter)


def is_path(spec: str) -> bool:
    """``path/to/file.py[:name]`` against ``package.module[:name]``."""
    head = spec.partition(":")[0]
    return head.endswith(".py") or os.sep in head


def find_file(spec: str, base: Path) -> Path | None:
    """The source file a spec names, if it lies at or below ``base`` (or is a path)."""
    head = spec.partition(":")[0]
    if is_path(spec):
        file = (base / head).resolve()
        return file if file.is_file() else None
    stem = base.joinpath(*head.split("."))
    for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _default_directory(spec: str, file: Path | None, base: Path) -> Path:
    """A file given by path runs where its topmost package stands; a module where the user is."""
    if not is_path(spec) or file is None:
        return base
    directory = file.parent
    while (directory / "__init__.py").is_file():
        directory = directory.parent
    return directory


def find_python(asked: Path | None, project: Path, environ: Mapping[str, str]) -> Path:
    """The app's interpreter. Raises LocationError when it does not start."""
    if asked is not None:
        python = asked / "bin" / "python" if asked.is_dir() else asked
        return _checked(python, "--python")
    own = Path(sys.prefix).resolve()
    active = environ.get("VIRTUAL_ENV")
    candidates = [(Path(active), "the active environment")] if active else []
    candidates += [(project / name, f"{name} beside the project") for name in (".venv", "venv")]
    for prefix, source in candidates:
        python = prefix / "bin" / "python"
        if python.is_file() and prefix.resolve() != own:
            return _checked(python, source)
    return Path(sys.executable)  # the environment of tune itself


def _checked(python: Path, source: str) -> Path:
    python = python.absolute()  # not resolved: a venv is known by the link's own place
    try:
        subprocess.run([python, "-c", ""], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{python} ({source}) does not start: {error}"
        raise LocationError(message) from error
    return python
