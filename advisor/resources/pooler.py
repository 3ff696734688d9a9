"""A connection pooler between the application and Postgres: recognised, and asked if it answers.

A pooler makes up the number of the backend it tells its clients, so one that differs from
``pg_backend_pid()`` gives it away. PgBouncer answers questions on a database of that name, to the
users that its ``admin_users`` or ``stats_users`` list (pgbouncer(1), "Admin console"); anybody
else is refused in its own words, which tell that it is PgBouncer all the same.

What an application may open through a pooler is the pooler's affair: ``max_client_conn`` less the
clients it has. In session mode a client keeps a server connection for good, so there the pool's
size and ``max_db_connections`` bound the clients too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONSOLE = "pgbouncer"
# Its own messages to a user who may not ask.
_REFUSED = re.compile(r"not allowed|no such user|auth failed|authentication failed", re.IGNORECASE)
_ABSENT = re.compile(r"no such database|does not exist", re.IGNORECASE)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Pooler:
    """Numbers are connections and None where it did not tell; ``problem`` says why it did not.

    ``clients`` are everybody's clients but ours; ``held`` the server connections to this database
    that a client has now.
    """

    kind: str  # "PgBouncer", or "unknown"
    version: str = ""
    problem: str = ""
    pool_mode: str | None = None
    pool_size: int | None = None  # of a database and user, with the reserve
    max_client_conn: int | None = None
    max_db_connections: int | None = None
    clients: int | None = None
    held: int | None = None

    @property
    def bound(self) -> str:
        """The source of ``available``, in words."""
        sentence = f"{self.kind}'s max_client_conn {self.max_client_conn} - clients {self.clients}"
        if self.pool_mode == "session" and self.pool_size:
            sentence = f"the smaller of {sentence} and its pool of {self.pool_size} (session mode)"
        return sentence

    @property
    def available(self) -> int | None:
        """Connections the app may open; None when it did not tell."""
        if self.max_client_conn is None:
            return None
        room = [self.max_client_conn - (self.clients or 0)]
        if self.pool_mode == "session":
            held = self.held or 0
            room += [most - held for most in (self.pool_size, self.max_db_connections) if most]
        return max(min(room), 0)


def read_refusal(message: str) -> Pooler:
    """From what a failed login to the console said."""
    if _ABSENT.search(message):
        return Pooler("unknown", problem="it has no console")
    if _REFUSED.search(message):
        return Pooler("PgBouncer", problem="the user is in neither admin_users nor stats_users")
    return Pooler("unknown", problem=message)


def read_pooler(
    version: str,
    config: Sequence[Row],
    databases: Sequence[Row],
    pools: Sequence[Row],
    lists: Sequence[Row],
    *,
    database: str,
    ours: int,
) -> Pooler:
    """From SHOW VERSION, CONFIG, DATABASES, POOLS and LISTS. ``ours``: our own connections."""
    settings = {str(row["key"]): row["value"] for row in config}
    here = next((row for row in databases if row["name"] == database), {})
    counts = {str(row["list"]): int(row["items"]) for row in lists}
    size = _number(here.get("pool_size", settings.get("default_pool_size")))
    reserve = here.get("reserve_pool", here.get("reserve_pool_size"))
    reserve = _number(settings.get("reserve_pool_size") if reserve is None else reserve)
    most = _number(here.get("max_connections") or settings.get("max_db_connections"))
    held = [int(row["sv_active"]) for row in pools if row["database"] == database]
    return Pooler(
        "PgBouncer",
        version=(re.search(r"\d+(\.\d+)+", version) or [version])[0],
        pool_mode=str(here.get("pool_mode") or settings.get("pool_mode")),
        pool_size=None if size is None else size + (reserve or 0),
        max_client_conn=_number(settings.get("max_client_conn")),
        max_db_connections=most or None,  # 0 is no limit
        clients=max(counts.get("used_clients", 0) - ours, 0),
        held=sum(held),
    )


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
