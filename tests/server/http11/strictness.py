"""What the table of strictness cases is made of.

In a case's text a line end is CRLF; the symbols ␍ and ␊ are a CR and a LF alone. What must come of
it: the requests (method, target, body), then OPEN (the default: the connection is ready for the
next request), CLOSED (as it should be after the last response), WAITS (more bytes are needed), or
the status of a refusal.

The cases name the collection and the case they are about. Their bytes and words are ours: where a
collection tests a parser that knows no Host, for example, ours has one, so that the point is tested
and not Host. ``refuses`` gives the reason where the collection expects leniency and we refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN = "open"
CLOSED = "closed"
WAITS = "waits"

Outcome = tuple[tuple[tuple[str, str, str], ...], "str | int"]


@dataclass(frozen=True)
class Case:
    source: str
    name: str
    data: bytes
    requests: tuple[tuple[str, str, str], ...]  # method, target, body
    end: str | int
    refuses: str = ""  # why, where the collection would accept

    @property
    def id(self) -> str:
        return f"{self.source}: {self.name}"

    @property
    def outcome(self) -> Outcome:
        return self.requests, self.end


def case(source: str, name: str, text: str, *want: str | int, refuses: str = "") -> Case:
    """``want``: requests as ``"METHOD target body"``, then the end."""
    data = text.replace("\n", "\r\n").replace("␍", "\r").replace("␊", "\n").encode("latin-1")
    end: str | int = OPEN
    if want and (isinstance(want[-1], int) or want[-1] in (OPEN, CLOSED, WAITS)):
        *want, end = want  # type: ignore[assignment]
    requests = []
    for line in want:
        method, target, body = (*str(line).split(" ", 2), "")[:3]
        requests.append((method, target, body.replace("\n", "\r\n")))
    return Case(source, name, data, tuple(requests), end, refuses)
