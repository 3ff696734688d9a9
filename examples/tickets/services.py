"""What the desk needs before it can serve: Postgres with its data, and the carrier it asks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from examples import hooks, postgres, upstream


def start(directory: Path) -> Mapping[str, str]:
    url = postgres.start(directory, "tickets")
    make(url)
    return {"DATABASE_URL": url, "UPSTREAM_URL": upstream.start(directory)}


def make(url: str) -> None:
    """Make the tables and fill them."""
    import psycopg

    from examples.rows import settle
    from examples.tickets.schema import fill

    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        fill(cursor)
        settle(cursor)


def stop(directory: Path) -> None:
    upstream.stop(directory)
    postgres.stop(directory)


if __name__ == "__main__":
    sys.exit(hooks.main(start, stop))
