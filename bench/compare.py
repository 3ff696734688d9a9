"""Which server for the examples: `tune compare` on each of the three, and docs/COMPARE.md of it.

    python -m bench.compare measure [--minutes 25] [--again] [shop board tickets]
    python -m bench.compare              # docs/COMPARE.md, from what is stored

A run takes 45 s and 80 s for each server (7 to 9 minutes here), all three about 25 minutes; it
wants the machine to itself. Each finished run is stored in ``bench/results/compare/`` with the
machine it ran on, so it can be stopped and taken up at any time: an example that has a run is left
out unless asked for again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.servers import machine
from bench.servers.tables import table
from bench.verification import EXAMPLES
from pretune.reports import comparison_summary as summary
from pretune.reports import numbers

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "compare"
PAGE = ROOT / "docs" / "COMPARE.md"
RAM = "2G"
A_RUN_S = 9 * 60.0  # at most, for the decision whether another one still fits
SHOWN = {"throughput_rps_alike": "requests/s", "p95_s_alike": "p95", "pss_bytes_alike": "memory"}
Stored = Mapping[str, Any]


def stored() -> dict[str, Stored]:
    """Example -> its last run."""
    found = {}
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        found[record["example"]] = record
    return {name: found[name] for name in EXAMPLES if name in found}


def run(example: str, more: Sequence[str]) -> Stored:
    """One run as a user would make it; its trials are left out of what is kept."""
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        out, began = Path(directory) / "comparison", time.monotonic()
        command = [str(Path(sys.executable).with_name("tune")), "compare", EXAMPLES[example]]
        command += ["--ram", RAM, "--servers", "all", "--out", str(out), *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not (out / "comparison.json").exists():
            raise SystemExit(f"{example}: no comparison\n{done.stdout}{done.stderr}")
        document = json.loads((out / "comparison.json").read_text())
    load = [t["measured"]["disturbed"] for t in document["trials"] if t["measured"]["disturbed"]]
    return {
        "example": example,
        "took_s": round(time.monotonic() - began, 1),
        "machine": machine.description(),
        "disturbed_trials": len(load),
        "trials": len(document["trials"]),
        "document": {**document, "trials": [], "files": {}},
    }


def measure(examples: Sequence[str], minutes: float, again: bool, more: Sequence[str]) -> None:
    """Each run is stored at once, and the page written anew."""
    end = time.monotonic() + 60 * minutes
    RESULTS.mkdir(parents=True, exist_ok=True)
    for example in examples:
        if example in stored() and not again:
            print(f"{example}: there is a run already", flush=True)
            continue
        if time.monotonic() + A_RUN_S > end:
            print(f"{example}: no time left", flush=True)
            return
        record = run(example, more)
        # Where this machine keeps things is nobody's business.
        text = json.dumps(record, indent=1).replace(sys.prefix, ".venv")
        (RESULTS / f"{example}.json").write_text(text.replace(os.getcwd(), ".") + "\n")
        PAGE.write_text(page(stored()))
        print(f"{example}: {summary.sentence(record['document'])}", flush=True)


def page(records: Mapping[str, Stored]) -> str:
    if not records:
        return _NOTHING
    parts = [_HEAD.format(machine=_machine(records))]
    parts += [_example(name, record) for name, record in records.items()]
    parts += [_errors(records)]
    return "\n\n".join(parts).rstrip() + "\n"


_HEAD = """\
# Which server for the examples

`python -m bench.compare` writes this page from what it stored in `bench/results/compare/`:
`tune compare --servers all` on the three examples of this repository, each server with the settings
that are best for it there. [method/comparison.md](method/comparison.md) explains how each number is
made and what "lost" and "no difference" mean; [SERVERS.md](SERVERS.md) describes the servers.
Intervals are 95% intervals over the rounds.

{machine}"""
_NOTHING = """\
# Which server for the examples

