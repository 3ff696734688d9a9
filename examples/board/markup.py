"""The board's markup: headings, lists, quotes, code, emphasis and links, to safe HTML."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

SPANS = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*(.+?)\*"), r"<em>\1</em>"),
    (re.compile(r"\[([^]]+)]\((https?://[^)\s\"]+)\)"), r'<a rel="nofollow" href="\2">\1</a>'),
)
# How a line begins, what the lines of such a block stand in, and what each line stands in.
BLOCKS = (
    ("    ", "pre", None),
    ("- ", "ul", "li"),
    ("&gt; ", "blockquote", None),
    ("# ", None, "h3"),
)


def spans(line: str) -> str:
    """Markup inside a line of escaped text."""
    for pattern, replacement in SPANS:
        line = pattern.sub(replacement, line)
    return line


def render(text: str) -> str:
    """The HTML of a post."""
    lines = escape(text).splitlines()
    return "\n".join(_block(start, list(group)) for start, group in groupby(lines, _start))


def _start(line: str) -> str:
    if not line.strip():
        return "\n"
    return next((start for start, _, _ in BLOCKS if line.startswith(start)), "")


def _block(start: str, lines: list[str]) -> str:
    if start == "\n":
        return ""
    outer, inner = next(((o, i) for s, o, i in BLOCKS if s == start), ("p", None))
    rendered = [
        line[len(start) :] if outer == "pre" else spans(line[len(start) :]) for line in lines
    ]
    if inner:
        rendered = [f"<{inner}>{line}</{inner}>" for line in rendered]
    body = "\n".join(rendered)
    return f"<{outer}>{body}</{outer}>" if outer else body
