"""Framing of HTTP/1.1: tables of bytes and what they mean."""

from __future__ import annotations

import pytest

from pretune.server.http1 import ChunkedBody, FixedBody, Refused, body_of, parse_head, take_head


def parse(text: str):
    head, rest = take_head(text.replace("\n", "\r\n").encode("latin-1"))
    assert head is not None
    assert rest == b""
    return parse_head(head)


def test_a_request():
    request = parse("GET /a%20b?c=d HTTP/1.1\nHost: x:80\nX-One:  two \t\nAccept: a\nAccept: b\n\n")
    assert (request.method, request.path, request.query) == ("GET", "/a%20b", "c=d")
    assert request.fields == {"HTTP_HOST": "x:80", "HTTP_X_ONE": "two", "HTTP_ACCEPT": "a,b"}
    assert request.headers()[1] == (b"x-one", b"two")
    assert (request.length, request.keep_alive, request.expects) == (0, True, False)


@pytest.mark.parametrize(
    ("text", "path", "host"),
    [
        ("GET http://other/p?q HTTP/1.1\nHost: x\n\n", "/p", "other"),
        ("GET http://other HTTP/1.1\nHost: x\n\n", "/", "other"),
        ("OPTIONS * HTTP/1.1\nHost: x\n\n", "*", "x"),
        ("GET //double HTTP/1.1\nHost: x\n\n", "//double", "x"),
        ("GET / HTTP/1.1\nHost: [::1]:80\n\n", "/", "[::1]:80"),
    ],
)
def test_forms_of_the_target(text, path, host):
    request = parse(text)
    assert (request.path, request.fields["HTTP_HOST"]) == (path, host)


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("GET / HTTP/1.1\nHost: x\n\n", True),
        ("GET / HTTP/1.1\nHost: x\nConnection: Close\n\n", False),
        ("GET / HTTP/1.1\nHost: x\nConnection: upgrade, close\n\n", False),
        ("GET / HTTP/1.0\n\n", False),
        ("GET / HTTP/1.0\nConnection: keep-alive\n\n", True),
        ("GET / HTTP/1.0\nConnection: keep-alive, close\n\n", False),
    ],
)
def test_persistence(text, keep):
    assert parse(text).keep_alive is keep


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("POST / HTTP/1.1\nHost: x\nContent-Length: 0\n\n", 0),
        ("POST / HTTP/1.1\nHost: x\nContent-Length: 12\n\n", 12),
        ("POST / HTTP/1.1\nHost: x\nTransfer-Encoding: Chunked\n\n", None),
    ],
)
def test_length_of_the_body(text, length):
    assert parse(text).length == length


REFUSED = [
    (400, "GET / HTTP/1.1\n\n"),
    (400, "GET / HTTP/1.1\nHost: a\nHost: a\n\n"),
    (400, "GET / HTTP/1.1\nHost: a b\n\n"),
    (400, "GET / HTTP/1.1\nHost: a/b\n\n"),
    (400, "GET  / HTTP/1.1\nHost: x\n\n"),
    (400, "GET / HTTP/1.1 \nHost: x\n\n"),
    (400, "GET /\nHost: x\n\n"),
    (400, "GET / http/1.1\nHost: x\n\n"),
    (400, "GET / HTTP/1.10\nHost: x\n\n"),
    (400, "G(T / HTTP/1.1\nHost: x\n\n"),
    (400, "GET /a#b HTTP/1.1\nHost: x\n\n"),
    (400, "GET /\x80 HTTP/1.1\nHost: x\n\n"),
    (400, "GET a HTTP/1.1\nHost: x\n\n"),
    (400, "GET * HTTP/1.1\nHost: x\n\n"),
    (400, "GET http:// HTTP/1.1\nHost: x\n\n"),
    (400, "GET http://a@b/ HTTP/1.1\nHost: x\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\nA : b\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\n A: b\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\nA: b\n c\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\nA\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\n: b\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\nA: \0\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\nA: a\rb\n\n"),
    (400, "GET / HTTP/1.1\nHost: x\nA\x80: b\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: +1\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: 1_0\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: 0x1\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length:\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: \xb2\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: 1, 1\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: 1\nContent-Length: 1\n\n"),
    (413, "POST / HTTP/1.1\nHost: x\nContent-Length: 9999999999999999999\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nContent-Length: 1\nTransfer-Encoding: chunked\n\n"),
    (400, "POST / HTTP/1.0\nTransfer-Encoding: chunked\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked, chunked\n\n"),
    (400, "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked, gzip\n\n"),
    (501, "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: gzip, chunked\n\n"),
    (501, "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: identity\n\n"),
    (501, "CONNECT a:443 HTTP/1.1\nHost: x\n\n"),
    (505, "GET / HTTP/2.0\nHost: x\n\n"),
    (505, "GET / HTTP/1.2\nHost: x\n\n"),
    (505, "GET / HTTP/0.9\nHost: x\n\n"),
    (417, "POST / HTTP/1.1\nHost: x\nExpect: magic\n\n"),
    (414, f"GET /{'a' * 9000} HTTP/1.1\nHost: x\n\n"),
    (431, "GET / HTTP/1.1\nHost: x\n" + "A: b\n" * 100 + "\n"),
    (431, f"GET / HTTP/1.1\nHost: x\nA: {'b' * 70000}\n\n"),
]


