"""A place for real runs of the command, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
TUNE = Path(sys.executable).with_name("tune")

APP = """
import time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise RuntimeError("broken on purpose")
    deadline = time.thread_time() + 0.002
    while time.thread_time() < deadline:
        pass
    time.sleep(0.003)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
# a service that setup leaves behind, as a database would be
HOOK = """
import os, subprocess, sys
if sys.argv[1] == "start":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"],
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.environ["PRETUNE_ENV"], "a") as env:
        env.write("FROM_SETUP=yes\\n")
else:
    open(os.path.join(os.path.dirname(__file__), "torn-down"), "w").close()
"""
CONFIG = """
[tool.pretune]
setup = "python hook.py start"
teardown = "python hook.py stop"
"""


@dataclass
class Sandbox:
    """A project of its own; every process started for it carries its TMPDIR."""

    directory: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def temporary(self) -> Path:
        return self.directory / "tmp"

    @property
    def out(self) -> Path:
        return self.directory / "capacity"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "NO_COLOR": "1",
            "COLUMNS": "120",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(TUNE), *arguments, "--out", str(self.out)],
            cwd=cwd or self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(
        self, *arguments: str, cwd: Path | None = None, timeout: float = 800
    ) -> tuple[int, str]:
        """Exit code and everything printed."""
        process = self.start(*arguments, cwd=cwd)
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output

    def survivors(self) -> list[str]:
        """What is left of the runs: processes, directories, control groups."""
        mark = f"TMPDIR={self.temporary}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append(f"process {entry.name}: {command}")
            except OSError:
                continue
        found += [str(path) for path in self.temporary.glob("pretune-*")]
        return found

    def empties(self, seconds: float = 120.0) -> list[str]:
        """The survivors once there are none, or after waiting."""
        deadline = time.monotonic() + seconds
        while (left := self.survivors()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left
