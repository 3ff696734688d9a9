"""What goes wrong in other servers: the scenarios of tests/field, asked of each.

``python -m bench.field`` from the top of the repository. A server that lacks what a scenario is
about is marked so; one that fails is shown with what was seen.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from field.scenarios import SCENARIOS, Scenario
from field.servers import (
    GUNICORN_CLASSES,
    GUNICORN_FLAGS,
    PRETUNE,
    Field,
    Kind,
    NotOffered,
    flags_of,
)

from bench.servers import environment, machine
from bench.servers.tables import table
from pretune.server.adapters import catalogue

OUT = environment.CACHE / "field.json"


def others(bin_: Path) -> list[Kind]:
    """The field, as far as it takes the same settings."""
    python = str(bin_ / "python")
    return [
        Kind(
            name="gunicorn",
            command=[python, "-m", "gunicorn", "--no-control-socket"],
            classes=GUNICORN_CLASSES,
            flags=GUNICORN_FLAGS,
        ),
        Kind(
            name="uwsgi",
            command=[str(bin_ / "uwsgi"), "--master", "--need-app", "--enable-threads",
                     "--listen", "1024", "--min-worker-lifetime", "0"],
            classes={"sync": [], "gthread": []},
            flags={
                "port": ["--http11-socket", "127.0.0.1:{}"],
                **flags_of(
                    catalogue.UWSGI,
                    ("workers", "threads", "timeout", "max_requests", "max_requests_jitter"),
                ),
                "keepalive": ["--so-keepalive"],
                "preload": [],
                "max_worker_memory": ["--reload-on-rss", "200"],
            },
            unless={"preload": ["--lazy-apps"]},
            before_target=["--virtualenv", str(bin_.parent), "--module"],
            means_otherwise={
                "term_answers_what_is_queued": "TERM is a reload there",
                **dict.fromkeys(
                    (
                        "hup_with_broken_code_keeps_the_old_workers",
                        "hup_with_a_slow_import_does_not_stop_service",
                        "term_during_a_slow_reload_is_obeyed",
                    ),
                    "uWSGI from a wheel does not find itself again when it reloads",
                ),
            },
        ),
        Kind(
            name="uvicorn",
            command=[python, "-m", "uvicorn"],
            classes={"asgi": ["--http", "httptools"]},
            flags={
                "port": ["--port", "{}"],
                **flags_of(
                    catalogue.UVICORN,
                    ("workers", "keepalive", "max_requests", "max_requests_jitter"),
                ),
            },
        ),
    ]  # fmt: skip


def ask(kind: Kind, scenario: Scenario, patience: float) -> dict[str, str]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pretune-field-") as home:
        field = Field(kind, Path(home), patience)
        try:
            if scenario.name in kind.means_otherwise:
                raise NotOffered(kind.means_otherwise[scenario.name])
            scenario.run(field)
            verdict, seen = "right", ""
        except NotOffered as error:
            verdict, seen = "not offered", str(error)
        except AssertionError as error:
            verdict, seen = "wrong", str(error).splitlines()[0] if str(error) else "an assertion"
        except OSError as error:
            verdict, seen = "wrong", repr(error)
        finally:
            field.close()
    took = time.monotonic() - began
    print(f"{scenario.name:64}{kind.name:10}{verdict:12}{took:5.0f} s  {seen}", file=sys.stderr)
    return {"scenario": scenario.name, "server": kind.name, "verdict": verdict, "seen": seen}


def render(document: dict[str, object], *, markdown: bool) -> str:
    results = {(r["scenario"], r["server"]): r for r in document["results"]}  # type: ignore[attr-defined]
    names = list(dict.fromkeys(server for _, server in results))
    rows, notes = [], []
    for scenario in SCENARIOS:
        cells = []
        for name in names:
            result = results.get((scenario.name, name))
            verdict = result["verdict"] if result else "-"
            cells.append(f"**{verdict}**" if markdown and verdict == "wrong" else verdict)
            if verdict == "wrong":
                seen = re.sub(r"/tmp/\S+", "...", result["seen"])
                notes.append(f"- {name}, {scenario.name.replace('_', ' ')}: {seen}")
        rows.append([scenario.name.replace("_", " "), *cells, scenario.issues])
    text = table(("scenario", *names, "met in"), rows, markdown=markdown)
    return text + "\n\nWhat was seen:\n\n" + "\n".join(notes) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.field", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", metavar="TEXT", help="scenarios whose name contains it")
    add("--server", action="append", metavar="NAME")
    add("--patience", type=float, default=15.0, help="s after which a wait is in vain")
    add("--json", type=Path, default=OUT, metavar="FILE")
    add("--markdown", type=Path, metavar="FILE")
    options = parser.parse_args()
    bin_ = environment.prepare()
    kinds = [PRETUNE, *others(bin_)]
    results = [
        ask(kind, scenario, options.patience)
        for scenario in SCENARIOS
        if not options.only or any(text in scenario.name for text in options.only)
        for kind in kinds
        if not options.server or kind.name in options.server
    ]
    document = {
        "machine": machine.description(),
        "versions": environment.versions(bin_),
        "results": results,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1))
    print(render(document, markdown=False))
    if options.markdown:
        options.markdown.write_text(render(document, markdown=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
