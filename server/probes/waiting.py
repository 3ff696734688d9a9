"""The time that a request waits in somebody else's code, added to its account.

A wait is the time a call took less the CPU its thread used meanwhile: parsing rows is work, and
the request's CPU already holds it. A coroutine's wait is the time between each suspension and its
resumption, less the loop's lag since it last heard from the kernel (``LoopClock``). What stays in
it: an answer that came while the loop was busy with something else waits unseen until the loop
asks again. So does the wait for the GIL in a thread's.

The time a thread could run and did not, because others had its core, is no waiting either: it is
the request's run-queue delay. The kernel keeps that clock for each thread. Under asyncio it is the
loop's, and as one request's it is right only while the loop has no other, as in a demand trial.

Calls inside such a call belong to it: only the outermost is timed and counted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from math import isnan
from typing import Any, NamedTuple

from pretune.server.clock import Clock
from pretune.server.probes import account as accounts
from pretune.server.probes.account import OTHER, Account, current
from pretune.server.telemetry import run_queue_clock

Function = Callable[..., Any]
# Whether this call is one to count, from its positional arguments; None counts every call.
Counts = Callable[[tuple[Any, ...]], bool]
# Who is called, ``host:port``, from the call's arguments.
Whom = Callable[[tuple[Any, ...], dict[str, Any]], str]


class _Thread(threading.local):
    """``queue`` belongs to the thread and closes its file with it."""

    inside = False

    def __init__(self) -> None:
        self.queue: Callable[[], float] = run_queue_clock() if _alone else _no_delay
        if isnan(self.queue()):
            self.queue = _no_delay


def _no_delay() -> float:
    return 0.0


def share_threads() -> None:
    """Several requests take turns on each thread (greenlets): its delay is not one's own."""
    global _alone, _thread
    _alone, _thread = False, _Thread()


def _renew() -> None:
    """A forked child would read its parent's clock."""
    global _thread
    _thread = _Thread()


_alone = True
_thread = _Thread()
os.register_at_fork(after_in_child=_renew)
_inside: ContextVar[bool] = ContextVar("pretune_waiting", default=False)


class LoopClock:
    """When the event loop of this process last came back from the kernel; Clock.perf_counter s."""

    woke = 0.0  # stays so under uvloop, which asks the kernel out of our sight


def _add_db(account: Account, waited: float, calls: int, whom: str) -> None:
    account.db += waited
    account.db_calls += calls


def _add_out(account: Account, waited: float, calls: int, whom: str) -> None:
    account.out += waited
    account.out_calls += calls
    # Reading the body of an answer names nobody: it is the one that was asked last.
    whom = whom or account.whom
    if whom:
        account.whom = whom
        hosts = account.hosts
        if hosts is None:
            hosts = account.hosts = {}
        sums = hosts.setdefault(whom, [0, 0.0])
        sums[0] += calls
        sums[1] += waited


class Sort(NamedTuple):
    """A kind of waiting."""

    kind: int  # one of account.KINDS
    add: Callable[[Account, float, int, str], None]


DB = Sort(accounts.DB, _add_db)
OUT = Sort(accounts.OUT, _add_out)


def _called(wrapper: Any, function: Function) -> Any:
    """Give the wrapper's code the name of what it wraps: so a stack says ``execute``."""
    wrapper.__code__ = wrapper.__code__.replace(co_name=getattr(function, "__name__", "call"))
    return wrapper


def _name_of(whom: Whom | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if whom is None:
        return ""
    try:
        return whom(args, kwargs)
    except Exception:  # an argument the client itself will refuse
        return ""


def timed(
    function: Function, sort: Sort, counts: Counts | None = None, whom: Whom | None = None
) -> Function:
    """``function`` with its waits accounted for; outside a request it costs one look-up."""

    kind, add = sort

    @functools.wraps(function)
    def timed_call(*args: Any, **kwargs: Any) -> Any:
        account = current.get()
        if account is None or _thread.inside:
            return function(*args, **kwargs)
        _thread.inside = True
        account.inside = kind
        counted = 1 if counts is None or counts(args) else 0
        queue = _thread.queue
        cpu, delay = Clock.thread_time(), queue()
        wall = Clock.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            # The clocks are not read at one moment, so a call that never waited can come out a
            # hair below zero.
            waited = Clock.perf_counter() - wall - (Clock.thread_time() - cpu) - (queue() - delay)
            _thread.inside = False
            account.inside = OTHER
            name = "" if whom is None else _name_of(whom, args, kwargs)
            add(account, waited if waited > 0.0 else 0.0, counted, name)

    return _called(timed_call, function)  # type: ignore[no-any-return]


def timed_async(
    function: Function, sort: Sort, counts: Counts | None = None, whom: Whom | None = None
) -> Function:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
        account = current.get()
        if account is None or _inside.get():
            return await function(*args, **kwargs)
        counted = 1 if counts is None or counts(args) else 0
        token = _inside.set(True)
        try:
            name = "" if whom is None else _name_of(whom, args, kwargs)
            return await _watched(function(*args, **kwargs), account, sort, counted, name)
        finally:
            # A coroutine that nobody finished is closed by the collector, in a context that
            # never saw the token.
            with contextlib.suppress(ValueError):
                _inside.reset(token)

    return _called(timed_coroutine, function)  # type: ignore[no-any-return]


@types.coroutine
def _watched(
    awaitable: Awaitable[Any], account: Account, sort: Sort, counted: int, whom: str
) -> Generator[Any, Any, Any]:
    """Drive ``awaitable`` by hand (PEP 380) and sum the times it was suspended."""
    steps = awaitable.__await__()
    step, given = steps.send, None
    waited, queue = 0.0, _thread.queue
    account.inside = sort.kind
    try:
        while True:
            try:
                asked = step(given)
            except StopIteration as finished:
                return finished.value
            suspended, delay = Clock.perf_counter(), queue()
            try:
                given = yield asked
                step = steps.send
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                given, step = error, steps.throw
            resumed, woke = Clock.perf_counter(), LoopClock.woke
            away = (woke if suspended < woke < resumed else resumed) - suspended
            waited += max(away - (queue() - delay), 0.0)
    finally:
        account.inside = OTHER
        sort.add(account, waited, counted, whom)


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
