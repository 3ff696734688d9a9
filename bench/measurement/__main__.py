"""Measure the measurement: ``python -m bench.measurement`` from the top of the repository.

Every part compares what the tool says with what is known to be true (applications that write down
what they do, series with a known law), or with what it may cost. A part that fails is reported as
such and stops no other.

Each part's run is a file of its own below --results, and the report is made of all files there: so
the whole can be measured at several quiet times, and an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from bench.measurement import parts
from bench.measurement.result import Aim, Result
from bench.servers import machine
from bench.servers.tables import table

RESULTS = Path(__file__).with_name("results")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.measurement", description=__doc__)
    add = parser.add_argument
    add(
        "--part",
        action="append",
        choices=parts.PARTS,
        help="run this, once more if need be; may be repeated; default: what has no result yet",
    )
    add("--quick", action="store_true", help="less of everything: some minutes for all parts")
    add("--minutes", type=float, default=math.inf, help="begin no further part after so long")
    add("--results", type=Path, default=RESULTS, metavar="DIR")
    add("--render", action="store_true", help="measure nothing, show what there is")
    add("--markdown", type=Path, metavar="FILE", help="write the report there, for the docs")
    return parser.parse_args()  # fmt: skip


def main() -> int:
    options = arguments()
    known = stored(options.results)
    wanted = options.part or [name for name in parts.PARTS if name not in together(known)["parts"]]
    until = time.monotonic() + 60 * options.minutes
    for name in [] if options.render else wanted:
        if time.monotonic() > until:
            break
        known.insert(0, measure([name], quick=options.quick))
        store(known[0], options.results)
    document = together(known)
    print(render(document, markdown=False))
    if options.markdown:
        options.markdown.write_text(render(document, markdown=True))
    return 1 if any("failed" in part for part in document["parts"].values()) else 0


def store(document: dict[str, Any], directory: Path) -> None:
    """One file of one part; the number says which of its runs it was. What failed is not kept."""
    ((name, part),) = document["parts"].items()
    if "failed" in part:
        return
    directory.mkdir(parents=True, exist_ok=True)
    number = 1 + len(list(directory.glob(f"{name}-*.json")))
    (directory / f"{name}-{number}.json").write_text(json.dumps(document, indent=1) + "\n")


def stored(directory: Path) -> list[dict[str, Any]]:
    """The runs of every part, the newest first."""
    files = sorted(directory.glob("*-*.json"), key=lambda file: int(file.stem.rpartition("-")[2]))
    return [json.loads(file.read_text()) for file in reversed(files)]


def measure(names: list[str], *, quick: bool) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        began = time.monotonic()
        try:
            one = {"result": parts.load(name).run(quick=quick).to_json()}
        except Exception as error:
            traceback.print_exc()
            one = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        took = time.monotonic() - began
        done[name] = {**one, "seconds": took, "quick": quick, "machine": machine.description()}
    return {"parts": done}


def together(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """One document with the parts of all, in the order of the table of parts.

    Of a part that several have, all runs count where it can pool them, else the first one's.
    """
    found = {}
    for name in parts.PARTS:
        runs = [document["parts"][name] for document in documents if name in document["parts"]]
        if runs:
            found[name] = _pooled(name, runs)
    return {"parts": found}


def _pooled(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    pool = getattr(parts.load(name), "pool", None) if len(runs) > 1 else None
    good = [run for run in runs if "result" in run]
    if pool is None or len(good) < 2:
        return runs[0]
    result = pool([Result.from_json(run["result"]) for run in good]).to_json()
    seconds = sum(run["seconds"] for run in good)
    return {**good[0], "result": result, "seconds": seconds}


def render(document: dict[str, Any], *, markdown: bool) -> str:
    """All parts as text, the aims first."""
    heading = "## " if markdown else ""
    said = []
    if markdown:
        said.append("# Measurement, measured")
        said.append("Written by `python -m bench.measurement --markdown docs/MEASUREMENT_BENCH.md`."
                    " How each number is made: [method/](method/README.md).")  # fmt: skip
    aims = {
        name: Result.from_json(part["result"]).aims
        for name, part in document["parts"].items()
        if "result" in part
    }
    rows = [
        [aim.what, aim.aim, aim.measured, _met(aim), name] for name in aims for aim in aims[name]
    ]
    if rows:
        said.append(f"{heading}Aims")
        said.append(table(("what", "aim", "measured", "met", "part"), rows, markdown=markdown))
    for name, part in document["parts"].items():
        said += _part(name, part, heading, markdown)
    missing = [f"`{name}`" for name in parts.PARTS if name not in document["parts"]]
    if missing:
        said.append(f"Not measured: {', '.join(missing)}.")
    return "\n\n".join(said) + "\n"


def _met(aim: Aim) -> str:
    return "yes" if aim.met else "no"


def _part(name: str, part: dict[str, Any], heading: str, markdown: bool) -> list[str]:
    what = part["machine"]
    where = (
        f"`{name}`: {what['date']}; {what['cores']} cores, {what['cpu']}, Linux {what['kernel']}; "
        f"{part['seconds']:.0f} s{', quick' if part['quick'] else ''}."
    )
    if "failed" in part:
        return [f"{heading}{name}", where, f"Failed: {part['failed']}"]
    result = Result.from_json(part["result"])
    said = [f"{heading}{result.title}", where]
    for one in result.tables:
        said += [one.title] if one.title else []
        said.append(table(one.head, one.rows, markdown=markdown))
    if result.notes:
        said.append("\n".join(f"- {note}" for note in result.notes))
    return said


if __name__ == "__main__":
    sys.exit(main())
