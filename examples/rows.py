"""Rows to fill an example's tables with: from a seed, so that every run measures the same data."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
YEAR_S = 365 * 24 * 3600
THINGS = "lamp table chair clock kettle mirror basket blanket shelf pan knife vase rug stool bowl"
KINDS = "small tall round plain brass oak blue folding heavy quiet warm striped glass linen old"
WORDS = (
    "the and with for that fits well looks good in our kitchen hall bought two of them after"
    " a month still like new arrived quickly would buy again light solid handle colour as shown"
    " smaller than expected but works every day gift friend price quality happy returned once"
)


class Rows:
    """Names, texts and moments, the same ones for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self._things, self._kinds, self._words = THINGS.split(), KINDS.split(), WORDS.split()

    def name(self) -> str:
        """A name of a thing, such as "Round brass lamp"."""
        kinds = self.random.sample(self._kinds, 2)
        return f"{' '.join(kinds)} {self.random.choice(self._things)}".capitalize()

    def text(self, least: int, most: int) -> str:
        """A text of `least` to `most` words."""
        count = self.random.randint(least, most)
        return " ".join(self.random.choices(self._words, k=count)).capitalize() + "."

    def moment(self) -> datetime:
        """A moment of the year 2025."""
        return EPOCH + timedelta(seconds=self.random.randrange(YEAR_S))

    def popular(self, count: int) -> int:
        """A number from 1 to `count`, the low ones much more often."""
        return 1 + int(count * self.random.random() ** 2)


def copy(
    cursor: psycopg.Cursor[Any], table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write `rows` to `table`, keys included, and let its sequence go on after them."""
    from psycopg import sql

    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    name = sql.Identifier(table)
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(name, names)) as stream:
        for row in rows:
            stream.write_row(row)
    if "id" in columns:
        cursor.execute(
            sql.SQL(
                "SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))"
            ).format(sql.Literal(table), name)
        )


def settle(cursor: psycopg.Cursor[Any]) -> None:
    """Leave nothing for later: statistics for the planner, no first-read marks to write."""
    from psycopg import sql

    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = [sql.Identifier(name) for (name,) in cursor.fetchall()]
    cursor.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.SQL(", ").join(tables)))
