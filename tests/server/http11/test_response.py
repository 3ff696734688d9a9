"""Heads of responses: what an app says, and the bytes a client gets."""

from __future__ import annotations

import re

import pytest

from pretune.server.http11 import response
from pretune.server.http11.response import Head, interim, refusal


def head(
    status="200 OK", headers=(), *, method="GET", minor=1, keep_alive=True, length=None,
    known=response.lines,
):  # fmt: skip
    return Head(status, list(headers), method, minor, keep_alive, length, known)


def lines(made: Head) -> list[str]:
    text = made.data.decode("latin-1")
    assert text.endswith("\r\n\r\n")
    return [line for line in text[:-4].split("\r\n") if not line.startswith(("Date:", "Server:"))]


@pytest.mark.parametrize(
    ("given", "said", "framing"),
    [
        # status, method, the app's length, the caller's length, minor
        (("200 OK", "GET", None, 5, 1), "Content-Length: 5", "length"),
        (("200 OK", "GET", "7", 5, 1), "Content-Length: 7", "length"),
        (("200 OK", "GET", None, None, 1), "Transfer-Encoding: chunked", "chunked"),
        (("200 OK", "GET", None, None, 0), None, "close"),
        (("200 OK", "HEAD", "7", 0, 1), "Content-Length: 7", "none"),
        (("200 OK", "HEAD", None, 0, 1), "Transfer-Encoding: chunked", "none"),
        (("204 No Content", "GET", "7", 5, 1), None, "none"),
        (("205 Reset Content", "GET", "7", 5, 1), "Content-Length: 0", "none"),
        (("304 Not Modified", "GET", "7", 0, 1), "Content-Length: 7", "none"),
        (("304 Not Modified", "GET", None, 0, 1), None, "none"),
    ],
)
def test_framing(given, said, framing):
    status, method, by_app, length, minor = given
    headers = [] if by_app is None else [("Content-Length", by_app)]
    made = head(status, headers, method=method, length=length, minor=minor)
    found = [line for line in lines(made) if re.match("content-length|transfer", line, re.I)]
    assert found == ([] if said is None else [said])
    assert made.bodiless is (framing == "none")
    assert made.chunked is (framing == "chunked")
    assert made.keep_alive is (framing != "close")


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\0"),
        ("X", "\u2028"),
        ("X\r\nY", "a"),
        ("X Y", "a"),
        ("X:", "a"),
        ("", "a"),
        ("X", 5),
        ("Content-Length", "5\r\n"),
        ("Content-Length", "-5"),
        ("Content-Length", "5, 5"),
        ("CONTENT-LENGTH", "\xb2"),
        (b"X", b"a\r\nb"),
        (b"content-length", b"+5"),
    ],
)
def test_a_response_cannot_be_split(header):
    for _ in range(2):  # also when it was seen before
        with pytest.raises((ValueError, UnicodeEncodeError)):
            head(headers=[header])


@pytest.mark.parametrize(
    "names", [("Content-Length", "Content-Length"), ("content-length", "CONTENT-Length")]
)
def test_two_lengths_are_an_error(names):
    with pytest.raises(ValueError, match="Content-Length"):
        head(headers=[(name, "5") for name in names])


@pytest.mark.parametrize(
    "status", ["100 Continue", "101 X", "103 Early Hints", "20", "200\r\nX: y", "600 X", "2000", ""]
)
def test_what_is_no_final_status(status):
    with pytest.raises(ValueError, match="status"):
        head(status)


def test_a_status_without_a_reason_keeps_its_space():
    assert lines(head("299"))[0] == "HTTP/1.1 299 "


def test_hop_by_hop_fields_are_the_servers():
    made = head(
        headers=[
            ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive, X"), ("Keep-Alive", "9"),
            ("Upgrade", "x"), ("TE", "x"), ("Trailer", "x"), ("Proxy-Connection", "x"),
        ],
        length=5,
    )  # fmt: skip
    assert lines(made) == ["HTTP/1.1 200 OK", "Content-Length: 5"]
    assert made.keep_alive
    closing = head(headers=[("connection", "X, Close")], length=5)
    assert lines(closing) == ["HTTP/1.1 200 OK", "Content-Length: 5", "Connection: close"]
    assert not closing.keep_alive


def test_date_and_server_are_the_apps_if_it_says_them():
    text = head(headers=[("Date", "today"), ("SERVER", "mine")]).data
    assert (text.count(b"Date:"), text.lower().count(b"server:")) == (1, 1)
    text = head(headers=[("server", "mine")]).data
    assert (text.count(b"Date:"), text.lower().count(b"server:")) == (1, 1)


def test_pairs_of_bytes_mean_the_same_as_pairs_of_str():
    said = [("X-A", "\xe9"), ("Content-Length", "5"), ("Connection", "close")]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in said]
    for pairs in (raw, [list(pair) for pair in raw]):
        assert lines(head(headers=pairs, known=response.raw_lines)) == lines(head(headers=said))


@pytest.mark.parametrize("header", [("X-A", b"b"), (b"X-A", "b"), ("content-length", "5")])
def test_a_header_of_the_other_interface_is_an_error_that_shows_it(header):
    for known in (response.lines, response.raw_lines):
        if not all(isinstance(part, known.kind) for part in header):
            with pytest.raises(ValueError, match=f"two of .* not {re.escape(repr(header))}"):
                head(headers=[header], known=known)


def test_memories_are_bounded_and_hold_no_secret():
    for n in range(3 * response.KEPT):
        headers = [(f"X-{n}", "a"), ("Set-Cookie", "secret"), ("X", f"long{'g' * 999}")]
        head(f"200 {n}", headers)
        raw = [(name.encode(), value.encode()) for name, value in headers]
        head(headers=raw, known=response.raw_lines)
    memories = (response.lines, response.raw_lines, response._starts)
    for memory in (*memories, response.lines.plain, response.raw_lines.plain):
        assert len(memory) <= response.KEPT
        assert "secret" not in repr(memory)
        assert "ggg" not in repr(memory)


def test_an_interim_response():
    data = interim("103 Early Hints", [("Link", "</a.css>"), ("Content-Length", "5")])
    assert data == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    for status in ("101 Switching Protocols", "200 OK", "103 a\r\nb"):
        with pytest.raises(ValueError, match="interim"):
            interim(status, [])
    with pytest.raises(ValueError, match="header"):
        interim("103 Early Hints", [("Link", "a\r\nb")])


def test_a_refusal_is_whole():
    data = refusal(400, "why\u2028")
    start, _, body = data.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in start
    assert b"\r\nContent-Length: %d\r\n" % len(body) in start
    assert refusal(400, "why", method="HEAD").endswith(b"\r\n\r\n")
