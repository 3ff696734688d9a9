"""What the board needs before it can serve: Postgres with its data."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from examples import hooks, postgres


def start(directory: Path) -> Mapping[str, str]:
    url = postgres.start(directory, "board")
    make(url)
    return {"DATABASE_URL": url}


def make(url: str) -> None:
    """Make the tables and fill them."""
    import psycopg
    from sqlalchemy import create_engine

    from examples.board.fill import fill
    from examples.board.models import Base
    from examples.rows import settle

    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    Base.metadata.create_all(engine)
    engine.dispose()
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        fill(cursor)
        settle(cursor)


if __name__ == "__main__":
    sys.exit(hooks.main(start, postgres.stop))
