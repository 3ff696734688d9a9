"""The tool on applications of others: python -m bench.wild pages | measure | report [names].

    pages      what `tune --dry-run` finds, against the pages that there are
    measure    whole runs, and the same by hand; those without a result first, as time allows
    report     writes docs/WILD.md from what is stored

Each result is stored at once in bench/results/wild, so that it can be stopped and taken up at any
time. Environments are made on first use and kept under build/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.verification import commit
from bench.wild import pages, report, runs
from bench.wild.applications import APPLICATIONS, BY_NAME, Application
from bench.wild.pages import Record
from bench.wild.stage import NotSetUp, staged

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "wild"
PAGE = ROOT / "docs" / "WILD.md"
AROUND_S = 200.0  # set-up and rounds by hand, for the decision whether another run still fits


def stored(application: Application) -> Record:
    file = RESULTS / f"{application.name}.json"
    found: Record = json.loads(file.read_text()) if file.exists() else {}
    return found


def store(application: Application, part: str, record: Record) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "commit": commit(), **record}
    text = json.dumps({**stored(application), part: record}, indent=1)
    text = text.replace(str(ROOT) + "/", "")  # of no machine in particular
    (RESULTS / f"{application.name}.json").write_text(text + "\n")


def look(applications: Sequence[Application]) -> None:
    for each in applications:
        try:
            with staged(each) as stage:
                found = pages.look(stage)
        except NotSetUp as error:
            found = {"problem": str(error)}
        store(each, "pages", found)
        print(f"{each.name}: {report.pages_line(found)}", flush=True)


def measure(
    applications: Sequence[Application], minutes: float, time_budget_s: int, rounds: int
) -> None:
    """Those never measured first, then the longest ago, until another would not end in time."""
    end = time.monotonic() + 60 * minutes
    oldest = sorted(applications, key=lambda each: stored(each).get("run", {}).get("created", ""))
    for each in oldest:
        if time.monotonic() + time_budget_s + AROUND_S > end:
            break
        try:
            with staged(each) as stage:
                found = runs.measure(stage, time_budget_s, rounds)
        except NotSetUp as error:
            found = {"problem": str(error)}
        store(each, "run", found)
        print(f"{each.name}: {report.run_line(found)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pages", "measure", "report"))
    parser.add_argument("names", nargs="*", metavar="name")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing that ends later")
    parser.add_argument("--time-budget", type=int, default=120, help="s, of each run")
    parser.add_argument("--rounds", type=int, default=runs.ROUNDS, help="by hand")
    asked = parser.parse_args()
    unknown = set(asked.names) - BY_NAME.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    chosen = [BY_NAME[name] for name in asked.names] or list(APPLICATIONS)
    if asked.what == "pages":
        look(chosen)
    elif asked.what == "measure":
        measure(chosen, asked.minutes, asked.time_budget, asked.rounds)
    else:
        PAGE.write_text(report.page([(each, stored(each)) for each in APPLICATIONS]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
