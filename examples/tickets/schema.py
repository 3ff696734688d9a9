"""The desk's tables and what fills them: 8 queues, 3,000 tickets, 9,000 comments."""

from __future__ import annotations

from typing import Any

import psycopg

from examples.rows import Rows, copy

QUEUES = ("billing", "delivery", "returns", "repairs", "accounts", "press", "legal", "other")
STATES = ("open", "waiting", "closed", "closed")
TICKETS, COMMENTS = 3000, 9000

TABLES = """
CREATE TABLE queue (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE ticket (
    id serial PRIMARY KEY,
    queue_id integer NOT NULL REFERENCES queue,
    title text NOT NULL,
    text text NOT NULL,
    state text NOT NULL DEFAULT 'open',
    opened timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON ticket (state, opened DESC);
CREATE INDEX ON ticket (queue_id, opened DESC);
CREATE TABLE comment (
    id serial PRIMARY KEY,
    ticket_id integer NOT NULL REFERENCES ticket,
    text text NOT NULL,
    written timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON comment (ticket_id, written);
"""


def fill(cursor: psycopg.Cursor[Any], seed: int = 3) -> None:
    """Make the tables and fill them."""
    cursor.execute(TABLES)
    rows = Rows(seed)
    pick = rows.random.randrange
    copy(cursor, "queue", ("id", "name"), enumerate(QUEUES, 1))
    copy(
        cursor,
        "ticket",
        ("id", "queue_id", "title", "text", "state", "opened"),
        (
            (
                *(pk, rows.popular(len(QUEUES)), rows.name(), rows.text(20, 60)),
                *(rows.random.choice(STATES), rows.moment()),
            )
            for pk in range(1, TICKETS + 1)
        ),
    )
    copy(
        cursor,
        "comment",
        ("ticket_id", "text", "written"),
        ((1 + pick(TICKETS), rows.text(5, 30), rows.moment()) for _ in range(COMMENTS)),
    )
