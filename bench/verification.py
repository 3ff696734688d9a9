"""How often a recommendation keeps what it promised: `tune` on the examples, again and again.

    python -m bench.verification measure --minutes 9 [shop board tickets]
    python -m bench.verification              # what is stored, as a table

Each finished run is appended to ``bench/results/verification.jsonl`` with the machine and the
commit it ran on, so it can be stopped and taken up at any time; the example with the fewest runs
comes next, until there are 60. Every run is a whole one, from the first trial to the verification:
what the answer owes to the luck of its own trials is part of how often it holds. A run that ends
without a verification counts as one that did not hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.accuracy import priority
from bench.servers import machine
from bench.servers.tables import table
from pretune.advisor.profiler.statistics import proportion

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "verification.jsonl"
EXAMPLES = {
    "shop": "examples.shop.wsgi",
    "board": "examples.board.wsgi",
    "tickets": "examples.tickets.main:app",
}
ROWS = ("throughput_rps", "mean_ms", "p95_ms", "p99_ms", "pss_bytes")  # with a predicted interval
RUNS = 60  # pooled over the examples, that are asked for
TOOL = ("advisor", "server", "loadtests", "reports", "examples")
TIME_BUDGET_S = 120  # as a user's who says nothing
# beyond the budget, at most: for the decision whether another one still fits
AROUND_S = 10.0
LONGEST = 5  # times the budget; then a run has failed
Record = dict[str, Any]


def summarized(example: str, document: Record | None, took_s: float) -> Record:
    """What is kept of a report.json; of None, that there was none."""
    found: Record = {
        "example": example,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "took_s": round(took_s, 1),
        "verdict": "no report",
        "machine": {**machine.description(), **priority.described()},
        "commit": commit(),
        "holds": False,
    }
    if document is None:
        return found
    verification = document.get("verification")
    found |= {
        "created": document["created"],
        "verdict": document["verdict"],
        "holds": bool(verification and verification["holds"]),
    }
    if verification is not None:
        found |= {
            "server": verification["server"],
            "settings": verification["settings"],
            "users": verification["predicted"]["users"],
            "requests": verification["measured"]["requests"],
            "misses": verification["misses"],
            "rows": verification["rows"],
            "disturbed": verification["measured"]["disturbed"],
        }
    return found


def commit() -> str:
    """Of this tree, with a + where the tool or the examples are not as committed."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", *TOOL)
    return head + ("+" if changed else "")


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def kept(records: Sequence[Record], name: str) -> tuple[int, int]:
    """(kept, judged) of one row over runs that have it."""
    judged = [
        row["kept"]
        for record in records
        for row in record.get("rows", ())
        if row["name"] == name and row["kept"] is not None
    ]
    return sum(judged), len(judged)


def errors(records: Sequence[Record], name: str) -> list[float]:
    """Of one predicted row: measured over predicted, less 1."""
    return [
        row["value"]["value"] / row["limit"]["value"] - 1
        for record in records
        for row in record.get("rows", ())
        if row["name"] == name and row["value"]["value"] and row["limit"]["value"]
    ]


def report(records: Sequence[Record]) -> str:
    """Markdown: how many runs held, in all and by example, and which quantity missed."""
    groups = {"all": records, "undisturbed": [r for r in records if not r.get("disturbed")]}
    groups |= {name: [r for r in records if r["example"] == name] for name in EXAMPLES}
    held = []
    for name, mine in groups.items():
        if mine:
            share = proportion(sum(r["holds"] for r in mine), len(mine))
            took = sorted(r["took_s"] for r in mine)
            held.append(
                [name, str(len(mine)), f"{share.value:.0%} ({share.low:.0%}-{share.high:.0%})",
                 f"{statistics.median(took):.0f}", f"{took[-1]:.0f}",
                 str(sum(bool(r.get("disturbed")) for r in mine))]
            )  # fmt: skip
    rows = []
    for name in ROWS:
        count, judged = kept(records, name)
        if judged:
            share, off = proportion(count, judged), errors(records, name)
            rows.append(
                [name, str(judged), f"{share.value:.0%} ({share.low:.0%}-{share.high:.0%})",
                 f"{statistics.median(map(abs, off)):.1%}", f"{statistics.median(off):+.1%}"]
            )  # fmt: skip
    head = ["example", "runs", "held (95% interval)", "s, median", "s, most", "disturbed"]
    by_row = ["quantity", "runs", "inside its interval", "error, median", "measured less predicted"]
    parts = [
        table(head, held, markdown=True),
        table(by_row, rows, markdown=True),
        conditions(records),
    ]
    return "\n\n".join(part for part in parts if part)


