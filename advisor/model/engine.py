"""The event loop of the simulation, compiled by numba: state in a few arrays of records.

``simulation.py`` says what is modelled and why; here is only how. A job (one request, or in a
closed load one user) is always in exactly one place: in the heap of things that happen at a wall
time, in one of the two heaps of what runs on cores (ordered by the pool's virtual time), or in one
first-in first-out queue. So one ``key``, one ``pos`` and one ``link`` per job are enough. Heaps
hold ids: the jobs, then one timer per worker (a thread will ask for the GIL), then the boot of each
worker, then the next arrival, the quota's next period, the next look at what is overdue.

One file, because numba's cache of ``drive`` watches only its own; the arrays are in ``state``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pretune.advisor.model.state import State

CFS_PERIOD_S = 0.1
SYN_RETRY_S = 1.0
# Of what a request computes on a loop or in its pool's thread, before its first wait: views look up
# first and render then.
FIRST_PART = 0.1
WATCH_S = 1.0  # between looks at what is overdue; gunicorn's arbiter looks once a second
ENDLESS = 1 << 60

_F = TypeVar("_F", bound=Callable[..., Any])

# Nothing here makes an array, and the caller holds those it passes: so no counting of references,
# which numba otherwise does atomically around every access, for ten times the time of all else.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}


def _inner(function: _F) -> _F:
    """Compile what is reached only from ``drive``, whose cached code contains it: no way in.

    Always inlined: a call would put the description of each array of the state on the stack.
    """
    jit: Any = njit
    compiled: _F = jit(
        **_OPTIONS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return compiled


def _apart(function: _F) -> _F:
    """As ``_inner``, but called: what is rare, or reached from many places, is compiled once."""
    jit: Any = njit
    compiled: _F = jit(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return compiled


def entry(function: _F) -> _F:
    """Compile what Python calls; kept in numba's cache where a cache can be written at all."""
    jit: Any = njit
    try:
        compiled: _F = jit(**_OPTIONS, nogil=True, cache=True)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache directory
        compiled = jit(**_OPTIONS, nogil=True)(function)
    return compiled


# Constants are np.int64: of a function called with a plain one, numba compiles a copy per value.
# where a job is
_numbers: Any = np.arange(12, dtype=np.int64)
_THINK, _SEND, _QUEUED, _LOCK_WAIT, _GIL_WAIT, _GIL_RUN = _numbers[:6]
_FREE_RUN, _DELAY, _DB_RUN, _RECEIVE, _RETRY, _FRONT = _numbers[6:]
# how the application's own lock is held: not, during one wait, from the first to the last moment
_NOT, _WAITING, _THROUGHOUT = _numbers[:3]
# heaps: by wall time, and the two pools of cores; then a source of events that is no heap
_WALL, _SERVER, _SHARED, _QUOTA_SPENT = _numbers[:4]
_NOTHING: Any = np.int64(-1)
# holder of a GIL whose thread goes on with the next request
_SAME_THREAD: Any = np.int64(-2)
# queues: the backlog, the generator's, from 2 one per worker for its GIL, then one for its slots,
# then one for the application's own lock, then one for what a loop's pool of threads computes
_BACKLOG, _GENERATOR, _GIL = _numbers[:3]

PICKS = {"random": 0, "idlest": 1, "first": 2, "awake": 3}  # numbered as below
_RANDOM, _IDLEST, _FIRST, _AWAKE = _numbers[:4]


@_inner
def _uniform(s: State) -> float:
    """Uniform in [0, 1): splitmix64 (Steele, Lea, Flood 2014)."""
    g = s.g[0]
    g.rng += np.uint64(0x9E3779B97F4A7C15)
    z = g.rng
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_inner
def _up(s: State, h: int, at: int) -> None:
    item = s.heap[h, at]
    key = s.items[item].key
    while at > 0:
        parent = (at - 1) >> 1
        other = s.heap[h, parent]
        if s.items[other].key <= key:
            break
        s.heap[h, at] = other
        s.items[other].pos = at
        at = parent
    s.heap[h, at] = item
    s.items[item].pos = at


