"""Limits of what a client may send; beyond them a request, or a connection, is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits on the sizes of a request and of a WebSocket's messages."""

    line: int = 8190  # bytes of the request line
    fields: int = 100
    field_size: int = 8190  # bytes of one field line
    body: int = 0  # bytes; 0: any number
    message: int = 16 << 20  # bytes of one WebSocket message, inflated; 0: any number
    messages: int = 128 << 20  # bytes of them that a worker holds for all clients; 0: any number
