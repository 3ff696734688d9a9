"""Bring every fault about and publish what became of it.

python -m bench.faults                 all, one after the other
python -m bench.faults quick           those that are decided before any load
python -m bench.faults "the server"    those whose name has the words
python -m bench.faults page            the page alone, from what was kept
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.faults import page
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


def main(argv: list[str]) -> int:
    words = argv or [""]
    chosen = [
        fault
        for fault in FAULTS
        if any(fault.quick if word == "quick" else word in fault.name for word in words)
    ]
    outcomes = read()
    right = True
    for fault in chosen if words != ["page"] else []:
        outcome = outcomes[fault.name] = bring_about(fault)
        right = right and (outcome.right or bool(outcome.unavailable))
        mark = "ok   " if outcome.right else "-    " if outcome.unavailable else "WRONG"
        print(
            f"{mark} {outcome.seconds:6.1f} s  {outcome.code}  {fault.name}: {outcome.said[:150]}"
        )
        for what in (*outcome.wrong, *outcome.left, outcome.unavailable):
            if what:
                print(f"            {what}", flush=True)
        keep(outcomes)
    page.write(page.render(keep(outcomes), len(FAULTS)))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
