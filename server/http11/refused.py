"""The error that a parser raises for what is not served, with the status that says so."""

from __future__ import annotations


class Refused(Exception):
    """The request is answered with ``status`` and the connection closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
