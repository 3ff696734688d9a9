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

    @property
    def database_local(self) -> bool:
        return bool(self.database and self.database.local)

    @property
    def rps(self) -> float | None:
        """The rate of an open load; None for a closed one. A locustfile's users are its own."""
        return None if self.workload.locustfile else self.slo.rps
