"""An ASGI app whose costs are known; see ``work``. The process has its connections to Postgres."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import work

connections: list[Any] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    kind = work.KINDS[work.NUMBER[scope["path"].strip("/")]]
    diary = work.Diary(work.NUMBER[kind.name])
    diary.cpu_drawn, diary.wait_drawn = work.draw(kind)
    if diary.cpu_drawn:
        work.burn(diary.cpu_drawn * (1 - kind.free))
        work.burn_free(diary.cpu_drawn * kind.free)
    if diary.wait_drawn:
        waited = work.Waited()
        await asyncio.sleep(diary.wait_drawn)
        diary.wait = waited()
    if kind.queries:
        waited = work.Waited()
        await query(kind.queries, kind.connections)
        diary.db = waited()
    if kind.name == "leak":
        work.leak()
    else:
        diary.write(threading.get_native_id())
    headers = [(b"content-length", b"%d" % kind.body), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * kind.body})


async def query(times: int, wanted: int) -> None:
    while len(connections) < wanted:
        import psycopg

        connections.append(
            await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)
        )
    for number in range(times):
        await connections[number % wanted].execute(f"select pg_sleep({work.QUERY_S})")
