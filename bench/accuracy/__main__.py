"""Sweeps on real gunicorn, and what the model says of them.

python -m bench.accuracy measure [--app compute] [--minutes 8]   goes on where it stopped
python -m bench.accuracy report                                  rewrites docs/ACCURACY.md
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from contextlib import ExitStack

from bench.accuracy import applications, grid, model, priority, report, stage, store
from bench.servers import machine

REPEATS, SHAPES = 2, 6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="measure what is still missing")
    add = measure.add_argument
    add("--app", action="append", choices=applications.BY_NAME, help="only this; may be repeated")
    add("--again", action="store_true", help="forget these apps' results first")
    add("--minutes", type=float, default=8.0, help="begin nothing after so long")
    add("--repeats", type=int, default=REPEATS)
    add("--first", action="store_true", help="before other work of the machine (root, Linux 6.12)")
    add("--shapes", type=int, default=SHAPES, help="arrangements of each app")
    commands.add_parser("report", help="predict all of it again and write docs/ACCURACY.md")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.command == "report":
        report.write()
        return 0
    apps = [applications.BY_NAME[name] for name in options.app or applications.BY_NAME]
    if options.again:
        store.forget([app.name for app in apps])
    if options.first:
        priority.raised()
    until = time.monotonic() + 60 * options.minutes
    with stage.Services() as services, ExitStack() as stack:
        stages: dict[str, stage.Stage] = {}

        def opened(app: applications.Application) -> stage.Stage:
            if app.name not in stages:
                stages[app.name] = stack.enter_context(stage.Stage(app, services))
            return stages[app.name]

        plans = {}
        for app in apps:
            found = store.load_trials(app.name)
            if found is None:
                if time.monotonic() >= until:
                    continue
                print(f"{app.name}: trials", file=sys.stderr)
                try:
                    found = _learned(app, opened(app))
                except Exception:  # one app that fails stops no other
                    traceback.print_exc()
                    continue
                store.save_trials(found)
            plans[app.name] = found.shapes, found.users
        done = {p.key for p in store.load_points(plans)}
        for task in grid.tasks(plans, done, options.repeats, options.shapes):
            if time.monotonic() >= until:
                break
            s = task.settings
            label = f"{s.workers} x {s.threads} {s.worker_class}, {task.users} users"
            try:
                point = opened(applications.BY_NAME[task.app]).point(task)
            except Exception:  # one point that fails stops no other
                traceback.print_exc()
                continue
            store.append(point)
            print(f"{task.app}: {label}: {point.throughput:.0f} rps", file=sys.stderr)
    return 0


def _learned(app: applications.Application, on: stage.Stage) -> store.Trials:
    """The trials of an app and what is to be swept, the tool's own answer among it."""
    trials, seconds = on.trials()
    found = store.Trials(
        app=app.name,
        trials=tuple(store.thinned(t) for t in trials),
        workload=on.workload,
        returned_at_boot_bytes=on.returned_at_boot_bytes,
        seconds=seconds,
        shapes=(),
        users=(),
        machine={**machine.description(), **priority.described()},
        versions=stage.versions(),
    )
    return model.planned(found)


if __name__ == "__main__":
    sys.exit(main())
