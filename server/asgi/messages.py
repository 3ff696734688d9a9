"""Checks of the messages that an app sends: a wrong type is an error that says which and where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_BYTES_LIKE = (bytearray, memoryview)


def kind_of(message: Any) -> str:
    """The type of a message. Raises TypeError."""
    try:
        kind = message["type"]
    except (TypeError, KeyError):
        kind = None
    if not isinstance(kind, str):
        raise TypeError(f"a message is a dict with a 'type', not {_shown(message)}")
    return kind


def bytes_of(message: Any, key: str) -> bytes:
    """``message[key]``, if it is bytes-like and not bytes. Raises TypeError."""
    value = message[key]
    return bytes(value) if isinstance(value, _BYTES_LIKE) else expect(message, key, bytes)


def expect(message: Any, key: str, kind: type) -> Any:
    """``message[key]``, if it is of this type. Raises TypeError."""
    value = message.get(key)
    if isinstance(value, kind):
        return value
    raise TypeError(
        f"{message['type']}: {key!r} must be {kind.__name__}, "
        + (f"not {type(value).__name__}: {_shown(value)}" if key in message else "and is missing")
    )


def headers_of(message: Any) -> list[tuple[bytes, bytes]]:
    """The headers, each two of bytes. Raises TypeError."""
    headers = message.get("headers") or ()
    if not isinstance(headers, Iterable) or isinstance(headers, str | bytes | dict):
        raise TypeError(f"{message['type']}: 'headers' must be pairs of bytes: {_shown(headers)}")
    pairs: list[tuple[bytes, bytes]] = []
    for header in headers:
        pair = list(header) if isinstance(header, list | tuple) else []
        if len(pair) != 2 or not all(isinstance(part, bytes) for part in pair):
            raise TypeError(
                f"{message['type']}: a header must be two of bytes, not {_shown(header)}"
            )
        pairs.append((pair[0], pair[1]))
    return pairs


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
