"""Placeholders of Jinja and Helm in a file, as the shell reader's marks for what is not known."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pretune.advisor.deployed.shell import mark_rests, mark_unknown

_PLACEHOLDER = re.compile(r"\{\{-?\s*([^{}]{1,200}?)\s*-?\}\}")
_STATEMENT_LINE = re.compile(
    r"^[ \t]*(\{\{-?[^{}]*-?\}\}|\{%-?[^%]*-?%\}|\{#.*#\})[ \t]*$", re.MULTILINE
)
_DEFAULT = re.compile(r"(.+?)\s*\|\s*default\(?\s*[\"']?([\w.:/-]+)[\"']?\s*(?:,[^)]*)?\)?.*")
_VALUE = re.compile(r"\.Values\.([\w.]+)(?:\s*\|\s*(?:quote|int|toString|squote|int64))*")


def filled(text: str, values: Mapping[str, str] | None = None) -> str:
    """``text`` with what ``values`` (``web.workers`` -> ``3``) say.

    A line that is a statement alone is empty, so that the others keep their numbers.
    """
    if "{{" not in text and "{%" not in text:
        return text
    text = _STATEMENT_LINE.sub("", text)

    def put(found: re.Match[str]) -> str:
        inner = found[1]
        value = _VALUE.fullmatch(inner)
        if value is not None and values is not None and value[1] in values:
            return values[value[1]]
        default = _DEFAULT.fullmatch(inner)
        if default is not None:
            return default[2] + mark_rests(f"unless {default[1]} is set")
        return mark_unknown("{{" + inner.split("|")[0].strip() + "}}")

    return _PLACEHOLDER.sub(put, text)
