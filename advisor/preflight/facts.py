"""The facts that preflight found, as a value that can be stored: no handle, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pretune.advisor.deployed.value import Look
from pretune.advisor.preflight.reverse_proxy import Installed
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.preflight.target import Target
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.resources.postgres import PostgresLimits
from pretune.loadtests.workload import Workload


@dataclass(frozen=True)
class LeftOpen:
    """A thing that the import of the app left open, see server/probes/left_open.py.

    ``kind``: thread, connection, event loop, database or lock.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class AppDatabase:
    """One of the app's databases, as it is configured to connect to it; no address.

    ``persistent``: Django keeps a thread's connection open between requests (CONN_MAX_AGE); None
    for other libraries. ``most``: connections that its pool lets one process have; None where it
    has no pool, or one without a limit.
    """

    source: str  # where it was found: DATABASES, sqlalchemy engine, ...
    engine: str  # postgresql, sqlite, ...
    persistent: bool | None = None
    pooled: bool = False
    most: int | None = None

    @property
    def per_thread(self) -> bool:
        """True where each thread has a connection of its own: Django without a pool."""
        return self.persistent is not None and not self.pooled


@dataclass(frozen=True)
class Facts:
    """All that is known before the first load and that a conclusion may rest on.

    ``boot_memory`` is what the inspection weighed, in bytes. ``settings`` are the application's
    own (``DEBUG`` and the like), as the inspection read them.
    """

    target: Target
    budget: Budget
    slo: Slo
    workload: Workload
    database: PostgresLimits | None
    servers: Servers
    boot_memory: Mapping[str, Any]
    settings: Mapping[str, Any] | None = None
    look: Look = field(default_factory=Look)  # at the project's deployment files
    notes: tuple[str, ...] = ()
    front: Installed | None = None  # what is to stand in front of the server
    left_open: tuple[LeftOpen, ...] = ()  # by the import
    app_databases: tuple[AppDatabase, ...] = ()
    # plain def endpoints that anyio runs at once in a worker, unless the app changes it at startup;
    # None without anyio or without an event loop
    thread_limit: int | None = None

    @property
    def database_local(self) -> bool:
        return bool(self.database and self.database.local)

    @property
    def app_postgres(self) -> tuple[AppDatabase, ...]:
        return tuple(each for each in self.app_databases if each.engine == "postgresql")

    @property
    def pool_most(self) -> int | None:
        """Connections to Postgres that the app's own pools let one process have; None: no limit."""
        known = [each.most for each in self.app_postgres]
        return sum(most for most in known if most) if known and all(known) else None

    @property
    def connects_per_thread(self) -> bool:
        """True where each thread has a connection of its own, as long as it uses it."""
        return bool(self.app_postgres) and all(each.per_thread for each in self.app_postgres)

    @property
    def debug(self) -> bool:
        return bool((self.settings or {}).get("debug"))

    @property
    def rps(self) -> float | None:
        """The rate of an open load; None for a closed one."""
        return self.slo.rps
