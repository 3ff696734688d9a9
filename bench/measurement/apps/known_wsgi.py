"""A WSGI app whose costs are known; see ``work``. Each thread has its connections to Postgres."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import work

local = threading.local()
device = threading.Lock()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    kind = work.KINDS[work.NUMBER[environ["PATH_INFO"].strip("/")]]
    diary = work.Diary(work.NUMBER[kind.name])
    diary.cpu_drawn, diary.wait_drawn = work.draw(kind)
    if diary.cpu_drawn:
        work.burn(diary.cpu_drawn * (1 - kind.free))
        work.burn_free(diary.cpu_drawn * kind.free)
    if diary.wait_drawn:
        with device if kind.name == "locked" else nullcontext():
            waited = work.Waited()
            work.time.sleep(diary.wait_drawn)
            diary.wait = waited()
    if kind.queries:
        waited = work.Waited()
        query(kind.queries, kind.connections)
        diary.db = waited()
    if kind.calls:
        waited = work.Waited()
        call(kind.calls)
        diary.out = waited()
    if kind.name == "leak":
        work.leak()
    body = b"x" * kind.body
    start_response("200 OK", [("Content-Length", str(kind.body)), ("Content-Type", "text/plain")])
    if kind.name != "leak":
        diary.write(threading.get_native_id())
    return [body]


def query(times: int, connections: int) -> None:
    if not hasattr(local, "connections"):
        local.connections = []
    while len(local.connections) < connections:
        import psycopg

        local.connections.append(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
    for number in range(times):
        local.connections[number % connections].execute(f"select pg_sleep({work.QUERY_S})")


def call(times: int) -> None:
    if not hasattr(local, "upstream"):
        local.upstream = work.upstream()
    for _ in range(times):
        local.upstream.request("GET", "/")
        local.upstream.getresponse().read()
