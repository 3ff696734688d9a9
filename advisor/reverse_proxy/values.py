"""Values of the reverse proxy in front of the server: its cost, and what the checks of it gave."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings


@dataclass(frozen=True)
class FrontCost:
    """The cost of one request through the proxy, and of its processes. Seconds, bytes.

    ``workers_change_s``: CPU of the workers per request behind it, less that without it; UNKNOWN
    where no trial was alike.
    """

    cpu_s: Interval
    pss_bytes: Interval
    workers_change_s: Interval = UNKNOWN


@dataclass(frozen=True)
class Fronted:
    """The proxy in front, its cost and its checks; ``config``: to deploy, once that is known."""

    name: str
    version: str
    cost: FrontCost | None = None
    config: Front | None = None
    checks: Checks | None = None
    keeps: bool = True  # connections to the server, where it does


@dataclass(frozen=True)
class Comparison:
    """One quantity, its unit in the name; UNKNOWN where there is not enough data, with a ``note``.

    ``without`` and ``behind``: nginx, or in the question of ``keepalive`` a connection for each
    request and kept ones. ``rounds`` of each.
    """

    question: str
    quantity: str
    without: Interval
    behind: Interval
    rounds: int
    note: str = ""

    @property
    def better(self) -> bool | None:
        """True where it is certainly less with it; None: cannot be told."""
        if self.behind.high < self.without.low:
            return True
        return False if self.behind.low > self.without.high else None


@dataclass(frozen=True)
class Checks:
    """``slow``: clients at once in the questions that have slow ones."""

    settings: Settings
    slow: int
    file_bytes: int
    rows: tuple[Comparison, ...]
