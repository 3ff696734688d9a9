"""All strictness cases, and how many of each collection pass: run it, and it prints the table.

The counts are those of the parser; test_strictness asks servers, by socket, the same.
"""

from __future__ import annotations

import cases_gunicorn
import cases_h1spec
import cases_llhttp
import cases_parsers
import cases_smuggling
from strictness import CLOSED, OPEN, WAITS, Case

from pretune.server.http11.http1 import Reader, body_of
from pretune.server.http11.refused import Refused

CASES: list[Case] = [
    *cases_h1spec.CASES,
    *cases_gunicorn.CASES,
    *cases_llhttp.CASES,
    *cases_parsers.CASES,
    *cases_smuggling.CASES,
]
# source, as the cases name it -> the collection as it calls itself
NAMES = {
    "uNetworking/h1spec": "h1spec (uNetworking)",
    "dropseed/h1spec": "h1spec (dropseed), with its strict and hardening checks",
    "gunicorn invalid": "gunicorn, `tests/requests/invalid`",
    "llhttp": "llhttp, `test/request`",
    "picohttpparser": "picohttpparser, `test.c`",
    "hyper": "hyper, its decoder of chunks",
    "http-garden": "HTTP Garden, its trophies",
    "smuggler": "smuggler (defparam), `exhaustive`",
    "http-request-smuggler": "HTTP Request Smuggler (PortSwigger)",
}


def parse(pieces: list[bytes]):
    """What our parser makes of bytes that come in these pieces."""
    reader, buffer, body = Reader(), b"", None
    requests: list[tuple[str, str, str]] = []
    parts: list[bytes] = []
    try:
        for piece in pieces:
            buffer += piece
            while True:
                if body is None:
                    request, buffer = reader.take(buffer)
                    if request is None:
                        break
                    body, parts = body_of(request), []
                part, buffer = body.feed(buffer)
                parts.append(part)
                if not body.done:
                    break
                text = b"".join(parts).decode("latin-1")
                requests.append((request.method, request.target, text))
                body = None
                if not request.keep_alive:
                    return tuple(requests), CLOSED
    except Refused as refused:
        return tuple(requests), refused.status
    return tuple(requests), WAITS if buffer or body is not None else OPEN


def passes(case: Case) -> bool:
    return parse([case.data]) == case.outcome


def collections() -> list[str]:
    """Rows of the table in docs/SERVER.md: cases, those that pass, those refused on purpose."""
    rows = []
    for source, name in NAMES.items():
        cases = [case for case in CASES if case.source == source]
        refused = sum(bool(case.refuses) for case in cases)
        rows.append(f"| {name} | {len(cases)} | {sum(map(passes, cases))} | {refused} |")
    return rows


if __name__ == "__main__":
    print("| collection | cases | pass | of these refused where the collection is lenient |")
    print("|---|---|---|---|")
    print(*collections(), sep="\n")
    print(f"{sum(map(passes, CASES))} of {len(CASES)} pass")
