"""Sweeps on real gunicorn, and what the model says of them.

python -m bench.accuracy measure [--app compute] [--minutes 8]   goes on where it stopped
python -m bench.accuracy rerun [--app compute] [--minutes 8]     our answers and the best, in pairs
python -m bench.accuracy report                                  rewrites docs/ACCURACY.md
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from bench.accuracy import advice, applications, grid, model, priority, report, rerun, stage, store
from bench.accuracy.applications import Application
from bench.accuracy.grid import Task
from bench.accuracy.rerun import Match
from bench.servers import machine
from bench.services import Services
from pretune.server.settings import Settings

REPEATS, PAIRS = 1, 6
SHAPES = len(grid.WSGI_SHAPES) + 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="measure what is still missing")
    again = commands.add_parser("rerun", help="our answers against the best measured, in pairs")
    for command in (measure, again):
        add = command.add_argument
        add("--app", action="append", choices=applications.BY_NAME, help="only; may be repeated")
        add("--minutes", type=float, default=8.0, help="begin nothing after so long")
        add("--first", action="store_true", help="before other work of the machine (root, 6.12)")
    measure.add_argument("--again", action="store_true", help="forget these apps' results first")
    measure.add_argument("--learn", action="store_true", help="make their trials again, only these")
    measure.add_argument("--repeats", type=int, default=REPEATS)
    measure.add_argument("--shapes", type=int, default=SHAPES, help="arrangements of each app")
    again.add_argument("--pairs", type=int, default=PAIRS, help="of each app")
    commands.add_parser("report", help="predict all of it again and write docs/ACCURACY.md")
    return parser.parse_args()


class Stages:
    """Those of the apps that were asked for, opened when first used."""

    def __init__(self, services: Services, stack: ExitStack) -> None:
        self._services, self._stack = services, stack
        self._open: dict[str, stage.Stage] = {}

    def of(self, app: str) -> stage.Stage:
        if app not in self._open:
            one = stage.Stage(applications.BY_NAME[app], self._services)
            self._open[app] = self._stack.enter_context(one)
        return self._open[app]

    def point(self, task: Task) -> store.Point:
        found = self.of(task.app).point(task)
        s = task.settings
        label = f"{s.workers} x {s.threads} {s.worker_class}, {task.users} users"
        print(f"{task.app}: {label}: {found.throughput:.0f} rps", file=sys.stderr)
        return found


@contextmanager
def stages() -> Iterator[Stages]:
    with stage.start_services() as services, ExitStack() as stack:
        yield Stages(services, stack)


def main() -> int:
    options = arguments()
    if options.command == "report":
        report.write()
        return 0
    apps = [applications.BY_NAME[name] for name in options.app or applications.BY_NAME]
    if options.first:
        priority.raised()
    until = time.monotonic() + 60 * options.minutes
    if options.command == "rerun":
        reruns(apps, until, options.pairs)
        return 0
    if options.again:
        store.forget([app.name for app in apps])
    with stages() as opened:
        plans = _plans(apps, until, opened, options.learn)
        done = {p.key for p in store.load_points(plans)}
        for task in grid.tasks(plans, done, options.repeats, options.shapes):
            if time.monotonic() >= until:
                break
            try:
                store.append(opened.point(task))
            except Exception:  # one point that fails stops no other
                traceback.print_exc()
    return 0


def _plans(
    apps: Sequence[Application], until: float, opened: Stages, learn: bool
) -> dict[str, tuple[Sequence[Settings], Sequence[int]]]:
    """What is swept of each app; its trials are made first where they are missing, or ``learn``:
    then the loads stay those of the points that are there."""
    plans: dict[str, tuple[Sequence[Settings], Sequence[int]]] = {}
    for app in apps:
        found = store.load_trials(app.name)
        if found is None or learn:
            if time.monotonic() >= until:
                continue
            print(f"{app.name}: trials", file=sys.stderr)
            try:
                again = _learned(app, opened.of(app.name))
                found = again if found is None else replace(again, users=found.users)
            except Exception:  # one app that fails stops no other
                traceback.print_exc()
                continue
            store.save_trials(found)
        # the answer of that day first; the rest by the grid as it is now
        plans[app.name] = grid.shapes(app.interface, found.shapes[0]), found.users
    return plans


def _learned(app: Application, on: stage.Stage) -> store.Trials:
    """The trials of an app and what is to be swept, the tool's own answer among it."""
    observations, seconds = on.observe()
    found = store.Trials(
        app=app.name,
        preflight=on.preflight,
        observations=store.thinned_all(observations),
        seconds=seconds,
        shapes=(),
        users=(),
        machine={**machine.description(), **priority.described()},
        versions=stage.versions(),
    )
    return model.planned(found)


def reruns(apps: Sequence[Application], until: float, pairs: int) -> None:
    """Until the time or the pairs are over; nothing of an app whose answer is the best."""
    matches: list[Match] = []
    done = {}
    for app in apps:
        found = advice.advise(app)
        if found is not None and found.match is not None:
            matches.append(found.match)
            done[app.name] = len(found.match.played(found.reruns))
    with stages() as opened:
        for match, number in rerun.turns(matches, done, pairs):
            if time.monotonic() >= until:
                break
            try:
                store.append(rerun.run(match, number, opened.point))
            except Exception:  # one pair that fails stops no other
                traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
