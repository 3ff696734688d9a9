"""Imports the target in a child of the app's interpreter and reads what it says of itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pretune.server
from pretune.advisor.failure import AppFailed
from pretune.advisor.workspace.directory import Workspace, log_tail

BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")
IMPORT_SECONDS = 60.0


def inspect(
    spec: str, chdir: Path, python: Path, environ: Mapping[str, str], workspace: Workspace
) -> dict[str, Any]:
    """Imports the target in a child of the app's interpreter. Raises AppFailed."""
    log = workspace.log("inspect")
    read, write = os.pipe()
    with log.open("wb") as output, os.fdopen(read, "rb") as answer:
        process = subprocess.Popen(
            [
                str(python),
                str(BOOTSTRAP),
                "inspect",
                spec,
                "--chdir",
                str(chdir),
                "--out-fd",
                str(write),
            ],
            cwd=chdir,
            env=workspace.marked(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(write,),
            start_new_session=True,
        )
        workspace.spawned(process.pid)
        os.close(write)
        text = read_within(process, answer, IMPORT_SECONDS)
    workspace.forget_if_empty(process.pid)
    tail = log_tail(log)
    if text is None:
        raise AppFailed(
            "import_hangs",
            f"importing {spec} did not end within {IMPORT_SECONDS:.0f} s",
            log_tail=tail,
        )
    if not text:
        code = process.returncode
        raise AppFailed(
            "import_died",
            f"the process that imported {spec} ended before it was done, {how_it_ended(code)}",
            log_tail=tail,
        )
    # the first answer counts: an app that forks while it is imported gives two
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    if not found["ok"]:
        raise AppFailed(found["kind"], found["message"], found.get("traceback", ""))
    return found


def how_it_ended(code: int) -> str:
    """Of a process: ``by SIGSEGV`` or ``with exit code 9``."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def read_within(process: subprocess.Popen[bytes], answer: IO[bytes], seconds: float) -> str | None:
    """What the child wrote before it ended; None when it did not end in time."""
    chunks: list[bytes] = []
    reader = threading.Thread(target=lambda: chunks.append(answer.read()), daemon=True)
    reader.start()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
    reader.join(2.0)  # a grandchild that inherited the pipe must not hold us
    return b"".join(chunks).decode(errors="replace")
