"""Background processes: found by their mark, ended with patience and then without."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from examples import processes

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"


def spawn(mark: Path, code: str, log: Path) -> processes.subprocess.Popen[bytes]:
    return processes.spawn([sys.executable, "-c", f"{code}\ntime.sleep(60)", str(mark)], log)


def test_only_the_marked_process_is_ended(tmp_path: Path) -> None:
    ours = spawn(tmp_path / "ours", "import time", tmp_path / "log")
    other = spawn(tmp_path / "ours-not", "import time", tmp_path / "log")
    try:
        processes.end(tmp_path / "ours")
        assert ours.wait(10) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = spawn(tmp_path / "mark", STUBBORN, log)
    try:
        deadline = time.monotonic() + 30
        while "up" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        processes.end(tmp_path / "mark", patience_s=0.1)
        assert stubborn.wait(10) == -signal.SIGKILL
    finally:
        stubborn.kill()
        stubborn.wait()


def test_its_children_are_waited_for_and_killed_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    parent = spawn(tmp_path / "mark", code, log)
    try:
        deadline = time.monotonic() + 30
        while not log.read_text().endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
        child = int(log.read_text())
        assert processes.descendants([parent.pid]) == [child]
        processes.end(tmp_path / "mark", patience_s=0.1)
        assert parent.wait(10) == -signal.SIGTERM
        assert processes.arguments(child) == []
    finally:
        parent.kill()
        parent.wait()


def test_with_nothing_marked_nothing_happens(tmp_path: Path) -> None:
    started = time.monotonic()
    processes.end(tmp_path / "mark", patience_s=60)
    assert time.monotonic() - started < 30


def test_neither_we_nor_our_ancestors_are_ever_found() -> None:
    parent = os.getppid()
    for mark in (processes.arguments(os.getpid())[0], processes.arguments(parent)[0]):
        assert not {1, os.getpid(), parent} & set(processes.marked(mark))
