"""Field lines of a request: checked, and kept as the CGI keys WSGI needs.

Browsers and proxies send the same lines again and again, so a line's meaning is remembered by the
line's own bytes. That is safe for one reason only: the meaning is a pure function of those bytes,
and a hit needs all of them. Whoever could fetch a value from here already has it. Lines that carry
a secret are not kept all the same, so that it does not outlive its request in memory.

Lines are hostile input, so both memories are bounded, in entries and in bytes; a full one is
emptied, not frozen, or the first to fill it with rubbish would slow everybody after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pretune.server.http11.refused import Refused

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2
VALUE = r"[\t -~\x80-\xff]*"  # field-value with its surrounding whitespace, section 5.5

_NAME = re.compile(TOKEN).fullmatch
_VALUE = re.compile(VALUE).fullmatch

KEPT = 1024  # lines, and names
KEPT_LINE = 256  # bytes of a line that is kept
KEPT_NAME = 64

# Fields that may stand only once; a second one is a sign of an attack.
_SINGLE = frozenset({"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"})
_JOINED_BY = {"HTTP_COOKIE": "; "}  # all others by a comma
_SECRET = frozenset({"HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION"})

Pair = tuple["str | None", str]


class _Keys(dict[str, "str | None"]):
    """Field name as sent -> CGI key.

    None for a name with an underscore, which is dropped: ``X_Forwarded_For`` and
    ``X-Forwarded-For`` would become one key. Raises Refused for what is no name.
    """

    def __missing__(self, name: str) -> str | None:
        if _NAME(name) is None:
            raise Refused(400, "malformed header field")
        key = None if "_" in name else "HTTP_" + name.upper().replace("-", "_")
        if key in ("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"):
            key = key[5:]
        if len(name) <= KEPT_NAME:
            if len(self) >= KEPT:
                self.clear()
            self[name] = key
        return key


class _Lines(dict[bytes, Pair]):
    """Field line as sent -> (CGI key, value). Raises Refused for what is no field line."""

    def __missing__(self, line: bytes) -> Pair:
        name, colon, value = line.decode("latin-1").partition(":")
        key = _keys[name]
        # What is printable ASCII needs no regular expression; the rest may still be right.
        if not colon or (not (value.isprintable() and value.isascii()) and _VALUE(value) is None):
            raise Refused(400, "malformed header field")
        pair = (key, value.strip(" \t"))
        if len(line) <= KEPT_LINE and key not in _SECRET:
            if len(self) >= KEPT:
                self.clear()
            self[line] = pair
        return pair


class _RawLines(dict[bytes, "tuple[bytes, bytes]"]):
    """Field line, already checked -> (lower-case name, value), as ASGI wants them."""

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        name, _, value = line.partition(b":")
        pair = (name.lower(), value.strip(b" \t"))
        if len(line) <= KEPT_LINE and key_of(name) not in _SECRET:
            if len(self) >= KEPT:
                self.clear()
            self[line] = pair
        return pair


_keys = _Keys()
_lines = _Lines()
_raw_lines = _RawLines()
_pair_of = _lines.__getitem__


def fields_of(lines: list[bytes]) -> dict[str, str]:
    """CGI key -> value, repeated fields joined. Raises Refused."""
    fields: dict[str | None, str] = dict(map(_pair_of, lines))
    if len(fields) == len(lines) and None not in fields:
        return fields  # type: ignore[return-value]
    return _joined(map(_pair_of, lines))


def _joined(pairs: Iterable[Pair]) -> dict[str, str]:
    """As fields_of, where a field is repeated or dropped."""
    fields: dict[str, str] = {}
    parts: dict[str, list[str]] = {}
    for key, value in pairs:
        if key is None:
            continue
        if key not in fields:
            fields[key] = value
        elif key in _SINGLE:
            raise Refused(400, f"{key.removeprefix('HTTP_').replace('_', '-')} stands twice")
        else:
            parts.setdefault(key, [fields[key]]).append(value)
    for key, values in parts.items():
        fields[key] = _JOINED_BY.get(key, ",").join(values)
    return fields


def raw_of(lines: list[bytes], fields: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Lower-case pairs of checked lines, one for each line whose key is in ``fields``."""
    raw = list(map(_raw_lines.__getitem__, lines))
    if len(raw) == len(fields):
        return raw
    return [pair for pair in raw if key_of(pair[0]) in fields]


def key_of(name: bytes) -> str | None:
    """The CGI key of a field name, None if it has none."""
    return _keys[name.decode("latin-1")]
