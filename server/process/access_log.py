"""A line for each request, in the format the user chose: gunicorn's atoms.

``%(h)s`` peer, ``l`` -, ``u`` user of basic authentication, ``t`` time, ``r`` request line, ``m``
method, ``U`` path, ``q`` query, ``H`` protocol, ``s`` status, ``b`` and ``B`` bytes sent, ``f``
referer, ``a`` user agent, ``T`` ``M`` ``D`` whole s, ms, us it took, ``L`` decimal s, ``p`` pid,
``{name}i`` request field, ``{name}o`` response field, ``{name}e`` variable of the environ. What is
not there is ``-``. All of it may come from an enemy and is quoted.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pretune.server.clock import Clock

COMBINED = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


@dataclass(frozen=True)
class Entry:
    """A request that is over, as the access log knows it. ``environ`` holds its fields as
    HTTP_NAME.
    """

    peer: str
    line: str
    status: int
    sent: int  # bytes
    seconds: float
    environ: Mapping[str, object]
    headers: Iterable[tuple[str, str]]


def check(template: str) -> None:
    """Raises ValueError if the format cannot be used."""
    try:
        line(template, Entry("", "GET / HTTP/1.1", 200, 0, 0.0, {}, ()))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{template!r} is not an access log format: {error}") from None


def line(template: str, entry: Entry) -> str:
    """The line, without its end."""
    return template % _Atoms(entry)


def combined(peer: str, line: str, status: int, sent: int, referer: str, agent: str) -> str:
    """The same as ``line(COMBINED, ...)``, faster, and without a user."""
    return (
        f'{peer or "-"} - - {stamp()} "{quoted(line)}" {status} {sent} '
        f'"{quoted(referer)}" "{quoted(agent)}"'
    )


def quoted(text: str) -> str:
    """Hostile text made safe for a line of a log."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    text = text.encode("latin-1", "replace").decode("ascii", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


_stamp = (0, "")


def stamp() -> str:
    """Now, as ``[31/Dec/2025:23:59:59 +0000]``; the same string for a whole second."""
    global _stamp
    now = int(Clock.time())
    if _stamp[0] != now:
        _stamp = (now, Clock.strftime("[%d/%b/%Y:%H:%M:%S %z]"))
    return _stamp[1]


class _Atoms:
    """Values by atom, computed when asked for. Not a dict: ``%`` takes anything with items."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __getitem__(self, name: str) -> object:
        entry = self._entry
        value: object | None = None
        if name[:1] == "{" and name[-2:-1] == "}" and name[-1] in _OF_KIND:
            value = _OF_KIND[name[-1]](entry, name[1:-2])
        elif name in _ATOMS:
            value = _ATOMS[name](entry)
        if value is None:
            return "-"
        return value if isinstance(value, int) else quoted(str(value))


def _part(entry: Entry, number: int) -> str | None:
    parts = entry.line.split(" ")
    return parts[number] if number < len(parts) else None


def _target(entry: Entry, number: int) -> str:
    return (_part(entry, 1) or "").partition("?")[number]


def _user(entry: Entry) -> str | None:
    scheme, _, value = str(entry.environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = binascii.a2b_base64(value.strip()).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    return decoded.partition(":")[0] or None


def _field(entry: Entry, name: str) -> object | None:
    key = name.upper().replace("-", "_")
    bare = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    return entry.environ.get(key if bare else f"HTTP_{key}") or None


def _answered(entry: Entry, name: str) -> str | None:
    return next((value for key, value in entry.headers if key.lower() == name.lower()), None)


def _variable(entry: Entry, name: str) -> object | None:
    environ = entry.environ
    return environ.get(name, environ.get(name.upper()))


_OF_KIND: dict[str, Callable[[Entry, str], object | None]] = {
    "i": _field,
    "o": _answered,
    "e": _variable,
}

_ATOMS: dict[str, Callable[[Entry], object | None]] = {
    "h": lambda e: e.peer or None,
    "u": _user,
    "t": lambda e: stamp(),
    "r": lambda e: e.line,
    "m": lambda e: _part(e, 0),
    "U": lambda e: _target(e, 0),
    "q": lambda e: _target(e, 2),
    "H": lambda e: _part(e, 2),
    "s": lambda e: e.status,
    "b": lambda e: e.sent,
    "B": lambda e: e.sent,
    "f": lambda e: e.environ.get("HTTP_REFERER"),
    "a": lambda e: e.environ.get("HTTP_USER_AGENT"),
    "T": lambda e: int(e.seconds),
    "M": lambda e: int(e.seconds * 1e3),
    "D": lambda e: int(e.seconds * 1e6),
    "L": lambda e: f"{e.seconds:.6f}",
    "p": lambda e: f"<{os.getpid()}>",
}