Not measured yet: `python -m bench.compare measure` does it, in about 25 quiet minutes.
"""


def _machine(records: Mapping[str, Stored]) -> str:
    said = sorted({_described(r["machine"]) for r in records.values()})
    off = "; ".join(
        f"{name}: {r['disturbed_trials']} of {r['trials']} trials disturbed by others, "
        f"{r['took_s'] / 60:.0f} min"
        for name, r in records.items()
    )
    return f"Measured on {'; '.join(said)}. {off}."


def _described(found: Mapping[str, Any]) -> str:
    return f"{found['cores']} cores of {found['cpu']}, kernel {found['kernel']}, {found['date']}"


def _example(name: str, record: Stored) -> str:
    document = record["document"]
    parts = [f"## {name}", f"{summary.sentence(document)}.", summary.setup(document)]
    if summary.measured(document):
        head = ["server", "workers x threads", "requests/s within the SLO", "relative to the best"]
        parts.append(_table(head, summary.capacities(document)))
        users = document["users"]
        plural = "s" if users != 1 else ""
        parts.append(f"With {users} user{plural} each; = means no difference from the lowest:")
        head = ["server", "p95", "memory (PSS)", "CPU per request", "Postgres connections"]
        rows = [
            (server, *(f"{c.text}{' =' if c.alike else ''}" for c in cells), connections)
            for server, cells, connections in summary.figures(document)
        ]
        parts.append(_table(head, rows))
        parts.append("Requests lost under load, and an app that does not boot:")
        head = ["server", "reload", "recycling", "TERM", "boot failure"]
        lives = summary.lifecycles(document)
        parts.append(_table(head, [(server, *checks, boot) for server, checks, boot in lives]))
        head = [
            "server",
            "CPU per request, one worker",
            "compared with the embedded server",
            "busiest worker",
        ]
        parts.append(_table(head, summary.costs(document)))
    left = summary.left_out(document)
    if left:
        parts.append("Not compared: " + "; ".join(f"{numbers.line(why)}" for _, why in left) + ".")
    return "\n\n".join(parts)


def errors(records: Mapping[str, Stored]) -> dict[str, dict[str, list[float]]]:
    """Server -> quantity -> measured over predicted, less 1, over the examples."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records.values():
        for server in record["document"]["servers"]:
            for quantity, off in server["errors"].items():
                if off["error_fraction"] is not None:
                    found[server["name"]][quantity].append(off["error_fraction"])
    return found


def errors_table(records: Mapping[str, Stored]) -> str:
    """Each server's, predicted before it was measured: the median of the sizes, and each
    example's."""
    rows = []
    for server, by_quantity in errors(records).items():
        cells = []
        for quantity in SHOWN:
            off = by_quantity.get(quantity, [])
            each = ", ".join(summary.signed(x) for x in off)
            middle = f"{statistics.median(map(abs, off)):.1%}" if off else "-"
            cells.append(f"{middle} ({each})" if off else "-")
        rows.append((server, *cells))
    head = ["server", *SHOWN.values()]
    return _table(head, rows)


def _errors(records: Mapping[str, Stored]) -> str:
    return (
        "## Predicted beside measured\n\nError of the prediction under the common load: the "
        f"median of its absolute values, and each example's ({', '.join(records)}; those that "
        "carry it).\n\n" + errors_table(records)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(list(head), [list(row) for row in rows], markdown=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "report"), default="report")
    parser.add_argument("examples", nargs="*", default=[], metavar="example")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--again", action="store_true", help="also what has a run already")
    parser.add_argument("--time-budget", metavar="TIME", help="of one run, as tune takes it")
    asked = parser.parse_args()
    if asked.what == "measure":
        more = ["--time-budget", asked.time_budget] if asked.time_budget else []
        measure(asked.examples or list(EXAMPLES), asked.minutes, asked.again, more)
    else:
        PAGE.write_text(page(stored()))


if __name__ == "__main__":
    main()