@_inner
def _down(s: State, h: int, at: int) -> None:
    item = s.heap[h, at]
    key = s.items[item].key
    n = s.pools[h].size
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and s.items[s.heap[h, child + 1]].key < s.items[s.heap[h, child]].key:
            child += 1
        other = s.heap[h, child]
        if s.items[other].key >= key:
            break
        s.heap[h, at] = other
        s.items[other].pos = at
        at = child
    s.heap[h, at] = item
    s.items[item].pos = at


@_inner
def _push(s: State, h: int, item: int, key: float) -> None:
    s.items[item].key = key
    at = s.pools[h].size
    s.heap[h, at] = item
    s.pools[h].size = at + 1
    _up(s, h, at)


@_inner
def _remove(s: State, h: int, item: int) -> None:
    at = s.items[item].pos
    s.items[item].pos = -1
    s.pools[h].size -= 1
    last = s.heap[h, s.pools[h].size]
    if last != item:
        s.heap[h, at] = last
        s.items[last].pos = at
        _up(s, h, at)
        _down(s, h, s.items[last].pos)


@_inner
def _enqueue(s: State, q: int, j: int) -> None:
    s.items[j].link = -1
    if s.queues[q].length == 0:
        s.queues[q].head = j
    else:
        s.items[s.queues[q].tail].link = j
    s.queues[q].tail = j
    s.queues[q].length += 1


@_inner
def _dequeue(s: State, q: int) -> int:
    j: int = s.queues[q].head
    s.queues[q].head = s.items[j].link
    s.queues[q].length -= 1
    return j


@_inner
def _run(s: State, pool: int, j: int, phase: int, work: float) -> None:
    s.items[j].phase = phase
    _push(s, pool, j, s.pools[pool].clock + work)


@_inner
def _delay(s: State, j: int, phase: int, seconds: float) -> None:
    s.items[j].phase = phase
    _push(s, _WALL, j, s.g[0].now + seconds)


@_inner
def _grant(s: State, w: int, j: int) -> None:
    """Give worker ``w``'s GIL to ``j``; whoever waits now may ask for it after the interval."""
    g = s.g[0]
    s.workers[w].holder = j
    _run(s, _SERVER, j, _GIL_RUN, s.items[j].left)
    if s.queues[_GIL + w].length > 0 and g.quantum < np.inf and s.items[g.jobs + w].pos < 0:
        _push(s, _WALL, g.jobs + w, g.now + g.quantum)


@_inner
def _goes_on(s: State, j: int) -> bool:
    """Return whether the thread, which has the GIL, ends its request and takes a waiting one."""
    g = s.g[0]
    r = s.items[j].row
    if not g.goes_on or g.gil < 1.0 or g.quantum == np.inf:
        return False
    if s.items[j].seg < s.rows[r].db_calls + s.rows[r].wait_calls:
        return False
    w = s.items[j].worker
    return bool(s.queues[_GIL + g.workers + w].length > 0 or s.queues[_BACKLOG].length > 0)


@_inner
def _release(s: State, w: int) -> None:
    g = s.g[0]
    s.workers[w].holder = -1
    if s.items[g.jobs + w].pos >= 0:
        _remove(s, _WALL, g.jobs + w)
    if g.hands:
        _release_to_either(s, w)
    elif s.queues[_GIL + w].length > 0:
        _grant(s, w, _dequeue(s, _GIL + w))


@_apart
def _release_to_either(s: State, w: int) -> None:
    """A loop does all that is ready before it looks again; meanwhile the threads of its pool are
    many, and it is one of them: neither gets in between the others."""
    g = s.g[0]
    loop = _GIL + w
    pool = _GIL + 3 * g.workers + w
    if s.queues[pool].length > 0 and (s.workers[w].pooled or s.queues[loop].length == 0):
        s.workers[w].pooled = 1
        _grant(s, w, _dequeue(s, pool))
    elif s.queues[loop].length > 0:
        s.workers[w].pooled = 0
        _grant(s, w, _dequeue(s, loop))


