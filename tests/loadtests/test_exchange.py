"""The parts of the client that can be tested without a connection, and what stays of cookies."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

# gevent is imported by the module; keep it, and what it brings, out of the test process.
CHECKS = """
    from pretune.loadtests.exchange import Chunks, Connection, Failure

    BODY = b"3;a=b\\r\\nhel\\r\\n00a\\r\\n0123456789\\r\\n0\\r\\nTrailer: x\\r\\n\\r\\n"
    for size in range(1, len(BODY) + 1):
        chunks = Chunks()
        for at in range(0, len(BODY), size):
            assert not chunks.done
            chunks.feed(BODY[at : at + size])
        assert chunks.done, size
    for bad in (b"x\\r\\n", b"\\r\\n", b"-5\\r\\n", b"1_0\\r\\n", b"f" * 17 + b"\\r\\n"):
        try:
            Chunks().feed(bad)
        except Failure as failure:
            assert failure.kind == "malformed response"
        else:
            raise AssertionError(bad)

    connection = Connection(("127.0.0.1", 1))
    keep = connection._keep_cookies
    keep(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: a=1; Path=/\\r\\nset-cookie: b=x=y\\r\\n")
    assert connection.cookies == {b"a": b"1", b"b": b"x=y"}
    keep(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: a=; Max-Age=0\\r\\n")
    assert connection.cookies == {b"b": b"x=y"}
    keep(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: b=; expires=Thu, 01 Jan 1970 00:00:00 GMT\\r\\n")
    assert connection.cookies == {}
    for n in range(1000):
        keep(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: c%d=%s\\r\\n" % (n, b"v" * 100))
    keep(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: large=%s\\r\\n" % (b"v" * 5000))
    assert sorted(connection.cookies) == sorted(b"c%d" % n for n in range(950, 1000))
"""


def test_chunked_bodies_and_cookies():
    done = subprocess.run([sys.executable, "-c", dedent(CHECKS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