@pytest.mark.parametrize(("status", "text"), REFUSED)
def test_refusals(status, text):
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"GET / HTTP/1.1\nHost: x\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: x\n"),
        (400, b"GET / HTTP/1.1\rHost: x"),
        (400, b"\r\n\r\n\r\n\r\n"),
        (414, b"G" * 9000),
        (431, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 11000),
    ],
)
def test_what_can_never_become_right_is_refused_before_it_is_whole(status, data):
    with pytest.raises(Refused) as refused:
        take_head(data)
    assert refused.value.status == status


def test_a_head_arrives_byte_by_byte():
    data = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    buffer = b""
    for n, byte in enumerate(data):
        head, buffer = take_head(buffer + bytes([byte]))
        assert (head is None) == (n < len(data) - 1)
    assert head == b"GET / HTTP/1.1\r\nHost: x"


def test_ambiguous_names_with_underscores_are_dropped():
    assert "HTTP_X_A" not in parse("GET / HTTP/1.1\nHost: x\nX_A: 1\n\n").fields
    assert parse("POST / HTTP/1.1\nHost: x\nContent_Length: 5\n\n").length == 0


def test_cookies_are_joined_as_cookies():
    fields = parse("GET / HTTP/1.1\nHost: x\nCookie: a=1\nCookie: b=2\n\n").fields
    assert fields["HTTP_COOKIE"] == "a=1; b=2"


CHUNKED = b"4\r\nWiki\r\nC;a=b\r\npedia in \r\nc\r\n0\r\nTrailer: x\r\n\r\nGET"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_a_chunked_body_in_pieces_of_any_size(step):
    body, out, rest = ChunkedBody(), b"", b""
    for start in range(0, len(CHUNKED), step):
        piece = CHUNKED[start : start + step]
        if body.done:
            rest += piece
            continue
        part, rest = body.feed(piece)
        out += part
    assert (out, rest, body.done) == (b"Wikipedia in \r\nc", b"GET", True)


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"x\r\n"),
        (400, b"\r\n"),
        (400, b"-1\r\n"),
        (400, b"0x1\r\n"),
        (400, b"1 \r\na"),
        (400, b"1\na"),
        (400, b"11111111111111111\r\n"),
        (400, b"1\r\nab\r\n"),
        (400, b"1\r\na\n0\r\n\r\n"),
        (400, b"1;\n\r\n"),
        (400, b"1;" + b"a" * 5000),
        (400, b"0\r\nbad trailer\r\n\r\n"),
        (431, b"0\r\n" + b"a: b\r\n" * 2000),
    ],
)
def test_malformed_chunked_bodies(status, data):
    with pytest.raises(Refused) as refused:
        ChunkedBody().feed(data)
    assert refused.value.status == status


def test_a_fixed_body_leaves_the_rest():
    body = FixedBody(3)
    assert body.feed(b"ab") == (b"ab", b"")
    assert not body.done
    assert body.feed(b"cde") == (b"c", b"de")
    assert body.done
    assert body_of(parse("GET / HTTP/1.1\nHost: x\n\n")).done
