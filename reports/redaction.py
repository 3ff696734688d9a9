"""Secrets that must not stand in anything we write or show: passwords in URLs, secret headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "***"
SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"}
)

# Greedy up to the last @ before a space: a password with a slash or a quote in it must not slip
# through. One with a space does; pretune.advisor.confidential takes out those that are known.
_USERINFO = re.compile(r"(://[^:/?#@\s]*):\S*@")
_PARAMETER = re.compile(r"([?&]\w*password=)[^&\s'\"<>]*", re.IGNORECASE)
_KEYWORD = re.compile(r"(\b\w*password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)


def in_urls(text: str) -> str:
    """Free text with the passwords of all URLs in it hidden."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1:{HIDDEN}@", text))


def in_dsn(text: str) -> str:
    """A database URL or a libpq ``key=value`` string without its password."""
    return in_urls(text) if "://" in text else _KEYWORD.sub(rf"\1{HIDDEN}", text)


def safe_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The same with the values of secret ones hidden."""
    return tuple(
        (name, HIDDEN if name.lower() in SECRET_HEADERS else value) for name, value in headers
    )


def redacted(tree: Any, key: str = "") -> Any:
    """A copy of a document with the passwords of URLs hidden, and secret ``headers``."""
    if isinstance(tree, Mapping):
        if key == "headers":
            return {
                name: HIDDEN if name.lower() in SECRET_HEADERS else redacted(value)
                for name, value in tree.items()
            }
        return {name: redacted(value, name) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [redacted(value) for value in tree]
    return in_urls(tree) if isinstance(tree, str) else tree
