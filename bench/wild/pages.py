"""Pages that a run would measure, held against those that there are."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.wild.applications import Application, matcher
from bench.wild.stage import Stage

TUNE = Path(sys.executable).with_name("tune")
# So much of both cores that the load generator has one: what is promised can be asked for by hand.
BUDGET = ("--ram", "4G", "--cores", "1")
DRY_S = 240.0
Record = dict[str, Any]


def look(stage: Stage) -> Record:
    """What ``tune --dry-run`` finds, judged."""
    began = time.monotonic()
    done = run(stage, ["--dry-run", "--json"], DRY_S)
    found: Record = {"exit": done.returncode, "took_s": round(time.monotonic() - began, 1)}
    try:
        document = json.loads(done.stdout)
    except ValueError:
        said = " ".join((done.stderr or done.stdout).split())
        return {**found, "said": said[-1500:], **judge(stage.application, [], None)}
    workload = document["workload"]
    return {
        **found,
        "framework": document["target"]["framework"],
        "skipped": [[each["name"], each["reason"]] for each in workload["skipped"]],
        "endpoints": [[e["name"], e["share"], e["paths"]] for e in workload["endpoints"]],
        **judge(stage.application, asked(workload), workload["coverage"]),
    }


def asked(workload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All endpoints that a run asks for, those that are measured apart with them."""
    return [*workload["endpoints"], *workload.get("apart", ())]


def run(stage: Stage, words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run ``tune`` as a user would, from the application's folder."""
    command = [str(TUNE), stage.application.target, *BUDGET, "--python", str(stage.python), *words]
    return subprocess.run(
        command, cwd=stage.directory, env=stage.environ, capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip


def judge(
    application: Application,
    endpoints: Sequence[Mapping[str, Any]],
    coverage: Mapping[str, Any] | None,
) -> Record:
    """Pages found and missed, and what is astray: in the load, and no page of anybody's.

    ``astray_share`` is their part of the load.
    """
    wanted = {pattern: matcher(pattern) for pattern in application.pages}
    right = [*wanted.values(), *(matcher(pattern) for pattern in application.others)]
    missed, astray, share = set(wanted), [], 0.0
    for endpoint in endpoints:
        for path in endpoint["paths"]:
            plain = path.partition("?")[0]
            missed -= {pattern for pattern, each in wanted.items() if each.fullmatch(plain)}
            if not any(each.fullmatch(plain) for each in right):
                astray.append(path)
                share += endpoint["share"] / len(endpoint["paths"])
    return {
        "found": len(wanted) - len(missed),
        "there": len(wanted),
        "missed": sorted(missed),
        "astray": astray,
        "astray_share": round(share, 3),
        "root": coverage["root"] if coverage else None,
        "coverage": dict(coverage) if coverage else None,
    }