def conditions(records: Sequence[Record]) -> str:
    """On which machine, of which states of the tool, with how much time."""
    told = {
        "machine": {f"{r['machine']['cores']} cores, {r['machine']['cpu']}, Linux "
                    f"{r['machine']['kernel']}" for r in records if "machine" in r},
        "commits": {r["commit"] for r in records if r.get("commit")},
        "time budget": {f"{r.get('time_budget_s', TIME_BUDGET_S)} s" for r in records},
    }  # fmt: skip
    return "; ".join(f"{name}: {', '.join(sorted(of))}" for name, of in told.items() if of) + "."


def stored() -> list[Record]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines() if line]


def run(example: str, seed: int, time_budget_s: int) -> Record:
    """One run as a user would make it."""
    with tempfile.TemporaryDirectory(prefix="verification-") as directory:
        out, began = Path(directory) / "capacity", time.monotonic()
        command = [str(Path(sys.executable).with_name("tune")), EXAMPLES[example], "--ram", "4G"]
        command += ["--time-budget", f"{time_budget_s}s", "--seed", str(seed), "--out", str(out)]
        said = ""
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False,
                timeout=LONGEST * time_budget_s,
            )  # fmt: skip
            said = done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            said = f"not ended after {LONGEST * time_budget_s} s"
        document = None
        if (out / "report.json").exists():
            document = json.loads((out / "report.json").read_text())
        else:
            print(f"{example}: no report\n{said}", file=sys.stderr)
    found = summarized(example, document, time.monotonic() - began)
    return {**found, "time_budget_s": time_budget_s, "seed": seed}


def next_of(examples: Sequence[str], before: Sequence[Record], runs: int) -> str | None:
    """The example with the fewest runs; None when there are enough, pooled over them."""
    counts = {name: sum(r["example"] == name for r in before) for name in examples}
    if sum(counts.values()) >= runs:
        return None
    return min(counts, key=lambda name: counts[name])


def measure(examples: Sequence[str], minutes: float, runs: int, time_budget_s: int) -> None:
    """Runs until another would not end in time; each is stored at once."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() + time_budget_s + AROUND_S < end:
        before = stored()
        example = next_of(examples, before, runs)
        if example is None:
            break
        seed = 1 + max((r.get("seed", n) for n, r in enumerate(before, 1)), default=0)
        record = run(example, seed, time_budget_s)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        said = "holds" if record["holds"] else "; ".join(record.get("misses", [record["verdict"]]))
        print(f"{record['example']}: {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("measure", "report"), default="report")
    parser.add_argument("examples", nargs="*", default=[], metavar="example")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing that ends later")
    parser.add_argument("--runs", type=int, default=RUNS, help="pooled over the examples")
    parser.add_argument("--time-budget", type=int, default=TIME_BUDGET_S, help="s, of each run")
    parser.add_argument("--again", action="store_true", help="forget what is stored first")
    parser.add_argument("--first", action="store_true", help="before other work of the machine")
    asked = parser.parse_args()
    if asked.what == "report":
        print(report(stored()))
        return
    if asked.first:
        priority.raised()
    if asked.again:
        RESULTS.unlink(missing_ok=True)
    measure(asked.examples or list(EXAMPLES), asked.minutes, asked.runs, asked.time_budget)


if __name__ == "__main__":
    main()
