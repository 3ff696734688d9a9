"""The application under test, as the user named it and as preflight found it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """``spec`` is what the server is told to import; the rest is what preflight learned.

    Forms of ``spec``: ``myapp.wsgi`` (its ``application`` or ``app``), ``module:name``,
    ``module:factory()``, ``path/to/file.py[:name]``.
    """

    spec: str
    chdir: Path
    python: Path  # the app's interpreter
    interface: str  # "wsgi" | "asgi"
    framework: str  # "django" | "flask" | "fastapi" | "starlette" | "unknown"
    callable_name: str  # "examples.shop.wsgi:application", for deployable files
    file: Path | None  # where the module lives
    python_version: str
    boot_s: float  # import time in the preflight child
