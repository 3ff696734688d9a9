"""What is swept: which arrangements, in which order, under how many users. Pure.

Every number of workers with every number of threads, so that whoever looks for the best has a grid
to look in, and what the field's formulas say for one core. What the tool recommended comes first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pretune.advisor.demand.values import Demand
from pretune.server.settings import Settings

SYNC, GTHREAD, ASGI = "sync", "gthread", "asgi"
Shape = tuple[int, int, str]
WORKERS = (1, 2, 3, 4, 6, 8)
THREADS = (1, 2, 4, 8)
# the earlier, the more it says; measured in this order as long as there is time
TELLING: tuple[Shape, ...] = (
    (1, 4, GTHREAD),  # GitLab
    (3, 1, SYNC),  # gunicorn, Heroku, Azure
    (2, 4, GTHREAD),
    (4, 8, GTHREAD),
    (1, 1, SYNC),  # Puppet
    (1, 5, GTHREAD),  # Puma
    (2, 1, SYNC),  # tiangolo
    (4, 1, SYNC),  # gunicorn's upper end
    (2, 2, GTHREAD),
    (1, 8, GTHREAD),
    (1, 1, GTHREAD),
    (4, 2, GTHREAD),
    (6, 1, SYNC),
    (8, 8, GTHREAD),
    (1, 3, GTHREAD),  # HikariCP
    (12, 1, SYNC),  # gunicorn's 4 to 12
)
EVERY: tuple[Shape, ...] = (
    *((workers, 1, SYNC) for workers in WORKERS),
    *((*both, GTHREAD) for both in itertools.product(WORKERS, THREADS)),
)
WSGI_SHAPES = tuple(dict.fromkeys((*TELLING, *EVERY)))
# of the formulas 3, 1, 2, 4 and 12; there are no threads to choose, so more numbers of workers
ASGI_SHAPES: tuple[Shape, ...] = tuple(
    (workers, 1, ASGI) for workers in (3, 1, 2, 4, 12, 6, 8, 5, 7, 10, 14, 16)
)
# Of the users at which the processor would be busy if nobody waited for it (the knee of the
# asymptotic bounds, Muntz and Wong 1974).
LOADS = (0.7, 2.5)
MOST_USERS = 64
# Of load, the first of them until all users have begun. Boot and stop take 0.6 s more.
POINT_S = 3.0


@dataclass(frozen=True)
class Task:
    app: str
    settings: Settings
    users: int
    repeat: int

    @property
    def key(self) -> tuple[object, ...]:
        """As a point's."""
        s = self.settings
        return self.app, s.workers, s.threads, s.worker_class, self.users, self.repeat


def shapes(interface: str, recommended: Settings | None) -> tuple[Settings, ...]:
    """The recommended one first, as it would be run but for what recycles workers."""
    table = ASGI_SHAPES if interface == "asgi" else WSGI_SHAPES
    found = [Settings(*shape) for shape in table]
    if recommended is None:
        return tuple(found)
    first = Settings(recommended.workers, recommended.threads, recommended.worker_class)
    return (first, *(s for s in found if s != first))


def users(demand: Demand, cores: float) -> tuple[int, ...]:
    computes = demand.cpu_s.value + demand.overhead_cpu_s.value
    alone = computes + demand.db_s.value + demand.wait_s.value
    knee = cores * alone / max(computes, 1e-9)
    return tuple(sorted({max(1, min(MOST_USERS, round(part * knee))) for part in LOADS}))


def tasks(
    plans: Mapping[str, tuple[Sequence[Settings], Sequence[int]]],
    done: set[tuple[object, ...]],
    repeats: int,
    most: int,
) -> Iterator[Task]:
    """What is still to be measured; apps and arrangements take turns, so that all of them see the
    same hour. Each repeat is complete before the next. ``most``: arrangements of an app."""
    for repeat in range(repeats):
        for place in range(most):
            for level in range(max((len(users) for _, users in plans.values()), default=0)):
                for app, (shapes, users) in plans.items():
                    if place >= len(shapes) or level >= len(users):
                        continue
                    task = Task(app, shapes[place], users[level], repeat)
                    if task.key not in done:
                        yield task
