"""PEP 3333, with a sink in place of a connection."""

from __future__ import annotations

import io
import sys
from wsgiref.validate import validator

import pytest

from pretune.server.http11.http1 import parse_head
from pretune.server.wsgi.environ import (
    FileWrapper,
    Response,
    base_environ,
    connection_environ,
    fill,
)


class Sink:
    lasting = True

    def __init__(self) -> None:
        self.data = b""
        self.sends = 0

    def send(self, data: bytes, *, last: bool = False) -> None:
        self.data += data
        self.sends += 1

    def send_file(self, fd: int, offset: int, count: int) -> int:
        with open(fd, "rb", closefd=False) as file:
            file.seek(offset)
            self.data += file.read(count)
        return count


def run(app, method="GET", minor=1, body=b"", target="/a%20b?q=1"):
    head = f"{method} {target} HTTP/1.{minor}\r\nHost: x\r\nContent-Length: {len(body)}"
    request = parse_head(head.encode())
    base = base_environ(("127.0.0.1", "80"), multithread=True, multiprocess=False)
    environ = fill(connection_environ(base, ("127.0.0.1", "1234")), request, io.BytesIO(body))
    sink = Sink()
    response = Response(request, sink, request.keep_alive)
    response.run(app, environ)
    head, _, text = sink.data.partition(b"\r\n\r\n")
    return response, head.decode(), text, sink


def app_of(parts, headers=(), status="200 OK"):
    def app(environ, start_response):
        start_response(status, list(headers))
        return parts

    return app


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_validator_finds_nothing(method):
    def app(environ, start_response):
        data = environ["wsgi.input"].read(100)
        lines = list(environ["wsgi.input"])
        assert lines == []
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"got ", data]

    response, _, text, _ = run(validator(app), method, body=b"abc")
    assert response.status == 200
    assert b"got " in text or method == "HEAD"


def test_a_list_is_sent_whole_with_its_length():
    _, head, text, sink = run(app_of([b"ab", b"c"]))
    assert "Content-Length: 3" in head
    assert (text, sink.sends) == (b"abc", 1)


def test_an_iterator_is_chunked_or_ends_the_connection():
    _, head, text, _ = run(app_of(iter([b"ab", b"", b"c"])))
    assert "Transfer-Encoding: chunked" in head
    assert text == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    response, head, text, _ = run(app_of(iter([b"ab", b"c"])), minor=0)
    assert "chunked" not in head
    assert (text, response.keep_alive) == (b"abc", False)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_body_where_there_must_be_none(status):
    _, head, text, _ = run(app_of([b"abc"], status=status))
    assert text == b""
    assert "Content-Length" not in head
    assert "chunked" not in head


def test_head_keeps_the_length_the_app_says():
    _, head, text, _ = run(app_of([b"abc"], [("Content-Length", "3")]), "HEAD")
    assert "Content-Length: 3" in head
    assert text == b""


def test_more_than_was_said_is_cut_and_less_ends_the_connection():
    response, _, text, _ = run(app_of(iter([b"ab", b"cd"]), [("Content-Length", "3")]))
    assert (text, response.keep_alive) == (b"abc", True)
    response, _, text, _ = run(app_of(iter([b"ab"]), [("Content-Length", "3")]))
    assert (text, response.keep_alive) == (b"ab", False)
    response, _, text, _ = run(app_of([b"ab"], [("Content-Length", "3")]))
    assert (text, response.keep_alive) == (b"ab", False)


def test_write_and_return():
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"written ")
        return [b"returned"]

    _, _, text, _ = run(app)
    assert text == b"8\r\nwritten \r\n8\r\nreturned\r\n0\r\n\r\n"


def test_exc_info_replaces_a_head_that_was_not_sent():
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise KeyError("late")
        except KeyError:
            start_response("500 Oops", [], sys.exc_info())
        return [b"error"]

    response, _, _, _ = run(app)
    assert response.status == 500


