"""The application: `examples.tickets.main:app`.

Asynchronous routes share a pool of 8 connections, plain ones, which run in threads, one of 4.
Both are opened when the application starts up, that is in each worker, never before a fork.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from pydantic import BaseModel, Field

from examples.tickets import carrier, forecast

ASYNC_CONNECTIONS = 8
PLAIN_CONNECTIONS = 4
PER_PAGE = 25

TicketId = Annotated[int, Path(ge=1, lt=2**31)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"]
    rows = {"row_factory": dict_row}
    pool = AsyncConnectionPool(url, kwargs=rows, min_size=1, max_size=ASYNC_CONNECTIONS, open=False)
    plain = ConnectionPool(url, kwargs=rows, min_size=1, max_size=PLAIN_CONNECTIONS, open=False)
    async with pool:
        with plain:
            app.state.pool, app.state.plain = pool, plain
            yield


app = FastAPI(title="Tickets", lifespan=lifespan)


class NewTicket(BaseModel):
    queue: str
    title: str = Field(min_length=1, max_length=120)
    text: str = Field(min_length=1, max_length=10_000)


async def fetch(request: Request, query: str, *values: object) -> list[dict[str, Any]]:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(query, values)
        rows: list[dict[str, Any]] = await cursor.fetchall()
        return rows


def fetch_plain(request: Request, query: str, *values: object) -> list[dict[str, Any]]:
    with request.app.state.plain.connection() as connection:
        rows: list[dict[str, Any]] = connection.execute(query, values).fetchall()
        return rows


@app.get("/", response_class=HTMLResponse)
async def index(request: Request) -> str:
    queues = await fetch(
        request,
        "SELECT name, count(*) FROM queue JOIN ticket ON queue_id = queue.id"
        " WHERE state = 'open' GROUP BY name ORDER BY name",
    )
    latest = await fetch(
        request,
        "SELECT id, title FROM ticket WHERE state = 'open' ORDER BY opened DESC LIMIT %s",
        PER_PAGE,
    )
    links = [(f"/queues/{row['name']}", f"{row['name']}: {row['count']} open") for row in queues]
    links += [(f"/tickets/{row['id']}", row["title"]) for row in latest]
    items = "".join(f'<li><a href="{escape(to)}">{escape(text)}</a></li>' for to, text in links)
    return f"<!doctype html><title>Tickets</title><h1>Tickets</h1><ul>{items}</ul>"


@app.get("/tickets")
async def tickets(
    request: Request, state: str = "open", page: Annotated[int, Query(ge=1, le=1000)] = 1
) -> list[dict[str, Any]]:
    return await fetch(
        request,
        "SELECT ticket.id, title, state, opened, name AS queue"
        " FROM ticket JOIN queue ON queue.id = queue_id"
        " WHERE state = %s ORDER BY opened DESC LIMIT %s OFFSET %s",
        *(state, PER_PAGE, (page - 1) * PER_PAGE),
    )


@app.get("/tickets/{ticket_id}")
async def ticket(request: Request, ticket_id: TicketId) -> dict[str, Any]:
    found = await _ticket(request, ticket_id)
    comments = await fetch(
        request,
        "SELECT text, written FROM comment WHERE ticket_id = %s ORDER BY written",
        ticket_id,
    )
    return found | {"comments": comments}


async def _ticket(request: Request, ticket_id: int) -> dict[str, Any]:
    found = await fetch(
        request,
        "SELECT ticket.id, title, text, state, opened, name AS queue"
        " FROM ticket JOIN queue ON queue.id = queue_id WHERE ticket.id = %s",
        ticket_id,
    )
    if not found:
        raise HTTPException(404, "no such ticket")
    return found[0]


@app.post("/tickets", status_code=201)
async def create(request: Request, new: NewTicket) -> dict[str, int]:
    made = await fetch(
        request,
        "INSERT INTO ticket (queue_id, title, text)"
        " SELECT id, %s, %s FROM queue WHERE name = %s RETURNING id",
        *(new.title, new.text, new.queue),
    )
    if not made:
        raise HTTPException(404, "no such queue")
    return {"id": made[0]["id"]}


@app.get("/tickets/{ticket_id}/parcel")
async def parcel(request: Request, ticket_id: TicketId) -> dict[str, Any]:
    """Ask the carrier; no connection of the pool is held meanwhile."""
    found = await _ticket(request, ticket_id)
    try:
        answer = await carrier.get(os.environ["UPSTREAM_URL"], f"/parcel/{ticket_id}")
    except carrier.CarrierError as error:
        raise HTTPException(502, "the carrier does not answer") from error
    return {"ticket": found["title"], "days": answer["days"]}


@app.get("/queues/{name}")
def queue(request: Request, name: str) -> dict[str, Any]:
    states = fetch_plain(
        request,
        "SELECT state, count(*), min(opened) AS oldest"
        " FROM ticket JOIN queue ON queue.id = queue_id WHERE name = %s GROUP BY state",
        name,
    )
    if not states:
        raise HTTPException(404, "no such queue")
    return {"queue": name, "states": {row.pop("state"): row for row in states}}


@app.get("/search")
def search(
    request: Request, q: Annotated[str, Query(max_length=100)] = "kettle"
) -> list[dict[str, Any]]:
    return fetch_plain(
        request,
        "SELECT id, title, state FROM ticket WHERE title || ' ' || text ILIKE '%%' || %s || '%%'"
        " ORDER BY opened DESC LIMIT %s",
        *(q, PER_PAGE),
    )


@app.get("/forecast")
def prospects(request: Request) -> dict[str, float]:
    """Next week's tickets, computed in Python from the year's."""
    weeks = fetch_plain(
        request,
        "SELECT count(*) FROM ticket WHERE opened < '2026-01-01'"
        " GROUP BY date_trunc('week', opened) ORDER BY date_trunc('week', opened)",
    )
    return forecast.best([row["count"] for row in weeks])._asdict()
