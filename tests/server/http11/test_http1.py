"""Framing of HTTP/1.1: tables of bytes and what they mean."""

from __future__ import annotations

import pytest

from pretune.server.http11 import fields
from pretune.server.http11.bodies import ChunkedBody, FixedBody
from pretune.server.http11.http1 import Reader, body_of, parse_head, take_head
from pretune.server.http11.limits import Limits
from pretune.server.http11.refused import Refused


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
    (501, "CONNECT /a HTTP/1.1\nHost: x\n\n"),
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
    found = parse("GET / HTTP/1.1\nHost: x\nCookie: a=1\nCookie: b=2\n\n").fields
    assert found["HTTP_COOKIE"] == "a=1; b=2"


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


def head_of(*lines: str) -> bytes:
    return "\r\n".join(("GET /a?b HTTP/1.1", "Host: x", *lines)).encode("latin-1")


def test_raw_headers_keep_repeated_fields_apart_and_in_order():
    request = parse_head(head_of("Accept: a", "X-B:\t b ", "ACCEPT: c", "Cookie: d", "Cookie: e"))
    assert request.headers() == [
        (b"host", b"x"), (b"accept", b"a"), (b"x-b", b"b"), (b"accept", b"c"),
        (b"cookie", b"d"), (b"cookie", b"e"),
    ]  # fmt: skip
    assert request.fields["HTTP_ACCEPT"] == "a,c"


def test_raw_headers_leave_out_what_wsgi_does_not_see_either():
    request = parse_head(head_of("X_Forwarded_For: 1", "A: b", "X-Taken: c"))
    del request.fields["HTTP_X_TAKEN"]
    assert request.headers() == [(b"host", b"x"), (b"a", b"b")]
    absolute = parse_head(b"GET http://other/ HTTP/1.1\r\nA: b\r\nHost: x")
    assert absolute.headers() == [(b"host", b"other"), (b"a", b"b")]


def test_a_request_cannot_change_what_another_one_gets():
    reader = Reader()
    first, _ = reader.take(head_of("A: b") + b"\r\n\r\n")
    assert first is not None
    first.fields["HTTP_A"] = "changed"
    first.headers().clear()
    second, _ = reader.take(head_of("A: b") + b"\r\n\r\n")
    assert second is not None
    assert second.fields["HTTP_A"] == "b"
    assert second.headers() == [(b"host", b"x"), (b"a", b"b")]


def test_the_same_fields_mean_something_else_in_an_older_version():
    reader = Reader()
    new, _ = reader.take(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    old, _ = reader.take(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    assert (new.keep_alive, old.keep_alive) == (True, False)


def test_memories_of_lines_are_bounded_and_hold_no_secret():
    for n in range(3 * fields.KEPT):
        parse_head(
            head_of(f"X-{n}: {n}", "Authorization: secret", "Cookie: secret", f"Y: {'y' * 999}")
        )
        parse_head(head_of(f"X-{n}: {n}", "Cookie: secret")).headers()
    for memory in (fields._lines, fields._raw_lines, fields._keys):
        assert len(memory) <= fields.KEPT
        assert "secret" not in repr(memory)
        assert "yyy" not in repr(memory)


@pytest.mark.parametrize(
    ("limits", "status", "data"),
    [
        (Limits(line=30), 414, b"GET /" + b"a" * 30 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (Limits(line=30), 414, b"GET /" + b"a" * 30),
        (Limits(fields=2), 431, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n"),
        (Limits(field_size=20), 431, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20 + b"\r\n\r\n"),
    ],
)
def test_limits(limits, status, data):
    with pytest.raises(Refused) as refused:
        Reader(limits).take(data)
    assert refused.value.status == status
    assert Reader(Limits(0, 0, 0)).take(data)[0] is not None or b"\r\n" not in data


def test_tls_sent_to_a_plain_port_is_refused_at_once():
    with pytest.raises(Refused):
        Reader().take(b"\x16\x03\x01\x02")


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        (("Connection: Upgrade", "Upgrade: WebSocket"), "websocket"),
        (("Connection: keep-alive, Upgrade", "Upgrade: h2c, websocket"), "websocket"),
        (("Connection: upgrade", "Upgrade: h2c"), "h2c"),
        (("Connection: upgrade",), ""),
        (("Upgrade: websocket",), ""),
    ],
)
def test_upgrade(lines, upgrade):
    assert parse_head(head_of(*lines)).upgrade == upgrade
    old = head_of(*lines).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert parse_head(old).upgrade == ""


def test_a_body_longer_than_it_may_be():
    with pytest.raises(Refused) as refused:
        parse_head(head_of("Content-Length: 11"), Limits(body=10))
    assert refused.value.status == 413
    chunked = body_of(parse_head(head_of("Transfer-Encoding: chunked"), Limits(body=10)))
    assert chunked.feed(b"5\r\nabcde\r\n")[0] == b"abcde"
    with pytest.raises(Refused) as refused:
        chunked.feed(b"6\r\n")
    assert refused.value.status == 413


def test_extensions_are_no_way_to_send_without_end():
    with pytest.raises(Refused) as refused:
        ChunkedBody().feed((b"1;" + b"e" * 999 + b"\r\na\r\n") * 100)
    assert refused.value.status == 413
    signed = b"400;signature=" + b"e" * 64 + b"\r\n" + b"a" * 1024 + b"\r\n"
    assert len(ChunkedBody().feed(signed * 1000)[0]) == 1024 * 1000
