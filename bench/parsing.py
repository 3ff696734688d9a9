"""CPU of parsing a browser's request and of making a response head, beside h11 and httptools.

    python bench/parsing.py [--rounds 8]

All take turns and the least of the rounds counts, by CPU time: on a shared machine only the ratios
mean something. The rows differ in what is remembered: the field lines of the same connection's
last request, single lines seen before (from anybody), or nothing.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time
from collections.abc import Callable

import h11
import httptools

from pretune.server.http11 import fields
from pretune.server.http11.http1 import Reader
from pretune.server.http11.response import Head

# What Chrome sends, 672 bytes.
REQUEST = (
    b"GET /articles/2024/some-title?page=2&sort=date HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    b" Chrome/124.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    b"*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-User: ?1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: sessionid=abcde\r\n\r\n"
)
HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("X-Frame-Options", "DENY"),
    ("Content-Length", "1234"),
    ("Vary", "Cookie"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
]

_reader = Reader()
_numbers = itertools.count()


class _Listener:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.done = True


def same_connection() -> None:
    _reader.take(REQUEST)


def same_connection_raw() -> None:
    request, _ = _reader.take(REQUEST)
    assert request is not None
    request.headers()


def new_connection() -> None:
    Reader().take(REQUEST)


def new_connection_raw() -> None:
    request, _ = Reader().take(REQUEST)
    assert request is not None
    request.headers()


def behind_a_proxy() -> None:
    """Three more fields, two of them different every time."""
    n = next(_numbers)
    more = b"X-Forwarded-For: 10.%d.%d.1\r\nX-Request-Id: %016x\r\nX-Forwarded-Proto: https\r\n\r\n"
    _reader.take(REQUEST[:-2] + more % (n >> 8 & 255, n & 255, n))


def nothing_remembered() -> None:
    fields._lines.clear()
    Reader().take(REQUEST)


def by_h11() -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(REQUEST)
    connection.next_event()


def by_httptools() -> None:
    httptools.HttpRequestParser(_Listener()).feed_data(REQUEST)


def head() -> None:
    Head(
        "200 OK", [("Content-Type", "text/plain")], method="GET", minor=1, keep_alive=True, length=5
    )


def head_of_six() -> None:
    Head("200 OK", HEADERS, method="GET", minor=1, keep_alive=True)


WORK: dict[str, Callable[[], None]] = {
    "request: same connection": same_connection,
    "request: same connection, ASGI headers": same_connection_raw,
    "request: new connection": new_connection,
    "request: new connection, ASGI headers": new_connection_raw,
    "request: behind a proxy": behind_a_proxy,
    "request: nothing remembered": nothing_remembered,
    "request: h11": by_h11,
    "request: httptools": by_httptools,
    "response head": head,
    "response head, six fields": head_of_six,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args().rounds
    least = dict.fromkeys(WORK, float("inf"))
    for _ in range(rounds):
        for name, work in WORK.items():
            times = 300 if "h11" in name else 2000
            began = time.process_time()
            for _ in range(times):
                work()
            least[name] = min(least[name], (time.process_time() - began) / times)
    print(f"CPython {platform.python_version()}, {len(REQUEST)} bytes")
    for name, seconds in least.items():
        ratios = ""
        if name.startswith("request"):
            ratios = "".join(
                f"  {least[f'request: {other}'] / seconds:6.2f} x {other}"
                for other in ("h11", "httptools")
            )
        print(f"{name:40}{seconds * 1e6:7.2f} us {1 / seconds:9.0f}/s{ratios}")


if __name__ == "__main__":
    main()
