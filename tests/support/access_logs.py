"""Access logs made line by line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

BEGIN = 1_796_000_000 // 3600 * 3600  # a whole hour


def line(second: int, request: str = "GET / HTTP/1.1", status: int = 200, agent: str = "M") -> str:
    """One line of nginx's combined format."""
    moment = datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'203.0.113.9 - - [{moment}] "{request}" {status} 99 "-" "{agent}"\n'


def write(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(lines))
    return path
