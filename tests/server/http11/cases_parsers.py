# ruff: noqa: E501 (a table: one case, one line)
"""picohttpparser's test.c (requests and chunks) and hyper's decoder of chunks."""

from __future__ import annotations

from strictness import CLOSED, WAITS, Case, case

P, Y = "picohttpparser", "hyper"
H = "HTTP/1.1\nHost: a\n"
CHUNKED = f"POST / {H}Transfer-Encoding: chunked\n\n"
HELLO = "POST / hello world"
FOLDED = "folded lines are obsolete and hide fields: RFC 9112 section 5.2"
LOOSE_EXTENSION = "not the grammar of chunk-ext: RFC 9112 section 7.1.1"

CASES: list[Case] = [
    case(P, "simple", "GET / HTTP/1.0\n\n", "GET /", CLOSED),
    case(P, "partial", "GET / HTTP/1.0\n␍", WAITS),
    case(P, "fields, one empty", f"GET /hoge {H}Cookie: \n\n", "GET /hoge"),
    case(P, "bytes beyond ASCII in a value", f"GET /hoge {H}User-Agent: \xe3\x81\xb2\xe3/1.0\n\n", "GET /hoge"),
    case(P, "a folded line", f"GET / {H}foo: b\n  \tc\n\n", 400, refuses=FOLDED),
    case(P, "a space after a name", f"GET / {H}foo : ab\n\n", 400),
    *(
        case(P, f"incomplete {n}", text, WAITS)
        for n, text in enumerate(
            ("GET", "GET ", "GET /", "GET / ", "GET / H", "GET / HTTP/1.", "GET / HTTP/1.0", "GET / HTTP/1.0␍"), 1
        )
    ),
    case(P, "slowly, incomplete", "GET /hoge HTTP/1.0\n␍", WAITS),
    case(P, "slowly, complete", "GET /hoge HTTP/1.0\n\n", "GET /hoge", CLOSED),
    case(P, "no method", " / HTTP/1.0\n\n", 400),
    case(P, "no target", "GET  HTTP/1.0\n\n", 400),
    case(P, "no name", "GET / HTTP/1.0\n:a\n\n", 400),
    case(P, "a space as name", "GET / HTTP/1.0\n :a\n\n", 400),
    case(P, "a NUL in the method", "G\0T / HTTP/1.0\n\n", 400),
    case(P, "a tab in the method", "G\tT / HTTP/1.0\n\n", 400),
    case(P, "a colon before the method", ":GET / HTTP/1.0\n\n", 400),
    case(P, "DEL in the path", "GET /\x7fhello HTTP/1.0\n\n", 400),
    case(P, "a NUL in a name", "GET / HTTP/1.0\na\0b: c\n\n", 400),
    case(P, "a NUL in a value", "GET / HTTP/1.0\nab: c\0d\n\n", 400),
    case(P, "a control character in a name", "GET / HTTP/1.0\na\x1bb: c\n\n", 400),
    case(P, "a control character in a value", "GET / HTTP/1.0\nab: c\x1b\n\n", 400),
    case(P, "a slash in a name", "GET / HTTP/1.0\n/: 1\n\n", 400),
    case(P, "bytes beyond ASCII in the path", "GET /\xa0 HTTP/1.0\nh: c\xa2y\n\n", 400, refuses="no URI character; every app decodes it differently"),
    case(P, "odd tokens as name", "GET / HTTP/1.0\n|~: 1\n\n", "GET /", CLOSED),
    case(P, "a brace as name", "GET / HTTP/1.0\n{: 1\n\n", 400),
    case(P, "blanks after a value", "GET / HTTP/1.0\nfoo: a \t \n\n", "GET /", CLOSED),
    case(P, "several spaces in the request line", "GET   /   HTTP/1.0\n\n", 400, refuses="one space each: RFC 9112 section 3"),
    case(P, "chunks: one", f"{CHUNKED}b\nhello world\n0\n\n", HELLO),
    case(P, "chunks: two", f"{CHUNKED}6\nhello \n5\nworld\n0\n\n", HELLO),
    case(P, "chunks: an extension", f"{CHUNKED}6;comment=hi\nhello \n5\nworld\n0\n\n", HELLO),
    case(P, "chunks: blanks around the semicolon", f"{CHUNKED}6 ; comment\nhello \n5\nworld\n0\n\n", HELLO),
    case(P, "chunks: trailers", f"{CHUNKED}6\nhello \n5\nworld\n0\na: b\nc: d\n\n", HELLO),
    case(P, "chunks: no final line end", f"{CHUNKED}b\nhello world\n0\n", WAITS),
    case(P, "chunks: no size", f"{CHUNKED}z\nabcdefg", 400),
    case(P, "chunks: the largest size", f"{CHUNKED}6\nhello \nffffffffffffffff\nabcdefg", WAITS),
    case(P, "chunks: a larger size", f"{CHUNKED}6\nhello \nfffffffffffffffff\nabcdefg", 400),
    case(P, "chunks: a letter after the size", f"{CHUNKED}1x\na\n0\n\n", 400),
    case(P, "chunks: LF after the size", f"{CHUNKED}6␊hello \n5\nworld\n0\n\n", 400),
    case(P, "chunks: LF after the data", f"{CHUNKED}6\nhello ␊5\nworld\n0\n\n", 400),
    case(P, "chunks: LF after the second data", f"{CHUNKED}6\nhello \n5\nworld␊0\n\n", 400),
    case(P, "chunks: LF after the last size", f"{CHUNKED}6\nhello \n5\nworld\n0␊", 400),
    case(P, "chunks: CR X LF after the size", f"{CHUNKED}6␍X␊hello \n5\nworld\n0\n\n", 400),
    case(P, "chunks: LF after the trailers", f"{CHUNKED}b\nhello world\n0\n␊", 400, refuses="bare LF"),
    case(P, "chunks: LF in the trailers", f"{CHUNKED}b\nhello world\n0\na: b␊c: d␊␊", 400, refuses="bare LF"),
    # -- hyper
    *(case(Y, f"size {size}", f"{CHUNKED}{size}\n{'x' * int(size, 16)}\n0\n\n", f"POST / {'x' * int(size, 16)}") for size in ("1", "01", "A", "a", "Ff")),
    *(case(Y, f"last size {size}", f"{CHUNKED}{size}\n\n", "POST /") for size in ("0", "00")),
    case(Y, "spaces after the size", f"{CHUNKED}2   \nhi\n0\n\n", 400, refuses=LOOSE_EXTENSION),
    case(Y, "CR F after the size", f"{CHUNKED}F␍F", 400),
    case(Y, "a size only", f"{CHUNKED}F", WAITS),
    *(case(Y, f"size {size}", f"{CHUNKED}{size}\n", 400) for size in ("X", "1X", "-", "-1")),
    case(Y, "an extension", f"{CHUNKED}1;extension\nx\n0\n\n", "POST / x"),
    case(Y, "two extensions", f"{CHUNKED}1;extension;extension2\nx\n0\n\n", "POST / x"),
    case(Y, "two words as extension", f"{CHUNKED}a;ext name=value\n0123456789\n0\n\n", 400, refuses=LOOSE_EXTENSION),
    case(Y, "semicolons only", f"{CHUNKED}1;;;  ;\nx\n0\n\n", 400, refuses=LOOSE_EXTENSION),
    case(Y, "dots as extension", f"{CHUNKED}2; extension...\nhi\n0\n\n", "POST / hi"),
    case(Y, "blanks before the extension", f"{CHUNKED}3   ; extension=123\nhey\n0\n\n", "POST / hey"),
    case(Y, "blanks and a semicolon", f"{CHUNKED}3   ;\nhey\n0\n\n", 400, refuses=LOOSE_EXTENSION),
    case(Y, "blanks, a semicolon and blanks", f"{CHUNKED}3   ;   \nhey\n0\n\n", 400, refuses=LOOSE_EXTENSION),
    case(Y, "words without a semicolon", f"{CHUNKED}1 invalid extension\nx\n0\n\n", 400),
    case(Y, "a letter without a semicolon", f"{CHUNKED}1 A\nx\n0\n\n", 400),
    case(Y, "an extension without end", f"{CHUNKED}1;no", WAITS),
    case(Y, "LF in an extension", f"{CHUNKED}1;reject␊newlines\nx\n0\n\n", 400),
    case(Y, "a size beyond 64 bits", f"{CHUNKED}f0000000000000003\n", 400),
    case(Y, "a length and less body", f"POST / {H}Content-Length: 10\n\nfoo bar", WAITS),
    case(Y, "a chunk and less body", f"{CHUNKED}9\nfoo bar", WAITS),
    case(Y, "a single read", f"{CHUNKED}10\n1234567890abcdef\n0\n\n", "POST / 1234567890abcdef"),
    case(Y, "CR CR LF in the trailers", f"{CHUNKED}10\n1234567890abcdef\n0\nbad␍␍␊", 400),
]  # fmt: skip
