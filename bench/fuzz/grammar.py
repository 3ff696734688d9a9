"""Requests as they should be, and as they should not: a grammar, and mutations of what it makes."""

from __future__ import annotations

import random

METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH")
TARGETS = (
    b"/",
    b"/a",
    b"/a?b=c",
    b"/a%20b",
    b"//x",
    b"/a/../b",
    b"/?",
    b"http://a/",
    b"http://b:80/x?y",
)
NAMES = (b"Accept", b"X-A", b"accept-encoding", b"Cookie", b"User-Agent", b"If-None-Match", b"X_Y")
VALUES = (
    b"",
    b"a",
    b"a, b",
    b'"q"',
    b"\xff",
    b"a\tb",
    b" a ",
    b"gzip;q=0.5",
    b"a:b",
    b"GET / HTTP/1.1",
)
BODIES = (b"", b"a", b"hello", b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
EXTENSIONS = (b"", b"", b"", b";a", b";a=b", b';a="b;c"')
TRAILERS = (b"", b"", b"", b"X: y\r\n", b"A: b\r\nC: d\r\n")

# Bytes and pieces that parsers have stumbled over.
BYTES = (*b"\r\n\0 \t:;,=+-_0159afxX./\\\"'()[]{}@#%?*\x0b\x0c\x1f\x7f\x80\x85\xa0\xad\xff",)
PIECES = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b" :", b": ", b"0\r\n\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length:\r\n",
    b"content-length : 5\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n", b"Transfer_Encoding: chunked\r\n",
    b"Host: b\r\n", b"Host:\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n", b"5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n", b" ; a\r\n", b"005\r\n", b"0x5\r\n", b"-5\r\n", b"5 \r\n",
    b"ffffffffffffffff\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b" HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
)  # fmt: skip


def request(dice: random.Random) -> tuple[bytes, tuple[bytes, bytes, bytes]]:
    """A valid HTTP/1.1 request on a connection that goes on: its bytes, and what they say."""
    method, target = dice.choice(METHODS), dice.choice(TARGETS)
    body = dice.choice(BODIES)
    fields = [b"Host: a"]
    for _ in range(dice.randrange(4)):
        fields.append(
            dice.choice(NAMES) + b":" + dice.choice((b"", b" ", b"\t")) + dice.choice(VALUES)
        )
    data = body
    framing = dice.randrange(3)
    if framing == 0 and not body:
        pass
    elif framing < 2:
        fields.append(_case(dice, b"Content-Length") + b": %d" % len(body))
    else:
        fields.append(_case(dice, b"Transfer-Encoding") + b": " + _case(dice, b"chunked"))
        data = chunked(dice, body)
    if not dice.randrange(4):
        fields.append(b"Connection: " + dice.choice((b"keep-alive", b"x", b"Keep-Alive, x")))
    dice.shuffle(fields)
    head = method + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"
    return head + data, (method, target, body)


def chunked(dice: random.Random, body: bytes) -> bytes:
    out = b""
    while body:
        size = dice.randrange(1, len(body) + 1)
        digits = b"%x" % size if dice.randrange(2) else b"%02X" % size
        out += digits + dice.choice(EXTENSIONS) + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    return (
        out
        + dice.choice((b"0", b"000"))
        + dice.choice(EXTENSIONS)
        + b"\r\n"
        + dice.choice(TRAILERS)
        + b"\r\n"
    )


def _case(dice: random.Random, name: bytes) -> bytes:
    return dice.choice((name, name.lower(), name.upper(), name.swapcase()))


def stream(dice: random.Random) -> tuple[bytes, list[tuple[bytes, bytes, bytes]]]:
    """One to three valid requests in a row."""
    made = [request(dice) for _ in range(dice.choice((1, 1, 1, 2, 3)))]
    return b"".join(data for data, _ in made), [said for _, said in made]


def mutated(dice: random.Random, data: bytes) -> bytes:
    """One to four changes."""
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        data = dice.choice(_MUTATIONS)(dice, data)
    return data


def _at(dice: random.Random, data: bytes) -> int:
    """A place, mostly beside something that separates."""
    if data and dice.randrange(3):
        mark = dice.choice((b"\r", b"\n", b":", b" ", b",", b";", b"/"))
        at = data.find(mark, dice.randrange(len(data)))
        if at >= 0:
            return min(len(data), max(0, at + dice.choice((-1, 0, 0, 1, 1, 2))))
    return dice.randrange(len(data) + 1)


def _insert(dice: random.Random, data: bytes) -> bytes:
    at = _at(dice, data)
    return data[:at] + bytes((dice.choice(BYTES),)) * dice.choice((1, 1, 1, 2)) + data[at:]


def _replace(dice: random.Random, data: bytes) -> bytes:
    at = _at(dice, data)
    return data[:at] + bytes((dice.choice(BYTES),)) + data[at + 1 :]


def _delete(dice: random.Random, data: bytes) -> bytes:
    at = _at(dice, data)
    return data[:at] + data[at + dice.choice((1, 1, 2, 5)) :]


def _splice(dice: random.Random, data: bytes) -> bytes:
    at = _at(dice, data)
    return data[:at] + dice.choice(PIECES) + data[at:]


def _splice_line(dice: random.Random, data: bytes) -> bytes:
    at = data.find(b"\r\n", dice.randrange(len(data) + 1)) + 2
    return data[:at] + dice.choice(PIECES) + data[at:]


def _double(dice: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    at = dice.randrange(len(lines))
    lines.insert(dice.randrange(len(lines) + 1), lines[at])
    return b"\r\n".join(lines)


def _swap(dice: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    a, b = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\r\n".join(lines)


def _bare(dice: random.Random, data: bytes) -> bytes:
    parts = data.split(b"\r\n")
    at = dice.randrange(len(parts))
    return (
        b"\r\n".join(parts[:at])
        + dice.choice((b"\n", b"\r", b"\n\r", b"\r\r\n"))
        + b"\r\n".join(parts[at:])
    )


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: _at(dice, data)]


def _version(dice: random.Random, data: bytes) -> bytes:
    return data.replace(
        b"HTTP/1.1", dice.choice((b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"http/1.1")), 1
    )


_MUTATIONS = (
    _insert, _insert, _replace, _replace, _delete, _splice, _splice_line, _splice_line, _double,
    _swap, _bare, _cut, _version,
)  # fmt: skip


def pieces(dice: random.Random, data: bytes) -> list[bytes]:
    """The same bytes in random pieces."""
    if not dice.randrange(8):
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 5)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
