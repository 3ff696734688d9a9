"""A place for one run of `tune`, and all that can be left of it.

Every process of the run carries the place's TMPDIR in its environment. What clears its environment
is known by a word in its command line, the place's name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pretune.advisor.resources import cgroups

TUNE = (sys.executable, "-m", "pretune.advisor")
LONGEST_S = 300.0  # of one run; it is killed then, and that is a wrong verdict
EMPTY_S = 30.0  # the minder of a killed run needs some seconds


@dataclass
class Sandbox:
    """``environ`` and ``command`` (such as ``taskset -c 0``) go before the run."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    out: Path = field(init=False)
    temporary: Path = field(init=False)
    stack: ExitStack = field(init=False, default_factory=ExitStack)
    run_ids: set[str] = field(init=False, default_factory=set)
    sessions: Callable[[], int] | None = None  # of a database that the run was to use

    def __post_init__(self) -> None:
        self.out, self.temporary = self.directory / "capacity", self.directory / "tmp"
        self.temporary.mkdir(parents=True)

    def start(self, *arguments: str) -> Running:
        environ = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "FAULT": self.directory.name,
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
            **self.environ,
        }
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # a shell's background job ignores Ctrl-C, and what it starts would, too
            signal.signal(signal.SIGINT, signal.default_int_handler)
        printed = self.directory / f"printed-{time.monotonic_ns()}"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [*self.command, *TUNE, *arguments],
                cwd=self.directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process, printed, self)

    def processes(self) -> dict[int, str]:
        """Pid to command line, of those that belong to a run in here."""
        found = {}
        tmpdir = f"TMPDIR={self.temporary}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
                environ = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if tmpdir in environ or f"FAULT-{self.directory.name}" in command:
                found[int(entry.name)] = command.strip()
        return found

    def note_runs(self) -> None:
        """Remember what the runs in here call themselves: their control groups bear it."""
        prefix = "pretune-"
        names = (path.name for path in self.temporary.glob(f"{prefix}*"))
        self.run_ids |= {name.removeprefix(prefix) for name in names}

    def left_over(self) -> list[str]:
        """What is left, once it is nothing or after EMPTY_S."""
        deadline = time.monotonic() + EMPTY_S
        while (left := self._left_over()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def _left_over(self) -> list[str]:
        left = [f"process {pid}: {command[:80]}" for pid, command in self.processes().items()]
        left += [f"file {path.name}" for path in self.temporary.iterdir()]
        left += [f"shared memory {name}" for name in _shared_memory(self.directory.stat().st_ctime)]
        left += [f"control group {path}" for path in _groups(self.run_ids)]
        if self.sessions is not None and (count := self.sessions()):
            left.append(f"{count} database sessions")
        return left

    def close(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.stack.close()


@dataclass
class Running:
    """A run that has been started."""

    process: subprocess.Popen[bytes]
    printed: Path
    sandbox: Sandbox

    def output(self) -> str:
        return self.printed.read_text("utf-8", "replace")

    def wait_for(self, word: str, seconds: float = 200.0) -> None:
        """Until the run has printed the word, or has ended."""
        deadline = time.monotonic() + seconds
        while word not in self.output() and self.process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{word!r} was not printed within {seconds:g} s")
            self.sandbox.note_runs()
            time.sleep(0.05)

    def wait(self) -> int | None:
        """The exit code; None for a run that had to be killed."""
        deadline = time.monotonic() + LONGEST_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                return None
            self.sandbox.note_runs()
            time.sleep(0.05)
        return self.process.returncode


def _shared_memory(since: float) -> list[str]:
    """Names with our word in them that were made since then."""
    names = []
    for path in Path("/dev/shm").glob("*pretune*"):
        try:
            if path.stat().st_ctime >= since:
                names.append(path.name)
        except FileNotFoundError:
            continue
    return names


def _groups(run_ids: set[str]) -> list[Path]:
    """Control groups of these runs."""
    places = set()
    for controller in ("memory", "cpuacct"):
        if (own := cgroups.find_group(controller)) is not None:
            places |= {own.path, own.path.parent}
    return [group for place in places for run in run_ids for group in place.glob(f"pretune-{run}*")]
