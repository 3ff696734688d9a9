"""Measure the measurement: ``python -m bench.measurement`` from the top of the repository.

Every part compares what the tool says with what is known to be true (applications that write down
what they do, series with a known law), or with what it may cost. A part that fails is reported as
such and stops no other. Parts may be run one at a time and put together with --from-json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from bench.measurement import parts
from bench.measurement.result import Aim, Result
from bench.servers import machine
from bench.servers.environment import CACHE
from bench.servers.tables import table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.measurement", description=__doc__)
    add = parser.add_argument
    add("--part", action="append", choices=parts.PARTS, help="run only this; may be repeated")
    add("--quick", action="store_true", help="less of everything: some minutes for all parts")
    add("--json", type=Path, default=CACHE / "measurement.json", metavar="FILE")
    add("--markdown", type=Path, metavar="FILE", help="write the report there, for the docs")
    add("--from-json", type=Path, action="append", metavar="FILE",
        help="render earlier runs, measure nothing; several are put together: a part is pooled "
        "where it can be, else the first one's stands")  # fmt: skip
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.from_json:
        document = together([json.loads(path.read_text()) for path in options.from_json])
    else:
        document = measure(options.part or list(parts.PARTS), quick=options.quick)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1))
    print(render(document, markdown=False))
    if options.markdown:
        options.markdown.write_text(render(document, markdown=True))
    return 1 if any("failed" in part for part in document["parts"].values()) else 0


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
                    " How each number is made: [METHOD.md](METHOD.md).")  # fmt: skip
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
