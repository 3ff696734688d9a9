# ruff: noqa: E501 (a table: one case, one line)
"""h1spec by uNetworking (33 checks) and h1spec by dropseed (33 checks)."""

from __future__ import annotations

from strictness import CLOSED, OPEN, WAITS, Case, case

U, D = "uNetworking/h1spec", "dropseed/h1spec"

_WHOLE = "GET /hello HTTP/1.1\nHost: localhost\n\n"
_PARTS = (
    ("method", "G"),
    ("target 1", "GET "),
    ("target 2", "GET /hello"),
    ("target 3", "GET /hello "),
    ("version", "GET /hello HTTP"),
    ("request line", "GET /hello HTTP/1.1"),
    ("end of request line 1", "GET /hello HTTP/1.1␍"),
    ("end of request line 2", "GET /hello HTTP/1.1\n"),
    ("field name", "GET /hello HTTP/1.1\nHos"),
    ("field value 1", "GET /hello HTTP/1.1\nHost:"),
    ("field value 2", "GET /hello HTTP/1.1\nHost: "),
    ("field value 3", "GET /hello HTTP/1.1\nHost: localhost"),
    ("field value 4", "GET /hello HTTP/1.1\nHost: localhost␍"),
    ("fields", "GET /hello HTTP/1.1\nHost: localhost\n"),
    ("end of head", "GET /hello HTTP/1.1\nHost: localhost\n␍"),
)

CASES: list[Case] = [
    *(case(U, f"a part only: {name}", text, WAITS) for name, text in _PARTS),
    case(U, "no version", "GET / \n\n", 400),
    case(U, "Expect without a body", "GET / HTTP/1.1\nHost: a\nExpect: 100-continue\n\n", "GET /"),
    case(U, "a GET", "GET / HTTP/1.1\nHost: a\n\n", "GET /"),
    case(U, "odd case, tab, empty value", "GET / HTTP/1.1\nhoSt:\ta\nempty:\n\n", "GET /"),
    case(U, "brackets in a name", "GET / HTTP/1.1\nHost: a\nX[]: b\n\n", 400),
    case(U, "no Host", "GET / HTTP/1.1\nContent-Length: 5\n\n", 400),
    case(U, "two Hosts", "GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400),
    case(U, "length: large negative", f"GET / HTTP/1.1\nHost: a\nContent-Length: -{'9' * 27}\n\n", 400),
    case(U, "length: negative", "GET / HTTP/1.1\nHost: a\nContent-Length: -1\n\n", 400),
    case(U, "length: no number", "GET / HTTP/1.1\nHost: a\nContent-Length: ab\n\n", 400),
    case(U, "an empty value", "GET / HTTP/1.1\nHost: a\nX: \n\n", "GET /"),
    case(U, "a control character in a value", "GET / HTTP/1.1\nHost: a\nX: b\x07\n\n", 400),
    case(U, "version 9.9", "GET / HTTP/9.9\nHost: a\n\n", 505),
    case(U, "words before the method", "Some wordsGET / HTTP/1.1\nHost: a\n\n", 400),
    case(U, "a CR before a field", "GET / HTTP/1.1\nHost: a\n␍X: b\n\n", 400),
    case(U, "a body of known length", "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", "POST / hello"),
    case(
        U, "a chunked body",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nc\nHellO world1\n0\n\n",
        "POST / HellO world1",
    ),
    case(
        U, "length and chunked, in odd case",
        "POST / HTTP/1.1\nHost: a\ncontent-LengtH: 5\nTransFer-Encoding: chunked\n\n0\n\n", 400,
    ),
    # -- dropseed: request line
    case(D, "a GET", _WHOLE, "GET /hello"),
    case(D, "a POST with a length", "POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi", "POST / hi"),
    case(D, "OPTIONS *", "OPTIONS * HTTP/1.1\nHost: a\n\n", "OPTIONS *"),
    case(D, "absolute form", "GET http://a/ HTTP/1.1\nHost: a\n\n", "GET http://a/"),
    case(D, "CONNECT is understood", "CONNECT a.example:443 HTTP/1.1\nHost: a\n\n", 501),
    case(D, "version 2.0", "GET / HTTP/2.0\nHost: a\n\n", 505),
    case(D, "no version", "GET /\nHost: a\n\n", 400),
    # -- fields
    case(D, "no Host", "GET / HTTP/1.1\n\n", 400),
    case(D, "two Hosts", "GET / HTTP/1.1\nHost: a\nHost: b.example\n\n", 400),
    case(D, "a space in Host", "GET / HTTP/1.1\nHost: a b\n\n", 400),
    case(D, "a space in a name", "GET / HTTP/1.1\nHost: a\nX Y: b\n\n", 400),
    case(D, "a folded line", "GET / HTTP/1.1\nHost: a\n  b\n\n", 400),
    case(D, "a space before the colon", "GET / HTTP/1.1\nHost : a\n\n", 400),
    case(D, "a NUL in a value", "GET / HTTP/1.1\nHost: a\0b\n\n", 400),
    # -- bodies
    case(
        D, "a chunked body",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n", "POST / hi",
    ),
    case(D, "chunked in 1.0", "POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n", 400),
    case(
        D, "chunked and a length",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 2\n\n2\nhi\n0\n\n", 400,
    ),
    case(
        D, "chunked and a length: nothing more is served",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 2\n\n2\nhi\n0\n\n" + _WHOLE,
        400,
    ),
    case(D, "an unknown coding", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: nonsense\n\nhi", 501),
    case(
        D, "chunked is not the last coding",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, gzip\n\n2\nhi\n0\n\n" + _WHOLE, 400,
    ),
    case(D, "two lengths", "POST / HTTP/1.1\nHost: a\nContent-Length: 2\nContent-Length: 3\n\nhi!", 400),
    case(D, "length: letters", "POST / HTTP/1.1\nHost: a\nContent-Length: xyz\n\nhi", 400),
    case(
        D, "a chunk size of letters",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nZ\nhi\n0\n\n" + _WHOLE, 400,
    ),
    case(
        D, "a chunk without its end",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi0\n\n" + _WHOLE, 400,
    ),
    case(
        D, "Expect with a body",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 2\nExpect: 100-continue\n\nhi", "POST / hi",
    ),
    # -- responses and connections
    case(D, "HEAD", "HEAD / HTTP/1.1\nHost: a\n\n", "HEAD /"),
    case(D, "a method in lower case is answered whole", "get / HTTP/1.1\nHost: a\n\n", "get /"),
    case(D, "two requests on a connection", _WHOLE + _WHOLE, "GET /hello", "GET /hello", OPEN),
    case(D, "Connection: close", "GET / HTTP/1.1\nHost: a\nConnection: close\n\n", "GET /", CLOSED),
    case(D, "1.0 closes", "GET / HTTP/1.0\nHost: a\n\n", "GET /", CLOSED),
    # -- hardening
    case(D, "a long request line", f"GET /{'a' * 9000} HTTP/1.1\nHost: a\n\n", 414),
    case(
        D, "many fields",
        "GET / HTTP/1.1\nHost: a\n" + "".join(f"X-{n}: b\n" for n in range(101)) + "\n", 431,
    ),
    case(D, "a long field", f"GET / HTTP/1.1\nHost: a\nX: {'b' * 9000}\n\n", 431),
]  # fmt: skip