@_inner
def _want_cpu(s: State, j: int) -> None:
    """Begin a CPU segment: first its part under the GIL, then the part outside."""
    g = s.g[0]
    r = s.items[j].row
    if g.hands and s.rows[r].pool > 0.0:
        _want_either(s, j)
        return
    calls = s.rows[r].db_calls + s.rows[r].wait_calls
    segment = s.rows[r].cpu / (calls + 1)
    if calls > 0 and g.quantum == np.inf:
        part = FIRST_PART if s.items[j].seg == 0 else (1.0 - FIRST_PART) / calls
        segment = s.rows[r].cpu * part
    w = s.items[j].worker
    if g.tail > 0.0 and s.items[j].seg == calls:
        later = min(g.tail, segment)
        segment -= later
        # what needs no GIL is not shortened
        s.items[j].later = later * g.gil if g.gil > 0.0 else later
    if g.gil <= 0.0:
        _run(s, _SERVER, j, _FREE_RUN, segment + s.items[j].extra)
        s.items[j].extra = 0.0
        return
    s.items[j].left = segment * g.gil + s.items[j].extra
    s.items[j].extra = 0.0
    g.gil_s += s.items[j].left
    if s.workers[w].holder < 0:
        _grant(s, w, j)
        return
    s.items[j].phase = _GIL_WAIT
    _enqueue(s, _GIL + w, j)
    if s.items[g.jobs + w].pos < 0 and g.quantum < np.inf:
        _push(s, _WALL, g.jobs + w, g.now + g.quantum)


@_apart
def _want_either(s: State, j: int) -> None:
    """As ``_want_cpu``, of a request that a loop hands to a thread: ``seg`` -1 and the last one are
    the loop's, those between them the thread's. All of it needs the GIL."""
    g = s.g[0]
    r = s.items[j].row
    w = s.items[j].worker
    seg = s.items[j].seg
    calls = s.rows[r].db_calls + s.rows[r].wait_calls
    pool = s.rows[r].pool
    pooled = 0 <= seg <= calls
    if not pooled:
        s.items[j].left = 0.5 * (s.rows[r].cpu - pool)
    elif calls == 0:
        s.items[j].left = pool
    elif seg == 0:
        s.items[j].left = pool * FIRST_PART
    else:
        s.items[j].left = pool * (1.0 - FIRST_PART) / calls
    g.gil_s += s.items[j].left
    if s.workers[w].holder < 0:
        s.workers[w].pooled = pooled
        _grant(s, w, j)
        return
    s.items[j].phase = _GIL_WAIT
    _enqueue(s, (_GIL + 3 * g.workers if pooled else _GIL) + w, j)


@_apart
def _lock(s: State, j: int) -> bool:
    """Give ``j`` the lock that its worker's requests share, or those of all workers (the first
    worker then keeps it for them), or let it wait for it."""
    g = s.g[0]
    w = s.items[j].worker if g.one_lock == 0 else 0
    if s.workers[w].locker < 0:
        s.workers[w].locker = j
        s.items[j].since = g.now
        return True
    s.items[j].phase = _LOCK_WAIT
    _enqueue(s, _GIL + 2 * g.workers + w, j)
    return False


@_apart
def _unlock(s: State, j: int) -> None:
    """``j`` lets go of it; whoever waited longest goes on."""
    g = s.g[0]
    w = s.items[j].worker if g.one_lock == 0 else 0
    s.items[j].holds = _NOT
    g.lock_s += g.now - s.items[j].since
    s.workers[w].locker = -1
    waiting = _GIL + 2 * g.workers + w
    if s.queues[waiting].length > 0:
        k = _dequeue(s, waiting)
        s.workers[w].locker = k
        s.items[k].since = g.now
        if s.items[k].holds == _THROUGHOUT:
            _want_cpu(s, k)
        else:
            _wait_locked(s, k)


@_inner
def _wait_locked(s: State, j: int) -> None:
    """Start the rest of the wait, now that the lock is held."""
    s.items[j].holds = _WAITING
    seconds = s.items[j].left
    s.items[j].left = 0.0
    _delay(s, j, _DELAY, seconds)


@_inner
def _pause(s: State, j: int, seconds: float) -> None:
    if s.g[0].lock > 0.0:
        _pause_locked(s, j, seconds)
    else:
        _delay(s, j, _DELAY, seconds)


@_apart
def _pause_locked(s: State, j: int, seconds: float) -> None:
    """A wait: its last part under the lock, as far as the lock is not held throughout."""
    g = s.g[0]
    s.items[j].left = 0.0
    if s.items[j].holds == _NOT:
        s.items[j].left = seconds * min(1.0, g.lock)
        seconds -= s.items[j].left
        if seconds <= 0.0:
            if _lock(s, j):
                _wait_locked(s, j)
            return
    _delay(s, j, _DELAY, seconds)