def test_exc_info_after_the_head_raises_the_error():
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"sent"
        try:
            raise KeyError("late")
        except KeyError:
            start_response("500 Oops", [], sys.exc_info())

    with pytest.raises(KeyError, match="late"):
        run(app)


def test_start_response_is_called_once():
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(AssertionError, match="twice"):
        run(app)
    with pytest.raises(AssertionError, match="did not call"):
        run(lambda environ, start_response: [b""])


def test_close_is_called_however_it_ends():
    class Body:
        closed = False

        def __iter__(self):
            raise RuntimeError("in the body")

        def close(self):
            self.closed = True

    body = Body()
    with pytest.raises(RuntimeError):
        run(app_of(body))
    assert body.closed


def test_a_file_is_sent_from_where_it_stands(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        _, head, text, _ = run(app_of(FileWrapper(file)))
    assert "Content-Length: 6" in head
    assert text == b"456789"
    _, _, text, _ = run(app_of(FileWrapper(io.BytesIO(b"in memory"))))
    assert b"in memory" in text


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK\r\nX: y", []),
        ("abc", []),
        ("200 OK", [("A", "b\r\nC: d")]),
        ("200 OK", [("A", "b\nC: d")]),
        ("200 OK", [("A: b\r\nC", "d")]),
        ("200 OK", [("A b", "c")]),
        ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")]),
        ("200 OK", [("Content-Length", "-1")]),
    ],
)
def test_malformed_heads_of_the_app_are_errors(status, headers):
    with pytest.raises(ValueError, match="malformed"):
        run(app_of([b""], headers, status))


def test_hop_by_hop_headers_are_the_servers():
    response, head, _, _ = run(
        app_of([b"a"], [("Connection", "close"), ("Transfer-Encoding", "gzip"), ("X", "y")])
    )
    assert head.count("Connection: close") == 1
    assert "gzip" not in head
    assert "X: y" in head
    assert not response.keep_alive


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (["text"], "str 'text'"),
        (["text", b"bytes"], "str 'text'"),
        (iter(["text"]), "str 'text'"),
        ([None], "None"),
        ([1], "int 1"),
        (None, "None"),
        ("text", "str 'text'"),
        (b"bytes", "bytes b'bytes'"),
    ],
)
def test_a_body_that_is_no_bytes_is_named_and_nothing_was_sent(parts, named):
    sink = Sink()
    response = Response(parse_head(b"GET / HTTP/1.1\r\nHost: x"), sink, True)
    with pytest.raises(TypeError, match=named):
        response.run(app_of(parts), {})
    assert (sink.data, response.head) == (b"", None)


def test_write_takes_bytes_only():
    def app(environ, start_response):
        start_response("200 OK", [])("text")

    sink = Sink()
    response = Response(parse_head(b"GET / HTTP/1.1\r\nHost: x"), sink, True)
    with pytest.raises(TypeError, match="str 'text'"):
        response.run(app, {})
    assert sink.data == b""


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, []),
        (b"200 OK", []),
        ("200", None),
        ("20 OK", []),
        ("200 OK", [("X-A", 1)]),
        ("200 OK", [("X-A",)]),
        ("200 OK", [("X-A", "a\r\nb")]),
        ("200 OK", [("Content-Length", 5)]),
        ("200 OK", {"X-A": "a"}.items),
    ],
)
def test_a_wrong_status_or_header_is_named_and_nothing_was_sent(status, headers):
    def app(environ, start_response):
        start_response(status, headers)
        return [b"body"]

    sink = Sink()
    response = Response(parse_head(b"GET / HTTP/1.1\r\nHost: x"), sink, True)
    with pytest.raises(ValueError, match="start_response was given"):
        response.run(app, {})
    assert sink.data == b""


def test_what_is_almost_bytes_is_sent():
    _, _, text, _ = run(app_of([bytearray(b"ab"), memoryview(b"c")]))
    assert text == b"abc"
