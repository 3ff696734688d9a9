"""What holds of every input of the HTTP parser, and a short run of its fuzzer."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import h11
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pretune.server.http11 import proxy_protocol
from pretune.server.http11.bodies import ChunkedBody
from pretune.server.http11.forwarded import Trust, client_of, scheme_of
from pretune.server.http11.http1 import Reader, body_of
from pretune.server.http11.limits import Limits
from pretune.server.http11.refused import Refused
from pretune.server.http11.response import Head

FUZZER = Path(__file__).parents[3] / "bench" / "fuzz" / "differential.py"

quick = settings(max_examples=150, derandomize=True, deadline=None)

PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\n", b"GET",
        b" ", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b":", b"Host: a\r\n", b"Host: a\r\n\r\n",
        b"X: y\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: 5\r\n\r\nhello", b"Connection: close\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n",
        b"1;a=b\r\nx\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"\0", b"\xff", b"HTTP/1.0\r\n",
    ]
)  # fmt: skip
STREAMS = st.one_of(st.lists(PIECES, max_size=14).map(b"".join), st.binary(max_size=80))


def parse(pieces: list[bytes]):
    """The requests, and how it went on. Raises nothing."""
    reader, buffer, body, requests = Reader(), b"", None, []
    try:
        for piece in pieces:
            buffer += piece
            while True:
                if body is None:
                    request, buffer = reader.take(buffer)
                    if request is None:
                        break
                    body = body_of(request)
                    requests.append([request.method, request.target, request.headers(), b""])
                part, buffer = body.feed(buffer)
                requests[-1][3] += part
                if not body.done:
                    break
                body = None
    except Refused:
        return requests, "refused"
    return requests, "waits" if buffer or body is not None else "open"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@quick
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n\r\n", [27, 29, 31])
def test_it_does_not_matter_how_bytes_are_cut(data, places):
    assert parse(cut(data, places)) == parse([data])


@quick
@given(STREAMS)
def test_bytes_one_by_one_mean_the_same(data):
    assert parse([data[i : i + 1] for i in range(len(data))]) == parse([data])


LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"GET /%41?q HTTP/1.0", b"GET http://b/ HTTP/1.1", b"POST / HTTP/1.1",
     b"\r\nGET / HTTP/1.1", b"\r\n\r\n\r\nGET / HTTP/1.1", b"GET /\nX: y HTTP/1.1",
     b"GET  / HTTP/1.1",
     b"GET / HTTP/1.1\r\nX: y", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r", b"GET /\xe4 HTTP/1.1",
     b"GET /" + 40 * b"a" + b" HTTP/1.1", b"GET / HTTP/2.0", b"GET #/ HTTP/1.1",
     b"OPTIONS * HTTP/1.1"]
)  # fmt: skip
TAILS = st.sampled_from(
    [b"\r\n\r\n", b"\r\nHost: a\r\n\r\n", b"\r\nHost: a\r\nX_Y: 1\r\nA: b\r\n\r\n",
     b"\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", b"\r\nHost: a\r\nContent-Length: 0\r\n\r\n"]
)  # fmt: skip


@quick
@given(st.lists(st.tuples(LINES, TAILS), min_size=2, max_size=6), st.lists(TAILS, max_size=2))
def test_a_reader_that_remembers_fields_reads_as_one_that_does_not(heads, pipelined):
    def said(reader, data):
        try:
            request, rest = reader.take(data)
        except Refused as refused:
            return refused.status, str(refused)
        if request is None:
            return None, rest
        what = (request.method, request.target, request.path, request.query, request.minor)
        return (*what, request.fields, request.headers(), request.length, request.keep_alive, rest)

    limits = Limits(line=40)
    remembering = Reader(limits)
    for line, tail in heads:
        for data in (line + tail, line + tail + b"".join(b"GET / HTTP/1.1" + t for t in pipelined)):
            fresh = said(Reader(limits), data)
            assert said(remembering, data) == fresh
            if len(fresh) == 2:
                remembering = Reader(limits)  # that was the end of its connection


TOKENS = st.text("abcXYZ019!#$%&'*+-.^`|~", min_size=1, max_size=12)
VALUES = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=30
)


@quick
@given(st.lists(st.tuples(TOKENS, VALUES), max_size=12))
def test_fields_come_out_as_they_went_in(fields):
    framing = {"host", "content-length", "transfer-encoding", "expect"}
    assume(not any(name.lower() in framing for name, _ in fields))
    lines = ["GET / HTTP/1.1", "Host: a", *(f"{name}: {value}\t" for name, value in fields)]
    data = "\r\n".join((*lines, "", "")).encode("latin-1")
    for _ in range(2):  # the second time from memory
        request, rest = Reader().take(data + b"rest")
        assert request is not None
        assert rest == b"rest"
        said = [(b"host", b"a")]
        said += [(n.lower().encode(), v.strip(" \t").encode("latin-1")) for n, v in fields]
        assert request.headers() == said
        joined: dict[str, list[str]] = {}
        for name, value in fields:
            key = "HTTP_" + name.upper().replace("-", "_")
            joined.setdefault(key, []).append(value)
        assert {k: v for k, v in request.fields.items() if k != "HTTP_HOST"} == {
            key: ",".join(values) for key, values in joined.items()
        }


@quick
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.lists(st.integers(0, 999), max_size=6),
)
def test_a_chunked_body_is_put_together(chunks, places):
    data = b"".join(b"%x;a\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    data += b"0\r\nX: y\r\n\r\n"
    body, out, rest = ChunkedBody(), b"", b""
    for piece in cut(data + b"rest", places):
        if body.done:
            rest += piece
            continue
        part, rest = body.feed(piece)
        out += part
    assert (out, rest, body.done) == (b"".join(chunks), b"rest", True)


PROXY_WORDS = st.sampled_from(
    [b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"1.2.3.4 ", b"::1 ", b"80", b" ", b"\r\n"]
)


@quick
@given(
    st.lists(PROXY_WORDS, max_size=9).map(b"".join)
    | st.binary(max_size=40).map(lambda rest: b"\r\n\r\n\0\r\nQUIT\n" + rest),
    st.integers(0, 200),
)  # fmt: skip
def test_a_proxy_header_is_found_at_the_same_place_whatever_follows(data, size):
    def took(data):
        try:
            return proxy_protocol.take(data)
        except Refused as refused:
            return refused.status

    whole, begun = took(data), took(data[:size])
    if not isinstance(begun, int) and begun[0] is not None:
        assert not isinstance(whole, int)
        assert whole == (begun[0], data[len(data[:size]) - len(begun[1]) :])
    if isinstance(begun, int):
        assert isinstance(whole, int)


@quick
@given(st.text(max_size=60), st.sampled_from(["*", "10.0.0.0/8", ""]))
@example("6.6.6.6, 10.0.0.1", "10.0.0.0/8")
def test_forwarded_fields_may_hold_anything(text, allowed):
    fields = {"HTTP_X_FORWARDED_FOR": text, "HTTP_X_FORWARDED_PROTO": text}
    assert scheme_of(fields, trusted=True) in ("http", "https")
    peer = ("10.0.0.9", 1)
    client = client_of(fields, peer, Trust(allowed))
    assert client == peer or Trust("0.0.0.0/0,::/0").covers(client[0])


@quick
@given(st.lists(st.tuples(TOKENS | st.text(max_size=5), VALUES | st.text(max_size=10)), max_size=6))
def test_a_response_says_what_the_app_said_or_nothing(headers):
    dropped = {"content-length", "connection", "te", "date", "server"}
    assume(not any(name.lower() in dropped for name, _ in headers))
    try:
        head = Head("200 OK", headers, method="GET", minor=1, keep_alive=True, length=0)
    except ValueError:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head.data)
    response = client.next_event()
    said = [(n.lower().encode(), v.strip(" \t").encode("latin-1")) for n, v in headers]
    own = (b"content-length", b"server", b"date")
    assert [pair for pair in response.headers if pair[0] not in own] == said
    assert isinstance(client.next_event(), h11.EndOfMessage)


def test_the_fuzzer_finds_nothing_in_a_short_run():
    command = [sys.executable, str(FUZZER), "--executions", "1500", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


# -- work grows with the input, not with its square


def growth(work) -> float:
    """How much longer four times the work takes; 4 if it is linear, 16 if it is quadratic."""
    least = {}
    for size in (1, 4) * 3:
        spent = work(size)
        least[size] = min(spent, least.get(size, spent))
    return least[4] / least[1]


def test_a_head_sent_byte_by_byte_is_searched_once():
    def work(size: int) -> float:
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (2000 * size)
        reader, spent = Reader(), 0.0
        for end in range(1, len(data), 7):
            part = data[:end]
            began = time.thread_time()
            reader.take(part)
            spent += time.thread_time() - began
        return spent

    assert growth(work) < 9


def test_chunks_of_one_byte_cost_the_same_each():
    def work(size: int) -> float:
        data = b"1\r\na\r\n" * (10_000 * size)
        began = time.thread_time()
        ChunkedBody().feed(data)
        return time.thread_time() - began

    assert growth(work) < 9


def test_a_chunked_body_sent_byte_by_byte_costs_the_same_each():
    def work(size: int) -> float:
        line = b"1;" + b"e" * 600 + b"\r\n"  # its length has a limit, the number of chunks none
        body = ChunkedBody()
        began = time.thread_time()
        for _ in range(6 * size):
            for byte in line + b"a\r\n":
                body.feed(bytes((byte,)))
        return time.thread_time() - began

    assert growth(work) < 9


def test_many_tiny_fields_are_refused_before_they_are_looked_at():
    def work(size: int) -> float:
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * (4000 * size) + b"\r\n"
        began = time.thread_time()
        for _ in range(50):
            with pytest.raises(Refused):
                Reader().take(data)
        return time.thread_time() - began

    assert growth(work) < 9


def test_long_values_with_blanks_are_trimmed_once():
    def work(size: int) -> float:
        line = b"X: " + b" \t" * (400 * size) + b"a" + b" \t" * (400 * size)
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"
        began = time.thread_time()
        for _ in range(100):
            Reader().take(data)
        return time.thread_time() - began

    assert growth(work) < 9
