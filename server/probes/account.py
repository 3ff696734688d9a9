"""What one request has spent so far, filled by probes wherever the request's code happens to run.

The account travels in a context variable, so it follows the request into asyncio tasks and into
executor threads that copy the context. Several threads may add to one account (a request that
gathers executor calls), so an amount is computed first and added in a statement of its own: CPython
switches threads at calls and loops, not between the load and the store of ``x.cpu += spent``, but
``x.cpu += clock() - began`` loads before it calls, and loses what others add meanwhile.
"""

from __future__ import annotations

from contextvars import ContextVar


class Account:
    """Seconds and counts of one request."""

    __slots__ = ("cpu", "db", "db_calls", "out", "out_calls", "shared")

    def __init__(self) -> None:
        self.cpu = 0.0  # CPU outside the serving thread's own clock (executor calls)
        self.db = 0.0
        self.db_calls = 0
        self.out = 0.0
        self.out_calls = 0
        self.shared = False  # an executor has it, too, and may add to it after the request


# None outside a request, and always when telemetry is off.
current: ContextVar[Account | None] = ContextVar("pretune_account", default=None)
