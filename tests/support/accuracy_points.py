"""Points of a sweep made by hand."""

from dataclasses import replace
from typing import Any

from bench.accuracy.store import Point

KNOWN = Point(
    "app", 1, 1, "sync", 1, 0, "", 6.0, 2.0, 200, 100.0, 0.01, 0.01, 0.01, 0.02,
    100.0, 0.0, 0.5, True, False, "", {}, {},
)  # fmt: skip


def point(
    shape: tuple[int, int, str] = (1, 1, "sync"), users: int = 1, repeat: int = 0, **changes: Any
) -> Point:
    workers, threads, worker_class = shape
    return replace(
        KNOWN, workers=workers, threads=threads, worker_class=worker_class, users=users,
        repeat=repeat, **changes,
    )  # fmt: skip
