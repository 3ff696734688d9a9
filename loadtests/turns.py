"""Whose turn it is: the users of a locustfile in one mix, whatever their number.

Locust starts users by the weights of their classes, and each goes on by itself. So one user is of
the first class alone, and a class has the more of the requests the sooner it is answered: the same
file is another load in every trial. Here each class has its part of the *turns*, and a turn is what
a user does between two waits. As many *places* as the load has users deal the turns: a place takes
the class that is next, wakes a user of it who stands by, and waits as long as that user was told to
wait. Users keep their own state, session and login, and locust runs their tasks.

*Parts.* Where no class waits they are the classes' weights. Else a class takes turns as often as
its users do by themselves: its weight over the seconds of a turn and of the wait after it, which
are learned once, before the first load, from a few turns that are not recorded. ``fixed_count`` is
taken as a weight.

*Waits.* A load that thinks keeps them; another skips them and has all of its places busy, since one
that measures what a request costs would have nothing to measure. A ``sleep`` in a task is a wait.

*Tasks* are dealt like classes, and so is whose turn an arrival of an open load is.
"""

from __future__ import annotations

import inspect
import math
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gevent
import locust
from gevent.event import Event
from locust.env import Environment
from locust.exception import StopUser
from locust.user.task import (
    LOCUST_STATE_RUNNING,
    LOCUST_STATE_STOPPING,
    LOCUST_STATE_WAITING,
    DefaultTaskSet,
)
from locust.user.users import User

from pretune.loadtests.alarm import Alarm
from pretune.loadtests.deck import Deck
from pretune.loadtests.locustfile import Locustfile, walk_tasks
from pretune.loadtests.moments import draw_times
from pretune.loadtests.users import UserLoop

# Of one class before the first load, to learn how long a turn of it takes: at least so many, for at
# most so many seconds.
LEARN_TURNS = 8
LEARN_S = 3.0
# Users begin a few at a time, for at most so many seconds; the others when they are needed.
BEGIN_AT_ONCE = 8
BEGIN_S = 10.0
# So many users of a class in a row that could not begin, and nobody of it will.
FAILED_BEGINS = 3
BACK_OFF_S = 0.1


@dataclass
class Kind:
    """A class of users, and what was seen of it in all runs of this process. ``told_s``: the waits
    that its users were told after their turns, as expected; ``took_s`` of the turns themselves."""

    cls: type[User]
    turns: int = 0
    requests: int = 0
    told_s: float = 0.0
    took_s: float = 0.0
    ends: bool = False  # its users stop by themselves: beginning is part of what they send

    @property
    def weight(self) -> float:
        return float(self.cls.fixed_count or self.cls.weight)

    @property
    def wait_s(self) -> float:
        return self.told_s / max(1, self.turns)

    @property
    def turn_s(self) -> float:
        return self.took_s / max(1, self.turns)

    @property
    def stagger(self) -> int:
        """Steps of its longest sequence of tasks: users that all begin with the first step would go
        through it together."""
        steps = [
            len(task.tasks)
            for _, task, _ in walk_tasks(self.cls)
            if inspect.isclass(task) and issubclass(task, locust.SequentialTaskSet)
        ]
        return max(steps, default=1)


def parts(
    weights: Sequence[float], waits_s: Sequence[float], turns_s: Sequence[float]
) -> list[float]:
    """Each class's part of the turns, all together 1."""
    if not any(waits_s):
        rates = list(weights)
    else:
        cycles = [max(1e-6, wait + turn) for wait, turn in zip(waits_s, turns_s, strict=True)]
        rates = [weight / cycle for weight, cycle in zip(weights, cycles, strict=True)]
    return [rate / sum(rates) for rate in rates]


def expected_wait(function: Any, took_s: float, told_s: float) -> float:
    """The mean of a ``wait_time`` after a turn of ``took_s``: of locust's own functions exactly,
    else what was told."""
    read = read_wait(function)
    if read is None:
        return told_s
    kind, values = read
    if kind == "between":
        return (values["min_wait"] + values["max_wait"]) / 2
    if kind == "poisson":
        return 1 / values["rate"]
    if kind == "constant_pacing":
        return max(0.0, values["wait_time"] - took_s)
    return float(values["wait_time"])


