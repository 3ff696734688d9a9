"""How long a request waited in somebody else's code, added to its account.

A wait is the time a call took less the CPU its thread used meanwhile: parsing rows is work, and
the request's CPU already holds it. A coroutine's wait is the time between each suspension and its
resumption; the loop may have been busy with others at the resumption, and that lag is in it, as
the wait for the GIL is in a thread's.

Calls inside such a call belong to it: only the outermost is timed and counted.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from time import perf_counter, thread_time
from typing import Any

from pretune.server.probes.account import Account, current

Function = Callable[..., Any]
# Whether this call is one to count, from its positional arguments; None counts every call.
Counts = Callable[[tuple[Any, ...]], bool]


class _Nesting(threading.local):
    inside = False


_thread = _Nesting()
_inside: ContextVar[bool] = ContextVar("pretune_waiting", default=False)


def _add_db(account: Account, waited: float, calls: int) -> None:
    account.db += waited
    account.db_calls += calls


def _add_out(account: Account, waited: float, calls: int) -> None:
    account.out += waited
    account.out_calls += calls


Add = Callable[[Account, float, int], None]
DB: Add = _add_db
OUT: Add = _add_out


def timed(function: Function, add: Add, counts: Counts | None = None) -> Function:
    """``function`` with its waits accounted for; outside a request it costs one look-up."""

    @functools.wraps(function)
    def timed_call(*args: Any, **kwargs: Any) -> Any:
        account = current.get()
        if account is None or _thread.inside:
            return function(*args, **kwargs)
        _thread.inside = True
        counted = 1 if counts is None or counts(args) else 0
        cpu = thread_time()
        wall = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            # The two clocks are not read at one moment, so a call that never waited can come out
            # a hair below zero.
            waited = perf_counter() - wall - (thread_time() - cpu)
            _thread.inside = False
            add(account, waited if waited > 0.0 else 0.0, counted)

    return timed_call


def timed_async(function: Function, add: Add, counts: Counts | None = None) -> Function:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
        account = current.get()
        if account is None or _inside.get():
            return await function(*args, **kwargs)
        counted = 1 if counts is None or counts(args) else 0
        token = _inside.set(True)
        try:
            return await _watched(function(*args, **kwargs), account, add, counted)
        finally:
            # A coroutine that nobody finished is closed by the collector, in a context that
            # never saw the token.
            with contextlib.suppress(ValueError):
                _inside.reset(token)

    return timed_coroutine


@types.coroutine
def _watched(
    awaitable: Awaitable[Any], account: Account, add: Add, counted: int
) -> Generator[Any, Any, Any]:
    """Drive ``awaitable`` by hand (PEP 380) and sum the times it was suspended."""
    steps = awaitable.__await__()
    step, given = steps.send, None
    waited = 0.0
    try:
        while True:
            try:
                asked = step(given)
            except StopIteration as finished:
                return finished.value
            suspended = perf_counter()
            try:
                given = yield asked
                step = steps.send
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                given, step = error, steps.throw
            waited += perf_counter() - suspended
    finally:
        add(account, waited, counted)


def patch(owner: Any, names: tuple[str, ...], wrap: Callable[[Function], Function]) -> None:
    """Replace those of ``names`` that ``owner`` itself defines and that are not replaced yet.

    Which of them exist differs between the versions of a library.
    """
    for name in names:
        function = vars(owner).get(name)
        if callable(function) and not hasattr(function, "_pretune_probe"):
            wrapped = wrap(function)
            wrapped._pretune_probe = True  # type: ignore[attr-defined]
            setattr(owner, name, wrapped)
