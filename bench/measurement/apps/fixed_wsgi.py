"""A WSGI app that does the same work in every request, as applications do.

The known applications burn until a clock says so; nothing that slows a core down could show in
them. Here the work is fixed and the clock has to follow: ``/compute`` hashes and loops, ``/query``
lets Postgres compute, ``/mixed`` does some of both and sleeps in between.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

LOOPS = 30_000
HASHES = 40
SLEEP_S = 0.005
SERIES = 20_000
BLOCK = bytes(range(256)) * 64

local = threading.local()


def compute() -> int:
    total = 0
    for number in range(LOOPS):
        total += number * number & 0xFF
    for _ in range(HASHES):
        total ^= hashlib.blake2b(BLOCK).digest()[0]
    return total


def query() -> None:
    if not hasattr(local, "connection"):
        import psycopg

        local.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    local.connection.execute(f"select sum(sqrt(i)) from generate_series(1, {SERIES}) i").fetchone()


def sleep() -> None:
    time.sleep(SLEEP_S)


STEPS: dict[str, tuple[Callable[[], object], ...]] = {
    "/compute": (compute,),
    "/query": (query,),
    "/mixed": (compute, sleep, query),
}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    for step in STEPS[environ["PATH_INFO"]]:
        step()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
