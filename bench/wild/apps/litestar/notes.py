"""Notes with tags, on a pool of asyncpg."""

import os
from contextlib import asynccontextmanager

import asyncpg
from litestar import Litestar, Response, Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException


@asynccontextmanager
async def database(app: Litestar):
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=8) as pool:
        app.state.pool = pool
        yield


@get("/", media_type="text/html")
async def home(state: State) -> str:
    rows = await state.pool.fetch("SELECT id, title FROM note ORDER BY id DESC LIMIT 20")
    return "".join(f'<a href="/notes/{row["id"]}">{row["title"]}</a>' for row in rows)


@get("/")
async def notes(state: State, page: int = 0) -> list[dict]:
    query = "SELECT id, title, tag FROM note ORDER BY id LIMIT 50 OFFSET $1"
    return [dict(row) for row in await state.pool.fetch(query, 50 * page)]


@get("/{note_id:int}")
async def note(state: State, note_id: int) -> dict:
    row = await state.pool.fetchrow("SELECT * FROM note WHERE id = $1", note_id)
    if row is None:
        raise NotFoundException
    return dict(row)


@get("/tags/{tag:str}")
async def by_tag(state: State, tag: str) -> list[dict]:
    rows = await state.pool.fetch("SELECT id, title FROM note WHERE tag = $1 LIMIT 50", tag)
    return [dict(row) for row in rows]


@get("/report")
async def report(state: State, least: int) -> Response[dict]:
    query = "SELECT tag, count(*) AS notes FROM note GROUP BY tag HAVING count(*) >= $1"
    return Response({row["tag"]: row["notes"] for row in await state.pool.fetch(query, least)})


@get("/health")
async def health() -> dict:
    return {"ok": True}


app = Litestar(
    [home, by_tag, report, health, Router("/notes", route_handlers=[notes, note])],
    lifespan=[database],
)
