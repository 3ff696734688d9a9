"""The process that cleans up after a run, however the run ends.

tune holds the write end of a pipe; the minder holds the read end and learns over it what the run
started and made. When the pipe closes (success, error, Ctrl-C or SIGKILL of tune: the kernel
closes it in each case) the minder ends and removes everything, in this order:

1. the sessions of trials (server, driver) are killed;
2. the user's teardown command runs;
3. the sessions of the setup hook (databases, upstreams) are killed, then every process that still
   carries this run's mark in its environment;
4. what is left in the run's control groups is killed, wherever it hid, and groups and directories
   are removed.

A parent-death signal would not do: it follows the thread that spawned, and a change of uid drops
it. The minder leads a session of its own, so a Ctrl-C at the terminal never reaches it. Standard
library only, started with ``-I``: it is up in some 20 ms, before anything else is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MARK = "PRETUNE_RUN"
TEARDOWN_SECONDS = 30.0
KILL_SECONDS = 5.0
CANNOT_RUN, TIMED_OUT = 127, 124  # as a shell and timeout(1) say it
TRIAL, SERVICE = "trial", "service"


class MinderGone(RuntimeError):
    """Nothing may be started any more: nobody would end it."""


class Minder:
    """tune's side: what is registered here is gone when ``close`` returns, or when tune dies."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._told = _Registry()  # should the minder itself be killed
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        assert self._process.stdout is not None
        # Only a minder that has switched off its signals may be relied on.
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that cleans up after the run did not start")

    def _tell(self, **message: Any) -> None:
        self._told.learn(message)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MinderGone("the process that cleans up after the run was killed") from None

    def session(self, pid: int, kind: str = TRIAL) -> None:
        """Processes of the session led by ``pid`` end with the run."""
        self._tell(session=pid, kind=kind)

    def forget_session(self, pid: int) -> None:
        """The session is empty: its number may be somebody else's from now on."""
        self._tell(forget=pid)

    def teardown(self, argv: list[str], cwd: Path, env: dict[str, str], log: Path) -> None:
        self._tell(teardown={"argv": argv, "cwd": str(cwd), "env": env, "log": str(log)})

    def directory(self, path: Path) -> None:
        self._tell(directory=str(path))

    def cgroup(self, path: Path) -> None:
        self._tell(cgroup=str(path))

    def close(self) -> dict[str, Any]:
        """Cleans up and says how it went: ``{"teardown": exit code or None, "killed": [pid]}``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        output = self._process.stdout.read()
        self._process.stdout.close()
        self._process.wait()
        return json.loads(output) if output else clean_up(self._told, self._run_id)


def session_members(leader: int) -> list[int]:
    """Pids of the living processes in the session ``leader``.

    Session 0 holds what a container was given from outside, 1 what init started: nobody's run.
    """
    if leader <= 1:
        return []
    return [pid for pid, (session, state) in _stats() if session == leader and state != "Z"]


def _stats() -> list[tuple[int, tuple[int, str]]]:
    stats = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError:
            continue
        # the name may hold spaces and parentheses: fields start after the last one
        fields = stat[stat.rindex(b")") + 2 :].split()
        stats.append((int(entry), (int(fields[3]), fields[0].decode())))
    return stats


def _marked(mark: bytes) -> list[int]:
    pids = []
    for pid, (_, state) in _stats():
        if pid == os.getpid() or state == "Z":
            continue
        try:
            environ = Path("/proc", str(pid), "environ").read_bytes()
        except OSError:
            continue
        if mark in environ.split(b"\0"):
            pids.append(pid)
    return pids


class _Registry:
    """A record of what tune has reported so far."""

    def __init__(self) -> None:
        self.sessions: dict[int, str] = {}
        self.teardowns: list[dict[str, Any]] = []
        self.directories: list[str] = []
        self.cgroups: list[str] = []

    def learn(self, message: dict[str, Any]) -> None:
        if "session" in message:
            self.sessions[message["session"]] = message["kind"]
        elif "forget" in message:
            self.sessions.pop(message["forget"], None)
        elif "teardown" in message:
            self.teardowns.append(message["teardown"])
        elif "directory" in message:
            self.directories.append(message["directory"])
        elif "cgroup" in message:
            self.cgroups.append(message["cgroup"])


def _listen(registry: _Registry) -> None:
    """Until the pipe closes. A last line cut short by tune's death is dropped."""
    buffer = b""
    while chunk := os.read(0, 65536):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            registry.learn(json.loads(line))


def _kill(find: Any) -> list[int]:
    """Kills what ``find()`` returns until it returns nothing: a process may fork meanwhile."""
    killed: list[int] = []
    deadline = time.monotonic() + KILL_SECONDS
    while (pids := find()) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        time.sleep(0.02)
    return killed


def _run_teardown(hook: dict[str, Any]) -> int:
    try:
        with open(hook["log"], "ab") as log:
            process = subprocess.Popen(
                hook["argv"],
                cwd=hook["cwd"],
                env=hook["env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError:
        return CANNOT_RUN
    try:
        return process.wait(TEARDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    finally:
        _kill(lambda: session_members(process.pid))


def clean_up(registry: _Registry, run_id: str) -> dict[str, Any]:
    killed = []
    codes = []
    by_kind = {
        kind: [pid for pid, k in registry.sessions.items() if k == kind]
        for kind in (TRIAL, SERVICE)
    }
    for pid in by_kind[TRIAL]:
        killed += _kill(lambda pid=pid: session_members(pid))
    for hook in registry.teardowns:
        codes.append(_run_teardown(hook))
    for pid in by_kind[SERVICE]:
        killed += _kill(lambda pid=pid: session_members(pid))
    killed += _kill(lambda: _marked(f"{MARK}={run_id}".encode()))
    for path in registry.cgroups:
        killed += _kill(lambda path=path: _cgroup_members(path))
        _remove_cgroup(path)
    for path in registry.directories:
        shutil.rmtree(path, ignore_errors=True)
    return {"teardown": next((c for c in codes if c != 0), 0) if codes else None, "killed": killed}


def _cgroup_members(path: str) -> list[int]:
    try:
        return [int(pid) for pid in Path(path, "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _remove_cgroup(path: str) -> None:
    """A group can be removed only once the kernel has reaped its last process."""
    deadline = time.monotonic() + KILL_SECONDS
    while os.path.isdir(path) and time.monotonic() < deadline:
        try:
            os.rmdir(path)
        except OSError:
            time.sleep(0.02)


def main(run_id: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"ready\n")
    registry = _Registry()
    _listen(registry)
    result = clean_up(registry, run_id)
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(result).encode())


if __name__ == "__main__":
    main(sys.argv[1])
