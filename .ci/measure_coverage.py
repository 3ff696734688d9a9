"""The statements that the tests run, by room, in whichever process: docs/COVERAGE.md.

Servers, databases and the tool itself are children with environments of their own, so no variable
reaches all of them: a .pth file in the environment starts the measurement in every interpreter.
Fails when a room is under LEAST. Arguments are given to pytest; with any, the page is not written.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "coverage"
PAGE = ROOT / "docs" / "COVERAGE.md"
STARTER = Path(sysconfig.get_path("purelib")) / "pretune_coverage.pth"
ROOMS = ("advisor", "server", "loadtests", "reports")
LEAST = 85.0  # per cent of a room's statements
# Absolute paths: the processes run anywhere. Workers of servers end by os._exit, some by exec.
CONFIG = """\
[run]
source = {sources}
data_file = {place}/data
parallel = true
patch = _exit, execv
concurrency = thread, gevent
sigterm = false
disable_warnings = no-data-collected, module-not-imported, module-not-measured, already-imported
[report]
exclude_also =
    if TYPE_CHECKING:
    \\.\\.\\.$
"""
START = (
    "import os; os.environ.setdefault('COVERAGE_PROCESS_START', {config!r}); "
    "import coverage; coverage.process_startup()\n"
)
HEAD = """\
# What the tests run

Written by `make coverage`: statements that `make test` runs, in the tests' own process or in any
that they start. A room is a folder; no room may be under {least:.0f}%. {date}.

| room | statements | run |
|---|---:|---:|
"""


def run_tests(arguments: list[str]) -> int:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    PLACE.chmod(0o777)  # some processes under test are other users
    config = PLACE / "config.ini"
    sources = ", ".join(str(ROOT / room) for room in ROOMS)
    config.write_text(CONFIG.format(sources=sources, place=PLACE))
    STARTER.write_text(START.format(config=str(config)))
    try:
        command = [
            sys.executable,
            "-m",
            "pytest",
            *(arguments or ["--numprocesses", "2", "--dist", "loadfile"]),
        ]
        done = subprocess.run(command, cwd=ROOT, check=False).returncode
    finally:
        STARTER.unlink()
    for step in (["combine", "--quiet"], ["json", "--quiet", "-o", str(PLACE / "coverage.json")]):
        subprocess.run(
            [sys.executable, "-m", "coverage", *step, f"--rcfile={config}"], cwd=PLACE, check=True
        )
    return done


def by_room(files: dict[str, dict[str, dict[str, int]]]) -> dict[str, tuple[int, int]]:
    """Room -> (statements, those that ran)."""
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, figures in files.items():
        parts = Path(name).resolve().relative_to(ROOT).parts
        room = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
        rooms[room][0] += figures["summary"]["num_statements"]
        rooms[room][1] += figures["summary"]["covered_lines"]
    return {room: (total, ran) for room, (total, ran) in sorted(rooms.items()) if total}


def main() -> int:
    arguments = sys.argv[1:]
    failed = run_tests(arguments)
    figures = by_room(json.loads((PLACE / "coverage.json").read_text())["files"])
    rows = [
        f"| {room} | {total} | {100 * ran / total:.1f}% |" for room, (total, ran) in figures.items()
    ]
    total, ran = (sum(each) for each in zip(*figures.values(), strict=True))
    rows.append(f"| all | {total} | {100 * ran / total:.1f}% |")
    print("\n".join(rows))
    if not arguments:
        head = HEAD.format(least=LEAST, date=time.strftime("%Y-%m-%d"))
        PAGE.write_text(head + "\n".join(rows) + "\n")
    low = [room for room, (total, ran) in figures.items() if 100 * ran / total < LEAST]
    if low:
        print(f"under {LEAST:.0f}%: {', '.join(low)}")
    return 1 if low or failed else 0


if __name__ == "__main__":
    sys.exit(main())
