"""Bring every fault about and publish what became of it.

python -m bench.faults                 all, one after the other
python -m bench.faults quick           those that are decided before any load
python -m bench.faults "the server"    those whose name has the words
python -m bench.faults missing         those that have no right outcome yet
python -m bench.faults page            the page alone, from what was kept
"""

from __future__ import annotations

import json
import signal
import sys
from datetime import date
from pathlib import Path

from bench.faults import page
from bench.faults.fault import Fault
from bench.faults.table import FAULTS
from bench.faults.trial import Outcome, bring_about

KEPT = Path(__file__).parents[1] / "results" / "faults.json"


def read() -> dict[str, Outcome]:
    rows = json.loads(KEPT.read_text()) if KEPT.exists() else []
    return {
        row["name"]: Outcome(**{**row, "wrong": tuple(row["wrong"]), "left": tuple(row["left"])})
        for row in rows
    }


def keep(outcomes: dict[str, Outcome]) -> list[Outcome]:
    """In the order of the table; outcomes of faults that are no more go."""
    ordered = [outcomes[fault.name] for fault in FAULTS if fault.name in outcomes]
    KEPT.write_text(json.dumps([each.to_json() for each in ordered], indent=1) + "\n")
    return ordered


def _means(word: str, fault: Fault, outcomes: dict[str, Outcome]) -> bool:
    match word:
        case "page":
            return False
        case "quick":
            return fault.quick
        case "missing":
            return fault.name not in outcomes or not outcomes[fault.name].right
    return word in fault.name


def main(argv: list[str]) -> int:
    if {"-h", "--help"} & set(argv):
        print(__doc__)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has started is ended, too
    outcomes = read()
    chosen = [
        fault for fault in FAULTS if any(_means(word, fault, outcomes) for word in argv or [""])
    ]
    right = True
    for fault in chosen:
        outcome = outcomes[fault.name] = bring_about(fault)
        right = right and (outcome.right or bool(outcome.unavailable))
        mark = "ok   " if outcome.right else "-    " if outcome.unavailable else "WRONG"
        seconds = f"{outcome.seconds:6.1f} s"
        print(mark, seconds, outcome.code, f"{fault.name}: {outcome.said[:150]}", flush=True)
        for what in (*outcome.wrong, *outcome.left, outcome.unavailable):
            if what:
                print(f"            {what}", flush=True)
        keep(outcomes)
    page.write(page.render(keep(outcomes), len(FAULTS), date.today().isoformat()))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
