"""The published strictness collections, against the parser and against servers by socket."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from pathlib import Path

import pytest
from counts import CASES, collections, parse, passes
from strictness import CLOSED, OPEN, WAITS, Case

DOCUMENT = Path(__file__).parents[3] / "docs" / "SERVER.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_parser_however_the_bytes_are_cut(case):
    assert passes(case)
    requests, end = parse([case.data[i : i + 1] for i in range(len(case.data))])
    # Cut into bytes it may be refused before it is known how badly.
    assert requests == case.requests
    assert end == case.end or (isinstance(end, int) and isinstance(case.end, int))
    dice = random.Random(case.id)
    for _ in range(3):
        cuts = sorted(dice.randrange(len(case.data) + 1) for _ in range(3))
        pieces = [case.data[a:b] for a, b in zip([0, *cuts], [*cuts, len(case.data)], strict=True)]
        assert parse(pieces)[0] == case.requests


def test_cases_are_told_apart():
    assert [name for name, n in Counter(case.id for case in CASES).items() if n > 1] == []


def test_the_document_gives_the_counts_there_are():
    text = DOCUMENT.read_text()
    for row in collections():
        assert row in text
    assert f"in all {len(CASES):,} cases" in text.replace("\n", " ")


PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def ask(address: tuple[str, int], case: Case):
    """The outcome as a client sees it."""
    with socket.create_connection(address, timeout=30) as sock:
        # A next request shows that the server knows where this one ended.
        sock.sendall(case.data + (PROBE if case.end == OPEN else b""))
        if case.end == WAITS:
            sock.shutdown(socket.SHUT_WR)
        answers = sock.makefile("rb")
        requests: list[tuple[str, str, str]] = []
        methods = [request[0] for request in case.requests]
        while True:
            try:
                answer = read_answer(answers, methods[len(requests) : len(requests) + 1])
            except ConnectionResetError:
                return tuple(requests), "reset"
            if answer is None:
                break
            status, body = answer
            if status >= 400:
                assert answers.read() == b"", "an answer after a refusal"
                return tuple(requests), status
            if status == 200:
                expected = case.requests[len(requests)] if not body else json.loads(body)
                requests.append(tuple(expected))
        if case.end == OPEN and requests and requests[-1] == ("GET", "/probe", ""):
            return tuple(requests[:-1]), OPEN
        return tuple(requests), WAITS if case.end == WAITS else CLOSED


def read_answer(answers, method: list[str]):
    line = answers.readline()
    if not line:
        return None
    version, status, _ = line.split(b" ", 2)
    assert version == b"HTTP/1.1"
    length = 0
    while (field := answers.readline()) not in (b"\r\n", b""):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(status), b"" if method == ["HEAD"] else answers.read(length)


@pytest.mark.parametrize("kind", ["gthread", "gevent", "asgi"])
def test_a_server_by_socket(serve, kind):
    if kind == "gevent":
        pytest.importorskip("gevent")
    target = "echoes:asgi" if kind == "asgi" else "echoes:wsgi"
    threads = 4 if kind == "gthread" else 1
    server = serve(target, worker_class=kind, threads=threads, chdir=Path(__file__).parent)
    wrong = {}
    for case in CASES:
        got = ask(server.address, case)
        # ASGI knows a target's path and query only, without the authority.
        if kind == "asgi":
            got = (tuple((m, _path(t), b) for m, t, b in got[0]), got[1])
        want = tuple((m, _path(t) if kind == "asgi" else t, b) for m, t, b in case.requests)
        # Half a request and the client's end: the server goes, too. 408 would say that it has
        # missed the end and lost its patience.
        if got != (want, case.end):
            wrong[case.id] = (got, case.outcome)
    assert wrong == {}


def _path(target: str) -> str:
    if target.startswith("http://"):
        authority, slash, rest = target[7:].partition("/")
        if slash:
            return slash + rest
        _, mark, query = authority.partition("?")
        return "/" + mark + query
    return target
