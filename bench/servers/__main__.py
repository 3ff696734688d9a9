"""Measure servers side by side: ``python -m bench.servers`` from the top of the repository.

One worker on one core, wrk with 32 connections on another, an app that answers 13 bytes. Rounds
are short and take turns; what is compared is the median of the ratios within a round, with a
bootstrap interval. Requests/s suffer when somebody else uses the core; CPU per request hardly.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench.servers import environment, footprint, machine, speed, tables
from bench.servers.contenders import AIMS, BY_NAME, CONTENDERS, beside
from bench.servers.load import CONNECTIONS, HEADERS

PARTS = ("speed", "memory", "boot", "idle", "telemetry")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.servers", description=__doc__)
    add = parser.add_argument
    add("--part", action="append", choices=PARTS, help="measure only this; may be repeated")
    add("--only", action="append", metavar="TEXT",
        help="servers whose name contains it; may be repeated")  # fmt: skip
    add("--beside", type=Path, metavar="TREE", help="ours from another checkout, too")
    add("--all", action="store_true", help="the optional ones, too")
    add("--headers", action="append", choices=HEADERS, help="default: both")
    add("--rounds", type=int, default=5)
    add("--seconds", type=int, default=3, help="of one round")
    add("--workers", type=int, default=footprint.MANY, help="of the idle measurement")
    add("--python", help="interpreter to build the servers' environment from")
    add("--json", type=Path, default=environment.CACHE / "servers.json", metavar="FILE")
    add("--markdown", type=Path, metavar="FILE", help="write the tables there, for the docs")
    add("--from-json", type=Path, action="append", metavar="FILE",
        help="render an earlier run, measure nothing; several are put together")  # fmt: skip
    add("--list", action="store_true", help="name the servers and stop")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.list:
        print(*(f"{c.name}{' (optional)' if c.optional else ''}" for c in CONTENDERS), sep="\n")
        return 0
    if options.from_json:
        document = {}
        for path in options.from_json:
            document = {**json.loads(path.read_text()), **document}
    else:
        for program in ("wrk", "taskset"):
            if shutil.which(program) is None:
                print(f"{program} is not installed (Debian: apt-get install wrk util-linux)")
                return 2
        document = measure(options)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1))
    print(render(document, markdown=False))
    if options.markdown:
        options.markdown.write_text(render(document, markdown=True))
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    bin_ = environment.prepare(options.python)
    parts = options.part or PARTS
    chosen = [
        contender
        for contender in CONTENDERS
        if (options.all or not contender.optional or options.only)
        and (not options.only or any(text in contender.name for text in options.only))
    ]
    aims = list(AIMS)
    if options.beside:
        more = beside(chosen, options.beside.resolve())
        aims += [(each.name.rpartition(" (")[0], each.name, 1.0) for each in more]
        chosen += more
    cores = machine.cores()
    server_core, core = cores[0], cores[-1]
    document: dict[str, Any] = {
        "machine": machine.description(),
        "versions": environment.versions(bin_),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "connections": CONNECTIONS,
        "shared_core": server_core == core,
        "interfaces": {each.name: each.interface for each in (*CONTENDERS, *chosen)},
    }
    if "speed" in parts:
        headers = options.headers or list(HEADERS)
        table, absent = speed.run(
            chosen, bin_, headers=headers, rounds=options.rounds, seconds=options.seconds,
            server_core=server_core, core=core,
        )  # fmt: skip
        document |= {"headers": headers, "absent": absent, **speed.to_json(table, headers, aims)}
    few = [BY_NAME[name] for name in footprint.FORKS if BY_NAME[name] in chosen]
    if "memory" in parts:
        document["memory"] = footprint.memory(few, bin_, core=core)
    if "boot" in parts:
        document["boot"] = footprint.boot(few, bin_, rounds=options.rounds)
    if "idle" in parts:
        idlers = [BY_NAME[name] for name in footprint.IDLERS if BY_NAME[name] in chosen]
        document["idle"] = footprint.idle(idlers, bin_, workers=options.workers)
    if "telemetry" in parts:
        names = ("pretune gthread 1", "pretune gthread 4", "pretune asgi")
        names = tuple(name for name in names if BY_NAME[name] in chosen)
        document["telemetry"] = footprint.telemetry(
            names, bin_, rounds=2 * options.rounds, seconds=max(1, options.seconds - 1),
            core=core, server_core=server_core,
        )  # fmt: skip
    return document


def render(document: dict[str, Any], *, markdown: bool) -> str:
    """The whole run as text."""
    what = document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    parts = []
    if markdown:
        parts.append("# Servers side by side")
        parts.append("Written by `python -m bench.servers --markdown docs/SERVERS_BENCH.md`. "
                     "How to read it: [BENCHMARKS.md](BENCHMARKS.md).")  # fmt: skip
    parts.append(
        f"{what['date']}; {what['cores']} cores, {what['cpu']}, Linux {what['kernel']}. {versions}."
    )
    if "rows" in document:
        worst = [
            one["steal"] for row in document["rows"] for one in row["rounds"].values()
        ] or [0.0]  # fmt: skip
        got = [one["got"] for row in document["rows"] for one in row["rounds"].values()] or [0.0]
        parts.append(
            f"{document['rounds']} rounds of {document['seconds']} s in turns, "
            f"{document['connections']} keep-alive connections, one worker on one core. Steal in a "
            f"round up to {max(worst):.0%}; the server had between {min(got):.0%} and "
            f"{max(got):.0%} of its core. Intervals: 95%, bootstrap over rounds. Reference: "
            "gunicorn's gthread with 1 or 4 threads, uvicorn with httptools. "
            "Times the reference: above 1 is better, in both columns."
        )
        for kind in document["headers"]:
            parts.append(f"{'## ' if markdown else ''}Headers: {kind}")
            parts.append(tables.speed(document, kind, document["interfaces"], markdown))
        for name, why in document["absent"].items():
            parts.append(f"Not measured: {name}: {why.splitlines()[0]}")
        if document["aims"]:
            parts.append(f"{'## ' if markdown else ''}Aims")
            parts.append(tables.aims(document, markdown))
    rest = tables.footprint(document, markdown)
    if rest:
        parts.append(f"{'## ' if markdown else ''}Beside requests")
        parts.append(rest)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
