"""Virtual environments of what is measured, each made once and kept under build/."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CACHE = REPOSITORY / "build" / "bench"


def prepare(python: str | None = None, requirements: Path = REQUIREMENTS) -> Path:
    """The ``bin`` directory of an environment with what is pinned, by default the servers.

    ``python`` is the interpreter to build it from (default: the one under this environment).
    Another interpreter or other pins make another environment.
    """
    base = python or getattr(sys, "_base_executable", sys.executable)
    said = [base, "-c", "import sys; print(sys.version, sys.base_prefix)"]
    version = subprocess.run(said, check=True, capture_output=True, text=True).stdout
    key = hashlib.sha256((version + requirements.read_text()).encode()).hexdigest()[:12]
    home = CACHE / f"venv-{key}"
    done = home / "complete"
    if done.exists():
        return home / "bin"
    CACHE.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two benches may want the same
        if done.exists():
            return home / "bin"
        print(f"installing {requirements.parent.name} into {home}", file=sys.stderr)
        subprocess.run([base, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", "-r", str(requirements)], check=True)
        done.touch()
    return home / "bin"


def versions(bin_: Path) -> dict[str, str]:
    """Name to version of everything that is measured, Python first."""
    code = (
        "import platform, sys\n"
        "from importlib.metadata import version\n"
        "print('Python', platform.python_version())\n"
        "for name in sys.argv[1:]: print(name, version(name))"
    )
    names = [line.partition("==")[0] for line in REQUIREMENTS.read_text().splitlines()]
    names = [name for name in names if name and not name.startswith("#")]
    command = [str(bin_ / "python"), "-c", code, *names]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in said.splitlines())
