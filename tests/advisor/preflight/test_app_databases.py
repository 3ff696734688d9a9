"""Pools and persistent connections as the inspection tells them."""

from __future__ import annotations

from typing import Any

import pytest

from pretune.advisor.preflight.app_databases import read_databases, read_thread_limit

pytestmark = pytest.mark.fast
ENGINE = "sqlalchemy engine"


@pytest.mark.parametrize(
    ("said", "persistent", "pooled", "most", "per_thread"),
    [
        ({"source": "DATABASES", "conn_max_age": 0}, False, False, None, True),
        ({"source": "DATABASES", "conn_max_age": 600}, True, False, None, True),
        ({"source": "DATABASES", "conn_max_age": None}, True, False, None, True),  # for ever
        (
            {"source": "DATABASES", "conn_max_age": 0, "pool": True, "pool_size": 4, "max_size": 4},
            False, True, 4, False,
        ),
        ({"source": ENGINE, "pool_size": 5, "max_overflow": 10}, None, True, 15, False),
        ({"source": ENGINE, "pool_size": 5, "max_overflow": -1}, None, True, None, False),
        ({"source": ENGINE, "pool_size": None}, None, False, None, False),  # NullPool
        ({"source": "psycopg_pool", "pool_size": 2, "max_size": 8}, None, True, 8, False),
    ],
)  # fmt: skip
def test_a_database_is_read_with_its_pool(
    said: dict[str, Any], persistent: bool | None, pooled: bool, most: int | None, per_thread: bool
) -> None:
    (found,) = read_databases({"databases": [{"engine": "postgresql", "url": "secret", **said}]})
    assert (found.persistent, found.pooled, found.most) == (persistent, pooled, most)
    assert found.per_thread is per_thread
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("interface", "versions", "limit"),
    [("asgi", {"anyio": ""}, 40), ("asgi", {}, None), ("wsgi", {"anyio": ""}, None)],
)
def test_anyio_bounds_threads_of_an_event_loop(
    interface: str, versions: dict[str, str], limit: int | None
) -> None:
    assert read_thread_limit({"interface": interface, "versions": versions}) == limit