@_apart
def _still_waits(s: State, j: int, computes: bool) -> bool:
    """After a wait: whether its part under the lock is still to come. ``computes``: Postgres does,
    as often under the lock as the wait was."""
    if s.items[j].left > 0.0:
        if _lock(s, j):
            _wait_locked(s, j)
        return True
    if s.items[j].holds == _WAITING and not (computes and _uniform(s) < s.g[0].lock):
        _unlock(s, j)
    return False


@_apart
def _renew(s: State, w: int) -> None:
    """So many requests until it is recycled."""
    g = s.g[0]
    s.workers[w].left = ENDLESS
    if g.max_requests > 0:
        s.workers[w].left = g.max_requests + int(_uniform(s) * (g.jitter + 1))


@_apart
def _boot(s: State, w: int) -> None:
    """Start what takes the place of ``w``: CPU, and unless they overlap nobody serves meanwhile."""
    g = s.g[0]
    boot = g.jobs + g.workers + w
    g.boots += 1
    _renew(s, w)
    if not g.overlap:
        s.workers[w].leaving = 0
        s.workers[w].away = 1
    if s.items[boot].pos < 0:
        _push(s, _SERVER, boot, s.pools[_SERVER].clock + g.boot)


@_apart
def _owes(s: State, w: int, further: float) -> float:
    """Add ``further`` to the CPU that ``w`` owes for answered requests, less what idle cores did.

    Return what it owes then.
    """
    g = s.g[0]
    done = min(s.workers[w].owed, g.idle_s - s.workers[w].idle)
    s.pools[_SERVER].busy += done
    g.tokens -= done
    s.workers[w].owed += further - done
    s.workers[w].idle = g.idle_s
    owed: float = s.workers[w].owed
    return owed


@_inner
def _start(s: State, j: int, w: int) -> None:
    g = s.g[0]
    s.items[j].worker = w
    if g.sticky:
        s.items[j].bound = w
    s.items[j].begun = g.now
    g.last = w
    s.workers[w].inside += 1
    g.inside += 1
    s.workers[w].left -= 1
    if s.workers[w].left <= 0 and not s.workers[w].leaving:
        if g.overlap:
            _boot(s, w)
        else:
            s.workers[w].leaving = 1
    s.items[j].row = s.picks[g.next_pick]
    g.next_pick = (g.next_pick + 1) % s.picks.shape[0]
    s.items[j].seg = -1 if g.hands and s.rows[s.items[j].row].pool > 0.0 else 0
    s.items[j].holds = _NOT
    if s.workers[w].owed > 0.0:
        s.items[j].extra += _owes(s, w, 0.0)
        s.workers[w].owed = 0.0
    if g.lock > 1.0 and _uniform(s) < g.lock - 1.0:
        s.items[j].holds = _THROUGHOUT
        if not _lock(s, j):
            return
    _want_cpu(s, j)


@_inner
def _choose(s: State) -> int:
    """The worker that takes a new connection, or -1 when it must wait in the backlog."""
    g = s.g[0]
    best: int = _NOTHING
    least = ENDLESS
    seen = 0
    if g.favour > 0.0:
        w: int = g.chosen
        free = not s.workers[w].away and not s.workers[w].leaving and s.workers[w].holder < 0
        if free and _uniform(s) < g.favour:
            return w
    for w in range(g.workers):
        if s.workers[w].away or s.workers[w].leaving:
            continue
        if g.when_free and s.workers[w].inside >= g.threads:
            continue
        if g.pick == _FIRST:
            return w
        load = 0
        if g.pick == _IDLEST:
            load = s.workers[w].inside + s.queues[_GIL + g.workers + w].length
        elif g.pick == _AWAKE and s.workers[w].holder >= 0:
            load = 1
        if load < least:
            least = load
            best = w
            seen = 1
        elif load == least:
            seen += 1
            if _uniform(s) * seen < 1.0:
                best = w
    return best


