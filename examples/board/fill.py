"""The board's history: 300 authors, 600 threads, 12,000 posts."""

from __future__ import annotations

from typing import Any

import psycopg

from examples.rows import Rows, copy

AUTHORS, THREADS, POSTS = 300, 600, 12000


def _post(rows: Rows) -> str:
    """A text with some of each kind of markup."""
    link = f"[{rows.name()}](https://shop.example/)"
    return "\n".join(
        (
            f"# {rows.name()}",
            rows.text(10, 30),
            f"> {rows.text(5, 15)}",
            "",
            f"- **{rows.name()}**",
            f"- *{rows.name()}* and `{rows.name()}`",
            "",
            f"{rows.text(10, 30)} {link}",
        )
    )


def fill(cursor: psycopg.Cursor[Any], seed: int = 2) -> None:
    """Fill the empty tables."""
    rows = Rows(seed)
    pick = rows.random.randrange
    copy(cursor, "author", ("id", "name"), ((n, f"author {n}") for n in range(1, AUTHORS + 1)))
    titles = ((n, f"{rows.name()}?") for n in range(1, THREADS + 1))
    copy(cursor, "thread", ("id", "title"), titles)
    # Some texts come twice: writing them is most of the work here.
    texts = [_post(rows) for _ in range(POSTS // 4)]
    posts = (
        (1 + n % THREADS, rows.popular(AUTHORS), texts[pick(len(texts))], rows.moment())
        for n in range(POSTS)
    )
    copy(cursor, "post", ("thread_id", "author_id", "text", "written"), posts)
