"""The account of what one request has spent so far, filled by probes wherever the request's code
happens to run.

The account travels in a context variable, so it follows the request into asyncio tasks and into
executor threads that copy the context. Several threads may add to one account (a request that
gathers executor calls), so an amount is computed first and added in a statement of its own: CPython
switches threads at calls and loops, not between the load and the store of ``x.cpu += spent``, but
``x.cpu += clock() - began`` loads before it calls, and loses what others add meanwhile.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# Where a request is at this moment, for who looks at its stack: an index into KINDS.
KINDS = ("cpu", "db", "out", "other")
CPU, DB, OUT, OTHER = range(len(KINDS))


class Account:
    """Seconds and counts of one request."""

    __slots__ = (
        "cpu", "db", "db_calls", "endpoint", "head", "hosts", "inside", "out", "out_calls",
        "pool", "route", "runq", "shared", "tasks", "whom",
    )  # fmt: skip

    def __init__(self) -> None:
        self.cpu = 0.0  # CPU outside the serving thread's own clock (executor calls)
        self.pool = 0.0  # the part of it that executor threads spent
        self.head = 0.0  # the part of it that was spent before the request began
        self.runq = 0.0  # runnable and not running, where a Meter looks
        self.db = 0.0
        self.db_calls = 0
        self.out = 0.0
        self.out_calls = 0
        self.shared = False  # an executor has it, too, and may add to it after the request
        self.endpoint = 0  # as in telemetry.FIELDS
        self.route = 0  # as in telemetry.FIELDS
        self.hosts: dict[str, list[float]] | None = None  # host:port -> calls, seconds waited
        self.whom = ""  # the last of them
        self.inside = OTHER  # DB or OUT while it is in such a call
        self.tasks: list[Any] | None = None  # asyncio's, made for it, while stacks are sampled


# None outside a request, and always when telemetry is off.
current: ContextVar[Account | None] = ContextVar("pretune_account", default=None)

# Thread ident -> (kernel's id, account) of threads at work for a request, while stacks are sampled.
serving: dict[int, tuple[int, Account]] = {}