@_apart
def _arrive(s: State, j: int) -> None:
    """A request reaches the server."""
    g = s.g[0]
    s.items[j].ready = g.now
    s.items[j].phase = _QUEUED
    s.items[j].extra = 0.0
    w = s.items[j].bound
    if w >= 0 and (s.workers[w].away or s.workers[w].leaving):
        w = s.items[j].bound = _NOTHING  # the worker closed it: another connection
    if w < 0:
        w = _choose(s)
        g.chosen = max(0, w)
        if w < 0:
            if s.queues[_BACKLOG].length >= g.backlog:
                g.retries += 1
                _delay(s, j, _RETRY, SYN_RETRY_S)
            else:
                _enqueue(s, _BACKLOG, j)
            return
        if w != g.last:
            s.items[j].extra = g.wake
    if s.workers[w].inside < g.threads:
        _start(s, j, w)
    else:
        _enqueue(s, _GIL + g.workers + w, j)


@_inner
def _send(s: State, j: int) -> None:
    """A request leaves its user; what stands in front of the server has it first."""
    g = s.g[0]
    if g.front > 0.0:
        _run(s, _SERVER, j, _FRONT, g.front)
    else:
        _arrive(s, j)


@_inner
def _generate(s: State, j: int, phase: int) -> None:
    """Let the generator work on ``j``, after what it already has."""
    g = s.g[0]
    s.items[j].phase = phase
    if g.generating:
        _enqueue(s, _GENERATOR, j)
    else:
        g.generating = 1
        _run(s, g.shared, j, phase, 0.5 * g.generator)


@_inner
def _generator_next(s: State) -> None:
    g = s.g[0]
    if s.queues[_GENERATOR].length > 0:
        j = _dequeue(s, _GENERATOR)
        _run(s, g.shared, j, s.items[j].phase, 0.5 * g.generator)
    else:
        g.generating = 0


@_inner
def _begin(s: State, j: int) -> None:
    g = s.g[0]
    if g.rate <= 0.0:  # an arrival counts from when it was meant to be
        s.items[j].sent = g.now
    if g.generator > 0.0:
        _generate(s, j, _SEND)
    else:
        _send(s, j)


@_inner
def _leave(s: State, w: int) -> None:
    """A slot of ``w`` became free: take what has been ready longest, its own or the backlog's."""
    g = s.g[0]
    s.workers[w].inside -= 1
    g.inside -= 1
    _take(s, w)


@_inner
def _take(s: State, w: int) -> None:
    g = s.g[0]
    own = _GIL + g.workers + w
    accepting = not (s.workers[w].leaving or s.workers[w].away)
    waiting = s.queues[_BACKLOG].length > 0 and accepting
    if s.queues[own].length > 0 and (
        not waiting or s.items[s.queues[own].head].ready <= s.items[s.queues[_BACKLOG].head].ready
    ):
        _start(s, _dequeue(s, own), w)
    elif waiting:
        _start(s, _dequeue(s, _BACKLOG), w)
    elif s.workers[w].leaving and s.workers[w].inside == 0:
        _boot(s, w)


@_apart
def _booted(s: State, w: int) -> None:
    """A new worker accepts; one that does not wait for a free slot accepts all there is."""
    g = s.g[0]
    s.workers[w].away = 0
    while s.queues[_BACKLOG].length > 0 and s.workers[w].inside < g.threads:
        _start(s, _dequeue(s, _BACKLOG), w)
    while s.queues[_BACKLOG].length > 0 and not g.when_free and not s.workers[w].leaving:
        _enqueue(s, _GIL + g.workers + w, _dequeue(s, _BACKLOG))


@_apart
def _unlink(s: State, q: int, j: int) -> None:
    """Take ``j`` out of the middle of a queue."""
    for _ in range(s.queues[q].length):
        other = _dequeue(s, q)
        if other != j:
            _enqueue(s, q, other)


@_apart
def _kill_overdue(s: State) -> None:
    """End each request older than the timeout without an answer, and its worker."""
    g = s.g[0]
    for j in range(g.jobs):
        phase = s.items[j].phase
        if phase < _LOCK_WAIT or phase > _DB_RUN or g.now - s.items[j].begun <= g.timeout:
            continue
        w = s.items[j].worker
        if phase == _LOCK_WAIT:
            _unlink(s, _GIL + 2 * g.workers + (w if g.one_lock == 0 else 0), j)
        elif phase == _GIL_WAIT:
            _unlink(s, _GIL + w, j)
        elif phase == _DELAY:
            _remove(s, _WALL, j)
        elif phase == _DB_RUN:
            _remove(s, g.shared, j)
        else:
            _remove(s, _SERVER, j)
            if phase == _GIL_RUN:
                _release(s, w)
        if s.workers[w if g.one_lock == 0 else 0].locker == j:
            _unlock(s, j)
        g.killed += 1
        s.items[j].bound = -1
        s.workers[w].inside -= 1
        g.inside -= 1
        _boot(s, w)
        _again(s, j)
        _take(s, w)