def read_wait(function: Any) -> tuple[str, dict[str, float]] | None:
    """The name of locust's own function that made this ``wait_time``, and its numbers."""
    function = getattr(function, "__func__", function)
    if getattr(function, "__module__", "") != "locust.user.wait_time":
        return None
    return function.__qualname__.partition(".")[0], dict(inspect.getclosurevars(function).nonlocals)


class Kinds:
    """The classes of a locustfile in this process's life, and the parts that they keep in it."""

    def __init__(self, file: Locustfile) -> None:
        self.file = file
        self.kinds = [Kind(item) for item in file.classes]
        self.parts: list[float] | None = None  # once they are learned
        _install()

    @property
    def wait_s_per_request(self) -> float:
        """Mean seconds that users are told to wait, for each request of the mix."""
        shares = self.parts or [1 / len(self.kinds)] * len(self.kinds)
        pairs = list(zip(shares, self.kinds, strict=True))
        waits = sum(part * kind.wait_s for part, kind in pairs)
        requests = sum(part * kind.requests / max(1, kind.turns) for part, kind in pairs)
        return waits / requests if requests else 0.0

    @property
    def requests_per_turn(self) -> float:
        shares = self.parts or [1 / len(self.kinds)] * len(self.kinds)
        each = [kind.requests / kind.turns if kind.turns else 1.0 for kind in self.kinds]
        return max(0.01, sum(part * requests for part, requests in zip(shares, each, strict=True)))


