"""Processes that stay behind when a setup hook has ended, and how to end them later.

They stay in the session of the hook, because its caller ends that session; they write to files,
because a pipe held open would keep the caller waiting. Nobody notes their pids: a note can be
lost between the fork and the write, and a pid can belong to another by the time it is read.
Instead each carries a path of its own run among its arguments, its *mark*, which every user of
the machine may read in /proc, and stopping means looking for the mark.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

_children: list[subprocess.Popen[bytes]] = []  # of this process: whoever ends them reaps them


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    user: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in our session with its output in `log`; as `user` alone if one is given."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/" if user is not None else None,
            env=environment,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )
    _children.append(child)
    return child


def arguments(pid: int) -> list[str]:
    """The command line of `pid`; empty for a process that is gone, a zombie or the kernel's."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
    except OSError:
        return []


def parents() -> dict[int, int]:
    """The parent of every process there is."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                # The name, in brackets, may itself hold spaces and brackets.
                stat = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2]
                found[int(entry)] = int(stat.split()[1])
    return found


def marked(mark: str | Path) -> list[int]:
    """Every process with `mark` among its arguments, but neither ourselves nor our ancestors."""
    tree = parents()
    spared, pid = {0, 1}, os.getpid()
    while pid not in spared:
        spared.add(pid)
        pid = tree.get(pid, 0)
    return [pid for pid in tree if pid not in spared and str(mark) in arguments(pid)]


def descendants(roots: Collection[int]) -> list[int]:
    """The children of `roots`, their children, and so on."""
    tree = parents()
    found: list[int] = []
    generation = set(roots)
    while generation:
        generation = {pid for pid, parent in tree.items() if parent in generation}
        found += generation
    return found


def end(mark: str | Path, first: signal.Signals = signal.SIGTERM, patience_s: float = 3.0) -> None:
    """End the processes that carry `mark`, and wait until they and their children are gone.

    They get `first`, after `patience_s` SIGKILL, which their children get too. A process is held
    by a file descriptor from before it is looked at, so that no signal can reach another that
    has since been given the same pid.
    """
    with contextlib.ExitStack() as held:
        leaders = _hold(marked(mark), held)
        leaders = {pid: fd for pid, fd in leaders.items() if str(mark) in arguments(pid)}
        family = _hold(descendants(leaders), held)
        still = set(descendants(leaders))
        everyone = [*leaders.values(), *(fd for pid, fd in family.items() if pid in still)]
        _send(leaders.values(), first)
        if not wait(everyone, patience_s):
            _send(everyone, signal.SIGKILL)
            wait(everyone, patience_s)
    _children[:] = [child for child in _children if child.poll() is None]


def wait(descriptors: Collection[int], timeout_s: float) -> bool:
    """Whether all processes behind these descriptors have ended within `timeout_s`."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    left = len(descriptors)
    deadline = time.monotonic() + timeout_s
    while left and (remaining := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(remaining * 1000):
            poll.unregister(fd)
            left -= 1
    return not left


def _hold(pids: Collection[int], held: contextlib.ExitStack) -> dict[int, int]:
    """A descriptor of each process that is still there."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = os.pidfd_open(pid)
            held.callback(os.close, found[pid])
    return found


def _send(descriptors: Iterable[int], number: signal.Signals) -> None:
    for fd in descriptors:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
