"""A workload made ready to be sent: bytes per path, endpoints dealt by their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.loadtests.asking import request_target
from pretune.loadtests.deck import Deck
from pretune.server.telemetry import ENDPOINT_HEADER

# What a browser would accept, so that an app that compresses pays for it here as well.
DEFAULT_HEADERS = {"User-Agent": "pretune", "Accept": "*/*", "Accept-Encoding": "gzip, deflate, br"}


class Script:
    """A workload made ready: for each endpoint its part of the requests and the bytes to send.

    All users of a run take from the same decks, so that every trial of one seed is sent the same
    requests in the same order, however many users there are. A request head lacks its last line, so
    that a user can add its cookies.
    """

    def __init__(
        self, workload: Mapping[str, Any], address: tuple[str, int], seed: int = 1
    ) -> None:
        endpoints = workload["endpoints"]
        if not endpoints:
            raise ValueError("the workload has no endpoints")
        self._endpoints = Deck([endpoint["share"] for endpoint in endpoints], f"{seed}:endpoints")
        self._paths = [
            Deck(endpoint["weights"] or [1.0] * len(endpoint["paths"]), f"{seed}:paths:{number}")
            for number, endpoint in enumerate(endpoints, 1)
        ]
        lines = [
            header_lines([*each.get("headers", ()), *workload["headers"]], address)
            for each in endpoints
        ]
        self.head_only = [endpoint["method"] == "HEAD" for endpoint in endpoints]
        self.heads = [
            [
                (
                    f"{endpoint['method']} {request_target(path)} HTTP/1.1\r\n"
                    f"{lines[number - 1]}{ENDPOINT_HEADER}: {number}\r\n"
                ).encode("latin-1")
                for path in endpoint["paths"]
            ]
            for number, endpoint in enumerate(endpoints, 1)
        ]

    def deal(self) -> tuple[int, bytes]:
        """Index of an endpoint and one of its heads, each dealt by its share."""
        index = self._endpoints.deal()
        heads = self.heads[index]
        return index, heads[0] if len(heads) == 1 else heads[self._paths[index].deal()]


def header_lines(headers: Sequence[Sequence[str]], address: tuple[str, int]) -> str:
    """Header lines with the workload's in place of the defaults, names compared without case."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    merged = {"host": ("Host", f"{host}:{address[1]}")}
    for name, value in (*DEFAULT_HEADERS.items(), *headers):
        if any(sign in name + value for sign in "\r\n\0"):
            raise ValueError(f"header {name!r} holds a line break")
        merged[name.lower()] = (name, value)
    return "".join(f"{name}: {value}\r\n" for name, value in merged.values())