@_inner
def _again(s: State, j: int) -> None:
    """Let a user think, or ask again, after an answer or after none."""
    g = s.g[0]
    if g.rate > 0.0:
        s.items[j].link = g.free
        g.free = j
        s.items[j].phase = _THINK
    elif g.think > 0.0:
        _delay(s, j, _THINK, -math.log(1.0 - _uniform(s)) * g.think)
    else:
        _begin(s, j)


@_inner
def _advance(s: State, to: float) -> None:
    """Let time pass: the pools' virtual clocks, their busy time, the quota."""
    g = s.g[0]
    dt = to - g.now
    g.now = to
    g.slots_s += dt * g.inside
    if s.pools[_SERVER].size < s.pools[_SERVER].cores and not g.throttled:
        g.idle_s += dt * (s.pools[_SERVER].cores - s.pools[_SERVER].size)
    for pool in (_SERVER, _SHARED):
        n = s.pools[pool].size
        if n == 0 or (pool == _SERVER and g.throttled):
            continue
        used = dt * min(float(n), s.pools[pool].cores)
        s.pools[pool].clock += used / n
        s.pools[pool].busy += used
        if pool == _SERVER:
            g.tokens -= used


@_inner
def _next(s: State) -> tuple[int, float]:
    """(source, time) of the next event: a heap's number, or _QUOTA_SPENT."""
    g = s.g[0]
    source = _NOTHING
    time = np.inf
    if s.pools[_WALL].size > 0:
        source = _WALL
        time = s.items[s.heap[_WALL, 0]].key
    for pool in (_SERVER, _SHARED):
        n = s.pools[pool].size
        if n == 0 or (pool == _SERVER and g.throttled):
            continue
        work = max(0.0, s.items[s.heap[pool, 0]].key - s.pools[pool].clock)
        t = g.now + work * max(1.0, n / s.pools[pool].cores)
        if t < time:
            source = pool
            time = t
    if g.quota > 0.0 and not g.throttled and s.pools[_SERVER].size > 0:
        rate = min(float(s.pools[_SERVER].size), s.pools[_SERVER].cores)
        t = g.now + max(0.0, g.tokens) / rate
        if t < time:
            source = _QUOTA_SPENT
            time = t
    return source, time


