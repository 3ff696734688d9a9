"""Raise the versions in constraints.txt to the newest that go together, and say what moved.

The ranges in pyproject.toml are for users and stay; the constraints are what tests, benches and
the demonstration install. Nothing is installed here: pip resolves and reports.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# Beside the extras: pip itself, and what build/apache holds (see the Makefile).
WANTED = (".[examples,dev]", "pip", "mod_wsgi", "flask", "django")
HEADER = """\
# What tests, benches and the demonstration install. `make upgrade` writes this file anew; what
# users may install stands in pyproject.toml.
"""


def resolve() -> dict[str, str]:
    """Distribution -> the newest version that goes with the others."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report), *WANTED]
        subprocess.run(command, cwd=ROOT, check=True)
        installed = json.loads(report.read_text())["install"]
    found = {each["metadata"]["name"]: each["metadata"]["version"] for each in installed}
    return {name: found[name] for name in sorted(found, key=str.lower) if name != "pretune"}


def read(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))


def moves(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """A line for each distribution that came, went or moved."""
    lines = []
    for name in sorted({*old, *new}, key=str.lower):
        before, after = old.get(name, "-"), new.get(name, "-")
        if before != after:
            lines.append(f"{name} {before} -> {after}")
    return lines


def main() -> None:
    old = read(CONSTRAINTS.read_text()) if CONSTRAINTS.exists() else {}
    new = resolve()
    CONSTRAINTS.write_text(HEADER + "".join(f"{name}=={new[name]}\n" for name in new))
    print("\n".join(moves(old, new)) or "nothing moved")


if __name__ == "__main__":
    main()
