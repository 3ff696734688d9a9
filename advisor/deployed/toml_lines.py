"""Finds the line of a key in a TOML or JSON file: tomllib and json do not say it."""

from __future__ import annotations

import re


def line_of(text: str, key: str) -> int:
    """The first line that gives ``key`` a value; 1 where none does."""
    pattern = re.compile(rf"[\s{{,]*[\"']?{re.escape(key)}")
    numbered = enumerate(text.splitlines(), 1)
    return next((number for number, line in numbered if pattern.match(line)), 1)
