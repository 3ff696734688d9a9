"""The app's databases as it has configured them: pools, their sizes, connections that persist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.advisor.preflight.facts import AppDatabase

ANYIO_THREADS = 40  # anyio's own default


def read_databases(inspected: Mapping[str, Any]) -> tuple[AppDatabase, ...]:
    """Read what the inspection says, see server/probes/configuration.py."""
    return tuple(_read(each) for each in inspected.get("databases", ()))


def read_thread_limit(inspected: Mapping[str, Any]) -> int | None:
    asgi = inspected["interface"] == "asgi"
    return ANYIO_THREADS if asgi and "anyio" in inspected.get("versions", {}) else None


def _read(database: Mapping[str, Any]) -> AppDatabase:
    django = database.get("source") == "DATABASES"
    sizes = [database.get("max_size") or database.get("pool_size"), database.get("max_overflow")]
    size, overflow = (each if isinstance(each, int) else None for each in sizes)
    limited = size is not None and size > 0 and (overflow is None or overflow >= 0)
    return AppDatabase(
        source=str(database.get("source") or ""),
        engine=str(database.get("engine") or ""),
        persistent=database.get("conn_max_age") != 0 if django else None,
        pooled=bool(database.get("pool") if django else size),
        most=(size or 0) + (overflow or 0) if limited else None,
    )