@entry
def drive(
    s: State,
    warm: int,
    response: NDArray[np.float64],
    completed_row: NDArray[np.int64],
    marks: NDArray[np.void],
    busy_marks: NDArray[np.float64],
) -> None:
    """Until ``warm`` + len(response) requests are done. ``marks``: as at the warm mark."""
    g = s.g[0]
    total = warm + response.shape[0]
    boots = g.jobs + g.workers
    arrival = boots + g.workers
    for w in range(g.workers):
        _renew(s, w)
        if g.max_requests > 0:  # workers of any age: all new ones would be recycled together
            s.workers[w].left = 1 + int(_uniform(s) * s.workers[w].left)
    if g.timeout < np.inf:
        _push(s, _WALL, arrival + 2, WATCH_S)
    if g.rate > 0.0:
        g.free = -1
        for j in range(g.jobs):
            s.items[j].link = g.free
            g.free = j
        _push(s, _WALL, arrival, 0.0)
    else:
        # users come one by one, as generators start them, or at random moments of the ramp
        for j in range(g.jobs):
            _push(s, _WALL, j, _uniform(s) * g.ramp if g.ramp > 0.0 else 1e-3 * j)
    if g.quota > 0.0:
        _push(s, _WALL, arrival + 1, CFS_PERIOD_S)
    most_killed = 1000 + 10 * total  # then nothing is ever answered
    while g.done < total and g.killed < most_killed:
        source, time = _next(s)
        if source < 0:
            return
        _advance(s, time)
        if source == _QUOTA_SPENT:
            g.throttled = 1
            continue
        j = s.heap[source, 0]
        _remove(s, source, j)
        if j >= g.jobs:
            if j < boots:  # a thread asks for the GIL
                w = j - g.jobs
                holder = s.workers[w].holder
                s.items[holder].left = max(0.0, s.items[holder].key - s.pools[_SERVER].clock)
                _remove(s, _SERVER, holder)
                s.items[holder].phase = _GIL_WAIT
                _enqueue(s, _GIL + w, holder)
                _grant(s, w, _dequeue(s, _GIL + w))
            elif j < arrival:
                _booted(s, j - boots)
            elif j == arrival:
                _push(s, _WALL, j, g.now - math.log(1.0 - _uniform(s)) / g.rate)
                if g.free < 0:
                    g.refused += 1
                else:
                    k = g.free
                    g.free = s.items[k].link
                    s.items[k].bound = -1
                    s.items[k].sent = g.now
                    _begin(s, k)
            elif j == arrival + 2:
                _kill_overdue(s)
                _push(s, _WALL, j, g.now + WATCH_S)
            else:  # a new period of the quota
                g.tokens = g.quota
                g.throttled = 0
                _push(s, _WALL, j, g.now + CFS_PERIOD_S)
            continue

        phase = s.items[j].phase
        finished = False
        segment_over = False
        if phase == _GIL_RUN:
            if _goes_on(s, j):
                s.workers[s.items[j].worker].holder = _SAME_THREAD
            else:
                _release(s, s.items[j].worker)
            if g.gil < 1.0:
                r = s.items[j].row
                n = s.rows[r].db_calls + s.rows[r].wait_calls + 1
                _run(s, _SERVER, j, _FREE_RUN, s.rows[r].cpu / n * (1.0 - g.gil))
            else:
                segment_over = True
        elif phase == _FREE_RUN:
            segment_over = True
        elif phase == _DELAY:
            r = s.items[j].row
            computes = s.items[j].seg <= s.rows[r].db_calls and s.rows[r].db_cpu > 0.0
            if g.lock > 0.0 and _still_waits(s, j, computes):
                continue
            if computes:
                work = s.rows[r].db_cpu / s.rows[r].db_calls
                g.db_s += work
                _run(s, g.shared, j, _DB_RUN, work)
            else:
                _want_cpu(s, j)
        elif phase == _DB_RUN:
            if s.items[j].holds == _WAITING:
                _unlock(s, j)
            _want_cpu(s, j)
        elif phase == _THINK:
            _begin(s, j)
        elif phase == _SEND:
            _generator_next(s)
            _send(s, j)
        elif phase in (_RETRY, _FRONT):
            _arrive(s, j)
        else:  # _RECEIVE
            _generator_next(s)
            finished = True

        if segment_over:
            r = s.items[j].row
            s.items[j].seg += 1
            seg = s.items[j].seg
            calls = s.rows[r].db_calls + s.rows[r].wait_calls
            if g.hands and s.rows[r].pool > 0.0 and (seg == 0 or seg == calls + 1):
                _want_either(s, j)  # the thread of a pool, or the loop again
            elif seg <= s.rows[r].db_calls:
                _pause(s, j, s.rows[r].db_delay / s.rows[r].db_calls)
            elif seg <= calls:
                _pause(s, j, s.rows[r].wait / s.rows[r].wait_calls)
            else:
                if s.items[j].holds == _THROUGHOUT:
                    _unlock(s, j)
                w = s.items[j].worker
                if g.tail > 0.0:
                    _owes(s, w, s.items[j].later)
                _leave(s, w)
                if s.workers[w].holder == _SAME_THREAD:
                    _release(s, w)
                if g.generator > 0.0:
                    _generate(s, j, _RECEIVE)
                else:
                    finished = True

        if finished and g.now < g.ramp:  # not all users have begun
            _again(s, j)
        elif finished:
            k = g.done - warm
            g.done += 1
            if k >= 0:
                response[k] = g.now - s.items[j].sent
                completed_row[k] = s.items[j].row
            elif k == -1:
                marks[0] = g
                for pool in range(len(busy_marks)):
                    busy_marks[pool] = s.pools[pool].busy
            _again(s, j)
