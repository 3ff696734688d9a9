"""The secrets this run was given, so that no message, report or log tail repeats one.

A pattern finds a password only where a URL is well formed, and an app's traceback need not be. What
the environment says is secret is known exactly, and can be taken out of any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, overload
from urllib.parse import quote, unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 4  # of fewer characters, hiding would eat ordinary words
LONGEST_WORD = 10

_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY", re.IGNORECASE)
# Values such names have when they are switches.
_SWITCHES = frozenset({"true", "false", "none", "null"})
_USER = re.compile(r"://[^:@]*:")
_PARAMETER = re.compile(r"(?i)(?:password|passwd|pwd)\s*=\s*('(?:[^'\\]|\\.)*'|[^&\s;]*)")
_IN_QUERY = re.compile(r"(?i)[?&](?:\w*password|passfile)=([^&]*)")
_RESERVED = re.compile(r"[/?#\[\]@]")

# Names of ours that choose what a report says: no text of an app stands under these keys, and a
# password "fits" must not take the verdict away.
_OWN_KEYS = frozenset(
    {"verdict", "kind", "severity", "worker_class", "binding", "violates", "leak_class"}
)


def known_secrets(environ: Mapping[str, str], *urls: str) -> tuple[str, ...]:
    """Every secret the environment and the URLs hold, in each spelling, the longest first.

    Passwords of URLs (up to the last @, so that no unencoded one is cut short) and the values of
    variables named like secrets. Those shorter than ``SHORTEST`` are left out.
    """
    secrets = {secret for text in (*environ.values(), *urls) for secret in passwords(text)}
    secrets |= {
        value.strip()
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and value.strip().lower() not in _SWITCHES
    }
    spelled = {spelling for secret in secrets for spelling in spellings(secret)}
    return tuple(
        sorted((one for one in spelled if len(one) >= SHORTEST), key=lambda one: (-len(one), one))
    )


def passwords(text: str) -> set[str]:
    """Return what may be a password in a URL, several URLs, or a ``key=value`` string, as written.

    A password with an unencoded ``@`` could end at any of them: each reading is given.
    """
    candidates = {*_PARAMETER.findall(text), *_IN_QUERY.findall(text)}
    candidates |= {secret[1:-1] for secret in candidates if secret.startswith("'")}
    for user in _USER.finditer(text):
        rest = text[user.end() :]
        candidates |= {rest[: at.start()] for at in re.finditer("@", rest)}
        candidates |= _fragments(rest)
    return candidates - {"", "'"}


def _fragments(rest: str) -> set[str]:
    """Return what a parser may show as a "port" or "host" of a password that is not encoded."""
    authority = re.split(r"[/?#\s]", rest, maxsplit=1)[0]
    password = authority.rpartition("@")[0]
    if not password:
        if authority.isdigit() or "@" not in rest:  # a port, and no password at all
            return set()
        password = rest.partition("@")[0]
    return set(_RESERVED.split(password))


def spellings(secret: str) -> Iterator[str]:
    """As written, decoded, encoded, and as Python's repr and JSON would show each."""
    for plain in {secret, unquote(secret), unquote_plus(secret), quote(unquote(secret), safe="")}:
        yield plain
        yield repr(plain)[1:-1]
        yield plain.replace("\\", "\\\\").replace("'", "\\'")
        yield json.dumps(plain)[1:-1]


@overload
def hide(tree: str, secrets: tuple[str, ...]) -> str: ...
@overload
def hide(tree: Any, secrets: tuple[str, ...]) -> Any: ...
def hide(tree: Any, secrets: tuple[str, ...]) -> Any:
    """A copy of a text, or of a document's values, with *** for each secret. Keys stay."""
    if not any(secrets):
        return tree
    ordered = sorted(filter(None, secrets), key=len, reverse=True)
    return _hidden(tree, re.compile("|".join(map(_pattern, ordered))))


def _pattern(secret: str) -> str:
    """A mere word is hidden as a word: of a password "postgres", "postgresql://" says nothing."""
    if len(secret) <= LONGEST_WORD and (secret.isalpha() or secret.isdigit()):
        return rf"(?<![^\W_]){re.escape(secret)}(?![^\W_]|://)"
    return re.escape(secret)


def _hidden(tree: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(tree, str):
        return pattern.sub(HIDDEN, tree)
    if isinstance(tree, Mapping):
        return {
            key: value
            if key in _OWN_KEYS and not isinstance(value, Mapping)
            else _hidden(value, pattern)
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [_hidden(value, pattern) for value in tree]
    return tree
