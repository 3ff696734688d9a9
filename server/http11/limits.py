"""Limits of one request's size; beyond them it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much of a request is taken."""

    line: int = 8190  # bytes of the request line
    fields: int = 100
    field_size: int = 8190  # bytes of one field line
    body: int = 0  # bytes; 0: any number