class Turns:
    """The senders of one run of a locustfile; ``loadtests.driver`` says how they are used."""

    def __init__(
        self, kinds: Kinds, environment: Environment, loop: UserLoop, users: int,
        rps: float | None = None, most: int = 0,
    ) -> None:  # fmt: skip
        """``rps``: turns begin at random moments, so many requests a second, at most ``most`` at
        once; ``users`` then means nothing."""
        self._kinds, self._loop, self._rps, self._most = kinds, loop, rps, most
        _users.clear()
        self._places = users
        self.most_waiting = users if rps is None else 0
        self.not_sent = 0
        self._environment = environment
        self._runner = environment.create_local_runner()
        self._idle: dict[int, deque[Any]] = {at: deque() for at in range(len(kinds.kinds))}
        self._failed = [0] * len(kinds.kinds)  # begins in a row
        self._decks: dict[Any, Deck] = {}
        self._senders: set[gevent.Greenlet] = set()
        self._gate: gevent.Greenlet | None = None
        self._busy = 0

    @property
    def running(self) -> bool:
        admits = self._gate is not None and not self._gate.dead
        return (admits or bool(self._senders)) and not self._is_over

    @property
    def _is_over(self) -> bool:
        """Also where the file itself ended it."""
        return self._loop.over or self._runner.state in ("stopping", "stopped")

    def start(self) -> None:
        """Returns when the users have begun."""
        environment = self._environment
        environment.events.init.fire(  # type: ignore[no-untyped-call]
            environment=environment, runner=self._runner, web_ui=None
        )
        environment.events.test_start.fire(environment=environment)  # type: ignore[no-untyped-call]
        self._runner.update_state("spawning")
        if self._kinds.parts is None:
            self._learn()
        assert self._kinds.parts is not None
        self._order = Deck(self._kinds.parts, f"{self._loop.seed}:classes")
        self._begin_users()
        self._decks.clear()
        self._runner.update_state("running")
        environment.events.spawning_complete.fire(  # type: ignore[no-untyped-call]
            user_count=self._runner.user_count
        )
        if self._rps is None:
            for place in range(self._places):
                self._spawn_sender(self._fill, place)
        else:
            self._gate = gevent.spawn(self._admit)

    def finish(self, grace_s: float) -> int:
        """Let turns in hand finish within ``grace_s``; the number of requests left unanswered."""
        if self._gate is not None:
            self._gate.join()
        self._environment.stop_timeout = grace_s
        self._runner.quit()
        gevent.killall(list(self._senders))
        left = self._kinds.file.take_unanswered()
        now = time.perf_counter()
        for intended, number, place in left if self._rps is not None else ():
            self._loop.writer.add(intended, now - intended, 0, number, place, 0, "timeout")
        return len(left)

    # How a user's greenlet and the senders take turns.

    def pause(self, user: Any, told_s: float, expected_s: float) -> None:
        """In a user's greenlet: its turn is over, and it is to wait. Returns with its next turn."""
        self._kinds.file.forget_request()
        user.go.clear()
        turn, user.turn = user.turn, None
        if turn is not None:
            turn.end(told_s, expected_s)
        if user.pooled:
            self._idle[user.kind].append(user)
        user.go.wait()

    def begin(self, user: Any) -> None:
        """In a user's greenlet: ``on_start`` has passed, or its first task is due."""
        if user.begun.is_set():
            return
        user.begun.set()
        if user.turn is not None:  # he begins within the turn
            return
        user._state = LOCUST_STATE_WAITING
        user.go.wait()
        user._state = LOCUST_STATE_RUNNING

    def _make_user(self, at: int, *, silent: bool) -> Any:
        """A new user of a class, who runs his ``on_start`` in a greenlet of his own."""
        user: Any = self._kinds.kinds[at].cls(self._environment)
        user.turns, user.kind, user.silent, user.intended = self, at, silent, None
        user.place, user.requests, user.pooled, user.left = 0, 0, False, ""
        user.go, user.begun, user.turn = Event(), Event(), None
        user.begin = lambda: self.begin(user)
        greenlet = user.start(self._runner.user_greenlets)
        _users[greenlet] = user
        greenlet.link(lambda ended: self._end(user, ended))
        return user

    def _end(self, user: Any, greenlet: gevent.Greenlet) -> None:
        """A user has left: by himself, by an error, or because the load is over."""
        _users.pop(greenlet, None)
        user.left = "at work" if user.begun.is_set() else "beginning"
        user.begun.set()
        if user.left == "at work" and not self._is_over and greenlet.successful():
            self._kinds.kinds[user.kind].ends = True
        if user in self._idle[user.kind]:
            self._idle[user.kind].remove(user)
        if user.turn is not None:
            turn, user.turn = user.turn, None
            turn.end(0.0, 0.0)

    def _begin(self, at: int) -> Any:
        """A user who has begun, None where he could not."""
        user = self._make_user(at, silent=True)
        user.begun.wait()
        user.requests = 0  # what on_start sent is of no turn
        return None if self._note_begin(user) else user

    def _note_begin(self, user: Any) -> bool:
        """True where a user left before his first turn; the load ends when that is the rule."""
        at, failed = user.kind, bool(user.left == "beginning")
        self._failed[at] = self._failed[at] + 1 if failed else 0
        if self._failed[at] >= FAILED_BEGINS and not self._is_over:
            self._kinds.file.errors.unstarted = self._kinds.kinds[at].cls.__name__
            self._loop.over = True
        if failed:
            gevent.sleep(BACK_OFF_S)
        return failed

    def _begin_users(self) -> None:
        """As many of each class as its part of the places, rounded up."""
        kinds, count = self._kinds.kinds, self._places
        assert self._kinds.parts is not None
        if self._rps is not None:
            turn_s = max(kind.turn_s for kind in kinds)
            count = math.ceil(self._rps / self._kinds.requests_per_turn * 2 * turn_s) + 2
        shares = self._kinds.parts
        if self._loop.think_s:
            whole = sum(kind.weight for kind in kinds)
            shares = [kind.weight / whole for kind in kinds]
        wanted: deque[tuple[int, int]] = deque()
        for at, share in enumerate(shares):
            wanted.extend((at, n % kinds[at].stagger) for n in range(math.ceil(share * count)))
        until = time.perf_counter() + BEGIN_S

        def begin_some() -> None:
            first = True
            while wanted and not self._loop.over and (first or time.perf_counter() < until):
                first = False
                at, steps = wanted.popleft()
                user = self._begin(at)
                for _ in range(steps if user is not None else 0):
                    if not user.left:
                        self._take_turn(user)
                if user is not None:
                    self._stand_by(user)

        several = [gevent.spawn(begin_some) for _ in range(min(BEGIN_AT_ONCE, count))]
        gevent.joinall(several, raise_error=True)

    def _stand_by(self, user: Any) -> None:
        if not user.left:
            user.silent, user.pooled = False, True
            self._idle[user.kind].append(user)

    def _learn(self) -> None:
        """Take a few turns of each class, where their parts are rates; none is recorded."""
        kinds = self._kinds.kinds
        for at, kind in enumerate(kinds):
            if len(kinds) == 1:
                break
            wanted = max(LEARN_TURNS, 2 * len(list(walk_tasks(kind.cls))))
            until, user = time.perf_counter() + LEARN_S, None
            while wanted and time.perf_counter() < until and not self._loop.over:
                if user is None or user.left:
                    user = self._begin(at)
                    if user is None:
                        continue
                self._take_turn(user)
                wanted -= 1
            if user is not None:
                self._stand_by(user)
        self._kinds.parts = parts(
            [kind.weight for kind in kinds],
            [kind.wait_s for kind in kinds],
            [kind.turn_s for kind in kinds],
        )

    def _take_turn(self, user: Any) -> float:
        """Seconds that the user was told to wait after it."""
        kind = self._kinds.kinds[user.kind]
        turn = user.turn = _Turn()
        user.go.set()
        turn.ended.wait()
        if user.left and self._is_over:  # it was cut off, and tells nothing
            return 0.0
        kind.turns += 1
        kind.requests += user.requests
        kind.took_s += turn.took_s
        kind.told_s += turn.expected_s
        user.requests = 0
        return turn.told_s

    def _serve(self, place: int, intended: float | None = None) -> float:
        """One turn of the class that is next, by a user of it."""
        at = self._order.deal()
        user = self._idle[at].popleft() if self._idle[at] else None
        self._busy += 1
        try:
            if user is None and self._kinds.kinds[at].ends:
                user = self._make_user(at, silent=False)
            elif user is None:
                user = self._begin(at)
            if user is None:
                return 0.0
            user.place, user.intended, user.silent, user.pooled = place, intended, False, True
            told_s = self._take_turn(user)
            self._note_begin(user)
            return told_s
        finally:
            self._busy -= 1

    # A closed load.

    def _spawn_sender(self, function: Any, *arguments: Any) -> None:
        sender = gevent.spawn(function, *arguments)
        self._senders.add(sender)
        sender.link(self._senders.discard)

    def _fill(self, place: int) -> None:
        """Deal turns in one place until the load is over."""
        loop = self._loop
        dice = random.Random(f"{loop.seed}:{place}")
        cycle = sum(
            part * (kind.wait_s + kind.turn_s)
            for part, kind in zip(self._kinds.parts or (), self._kinds.kinds, strict=True)
        )
        gevent.sleep(dice.random() * max(loop.ramp_s, cycle if loop.think_s else 0.0))
        while not self._is_over:
            told_s = self._serve(place)
            if loop.think_s:
                gevent.sleep(told_s)

    # An open load.

    def _admit(self) -> None:
        loop, alarm = self._loop, Alarm()
        assert self._rps is not None
        rate = self._rps / self._kinds.requests_per_turn
        try:
            for number, at in enumerate(draw_times(time.perf_counter(), rate, loop.seed)):
                while not loop.over and (early := at - time.perf_counter()) > 0:
                    alarm.wait(min(early, 0.1))
                if loop.over:
                    return
                if self._busy >= self._most:
                    self.not_sent += 1
                    loop.writer.add(at, 0.0, 0, 0, number, 0, "not sent")
                    continue
                self._spawn_sender(self._serve, number, at)
                self.most_waiting = max(self.most_waiting, self._busy)
        finally:
            alarm.close()

    # What locust asks when a user needs a task.

    def deal_task(self, holder: Any, tasks: Sequence[Any]) -> Any:
        """The next task of a class, its tasks dealt by how often they stand in the list."""
        deck = self._decks.get(holder)
        distinct = list(dict.fromkeys(tasks))
        if deck is None:
            weights = [tasks.count(task) for task in distinct]
            deck = Deck(weights, f"{self._loop.seed}:{holder.__qualname__}")
            self._decks[holder] = deck
        return distinct[deck.deal() % len(distinct)]


