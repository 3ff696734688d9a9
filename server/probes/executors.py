"""Count the CPU a request spends in executor threads towards the request.

Under asyncio the blocking half of an app runs in threads: ``loop.run_in_executor`` and
``asyncio.to_thread`` end in ``ThreadPoolExecutor.submit``, anyio (and so Starlette's plain ``def``
routes) has threads of its own. Both are wrapped where the call is handed over, while the request's
context is current; the thread then runs with the request's account, so that probes of blocking
drivers find it too.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pretune.server.clock import Clock
from pretune.server.probes.account import Account, current, serving
from pretune.server.probes.imports import when_imported


class _Metered:
    """A call that adds its thread's CPU to an account."""

    __slots__ = ("account", "function")

    def __init__(self, function: Callable[..., Any], account: Account) -> None:
        self.function = function
        self.account = account

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = current.set(self.account)
        ident = threading.get_ident()
        before = serving.get(ident)
        serving[ident] = threading.get_native_id(), self.account
        began = Clock.thread_time()
        try:
            return self.function(*args, **kwargs)
        finally:
            spent = Clock.thread_time() - began
            self.account.cpu += spent
            self.account.pool += spent
            current.reset(token)
            if before is None:
                serving.pop(ident, None)
            else:
                serving[ident] = before


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    account = current.get()
    if account is None or isinstance(function, _Metered):
        return function
    account.shared = True
    return _Metered(function, account)


def install() -> None:
    """Wrap both, now or when they are imported."""
    when_imported("concurrent.futures.thread", _wrap_submit)
    when_imported("anyio.to_thread", _wrap_run_sync)


def _wrap_submit(module: ModuleType) -> None:
    executor = module.ThreadPoolExecutor
    original = executor.submit
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return original(self, _metered(fn), *args, **kwargs)

    executor.submit = submit


def _wrap_run_sync(module: ModuleType) -> None:
    original = module.run_sync
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    async def run_sync(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await original(_metered(func), *args, **kwargs)

    module.run_sync = run_sync  # type: ignore[attr-defined]
