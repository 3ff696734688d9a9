"""How often a recommendation keeps what it promised: `tune` on the examples, again and again.

    python -m bench.verification measure --minutes 9 [shop board tickets]
    python -m bench.verification              # what is stored, as a table

Each finished run is appended to ``bench/results/verification.jsonl`` with the machine it ran on, so
it can be stopped and taken up at any time; the example with the fewest runs comes next. A run
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
A_RUN_S = 130.0  # at most, for the decision whether another one still fits
Record = dict[str, Any]


def summarized(example: str, document: Record, took_s: float) -> Record:
    """What is kept of a report.json."""
    verification = document.get("verification")
    found: Record = {
        "example": example,
        "created": document["created"],
        "took_s": round(took_s, 1),
        "verdict": document["verdict"],
        "machine": machine.description(),
        "holds": bool(verification and verification["holds"]),
    }
    if verification is not None:
        found |= {
            "server": verification["server"],
            "settings": verification["settings"],
            "users": verification["predicted"]["users"],
            "misses": verification["misses"],
            "rows": verification["rows"],
            "disturbed": verification["measured"]["disturbed"],
        }
    return found


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
    return table(head, held, markdown=True) + "\n\n" + table(by_row, rows, markdown=True)


def stored() -> list[Record]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines() if line]


def run(example: str, seed: int) -> Record:
    """One run as a user would make it."""
    with tempfile.TemporaryDirectory(prefix="verification-") as directory:
        out, began = Path(directory) / "capacity", time.monotonic()
        command = [str(Path(sys.executable).with_name("tune")), EXAMPLES[example], "--ram", "4G"]
        done = subprocess.run(
            [*command, "--seed", str(seed), "--out", str(out)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not (out / "report.json").exists():
            raise SystemExit(f"{example}: no report\n{done.stdout}{done.stderr}")
        document = json.loads((out / "report.json").read_text())
    return summarized(example, document, time.monotonic() - began)


def measure(examples: Sequence[str], minutes: float) -> None:
    """Runs until another would not end in time; each is stored at once."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() + A_RUN_S < end:
        before = stored()
        counts = {name: sum(r["example"] == name for r in before) for name in examples}
        record = run(min(counts, key=lambda name: counts[name]), len(before) + 1)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        said = "holds" if record["holds"] else "; ".join(record.get("misses", [record["verdict"]]))
        print(f"{record['example']}: {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "report"), default="report")
    parser.add_argument("examples", nargs="*", default=[], metavar="example")
    parser.add_argument("--minutes", type=float, default=9.0)
    asked = parser.parse_args()
    if asked.what == "measure":
        measure(asked.examples or list(EXAMPLES), asked.minutes)
    else:
        print(report(stored()))


if __name__ == "__main__":
    main()