class _Turn:
    """A turn under way: ``ended`` once its user waits again or has left."""

    def __init__(self) -> None:
        self.ended = Event()
        self.told_s = self.expected_s = self.took_s = 0.0
        self._began = time.perf_counter()

    @property
    def lasts_s(self) -> float:
        return time.perf_counter() - self._began

    def end(self, told_s: float, expected_s: float) -> None:
        self.told_s, self.expected_s, self.took_s = told_s, expected_s, self.lasts_s
        self.ended.set()


# The users of the run in hand, by the greenlet that runs them.
_users: dict[gevent.Greenlet, Any] = {}


def _install() -> None:
    """Let locust's users take turns; those of no run of ours go on as ever."""
    sleep = gevent.sleep

    def wait(running: Any) -> None:
        user = running.user
        if getattr(user, "turns", None) is None or not user.begun.is_set():
            waited(running)
            return
        if user._state == LOCUST_STATE_STOPPING:
            raise StopUser
        took_s = user.turn.lasts_s if user.turn is not None else 0.0
        told_s = float(running.wait_time())
        own = type(running).wait_time is not locust.TaskSet.wait_time
        function = type(running).wait_time if own else type(user).wait_time
        pause(user, told_s, expected_wait(function, took_s, told_s))

    def pause(user: Any, told_s: float, expected_s: float) -> None:
        user._state = LOCUST_STATE_WAITING
        user.turns.pause(user, told_s, expected_s)
        user._state = LOCUST_STATE_RUNNING

    def sleep_in_turn(seconds: float = 0, ref: bool = True) -> None:
        user = _users.get(gevent.getcurrent())
        if user is None or user.turn is None or not user.begun.is_set() or seconds <= 0:
            sleep(seconds, ref)
            return
        stopping = user._state == LOCUST_STATE_STOPPING
        pause(user, float(seconds), float(seconds))
        if stopping:
            raise StopUser

    def next_task(running: Any) -> Any:
        turns, tasks = getattr(running.user, "turns", None), running.tasks
        if turns is None or not tasks:
            return plain_next(running)
        return turns.deal_task(type(running), tasks)

    def next_root(running: Any) -> Any:
        user = running.user
        turns = getattr(user, "turns", None)
        if turns is None or not user.tasks:
            return root_next(running)
        return turns.deal_task(type(user), user.tasks)

    task_set: Any = locust.TaskSet
    root: Any = DefaultTaskSet
    if task_set.wait.__module__ == __name__:  # already
        return
    waited, plain_next, root_next = task_set.wait, task_set.get_next_task, root.get_next_task
    task_set.wait, task_set.get_next_task, root.get_next_task = wait, next_task, next_root
    gevent.sleep = time.sleep = sleep_in_turn  # type: ignore[assignment]


def describe(file: Locustfile) -> list[dict[str, Any]]:
    """List what is known of the classes before any load, as ``workload.UserClass`` has it."""
    kinds = [Kind(item) for item in file.classes]
    waits = [read_wait(kind.cls.wait_time) for kind in kinds]
    means = [expected_wait(kind.cls.wait_time, 0.0, math.nan) for kind in kinds]
    weights = [kind.weight for kind in kinds]
    shares: list[float | None] = [None] * len(kinds)
    if len(set(means)) == 1 and not math.isnan(means[0]):
        shares = list(parts(weights, [0.0] * len(kinds), [0.0] * len(kinds)))
    elif all(mean > 0 for mean in means):
        shares = list(parts(weights, means, [0.0] * len(kinds)))
    if len(kinds) == 1:
        shares = [1.0]
    return [
        {
            "name": kind.cls.__name__,
            "weight": kind.weight,
            "fixed": bool(kind.cls.fixed_count),
            "wait": _name_wait(read),
            "begins": kind.cls.on_start is not locust.User.on_start,
            "share": share,
            "tasks": _describe_tasks(kind.cls, share),
        }
        for kind, read, share in zip(kinds, waits, shares, strict=True)
    ]


def _name_wait(read: tuple[str, dict[str, float]] | None) -> str:
    if read is None:
        return "by a function of its own"
    name, values = read
    match name:
        case "between":
            return f"{values['min_wait']:g} to {values['max_wait']:g} s"
        case "poisson":
            return f"{1 / values['rate']:.3g} s on average"
        case "constant_pacing":
            return f"one turn each {values['wait_time']:g} s"
    return f"{values['wait_time']:g} s" if values["wait_time"] else "none"


def _describe_tasks(cls: type[User], share: float | None) -> list[dict[str, Any]]:
    """Tasks with their weights, and the part of all turns where that follows from them alone."""
    listed = list(walk_tasks(cls))
    sets = [task for _, task, _ in listed if hasattr(task, "tasks")]
    steps = {name for name, task, _ in listed if not hasattr(task, "tasks")}
    whole = sum(weight for name, _, weight in listed if name in steps)
    alone = len(sets) == 1 and len(cls.tasks) == 1 and issubclass(sets[0], locust.SequentialTaskSet)
    known = share is not None and (not sets or alone)
    return [
        {"name": name, "weight": weight, "share": share * weight / whole if known else None}  # type: ignore[operator]
        for name, task, weight in listed
        if name in steps
    ]
