"""Imports the target in a child of the app's interpreter and reads what it says of itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretune.advisor.failure import AppFailed
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.interpreter import BOOTSTRAP, describe_exit, read_within
from pretune.advisor.workspace.logs import log_tail
from pretune.server.adapters.launch import BOOT_SECONDS
from pretune.server.process.importing import DESCRIPTORS_CLOSED


def inspect(
    spec: str,
    chdir: Path,
    python: Path,
    environ: Mapping[str, str],
    workspace: Workspace,
    seconds: float,
) -> dict[str, Any]:
    """Import the target in a child of the app's interpreter. Raises AppFailed, also after so many
    ``seconds``."""
    log = workspace.log("inspect")
    read, write = os.pipe()
    with log.open("ab") as output, os.fdopen(read, "rb") as answer:
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
        text = read_within(process, answer, seconds)
    workspace.forget_if_empty(process.pid)
    tail = log_tail(log)
    if text is None:
        raise AppFailed(
            "import_hangs",
            f"importing {spec} did not end within {seconds:.0f} s{_of_budget(seconds)}",
            log_tail=tail,
        )
    if not text:
        code = process.returncode
        if code == DESCRIPTORS_CLOSED:
            raise AppFailed(
                "import_closed_descriptors",
                f"importing {spec} closes descriptors that are not its own (os.close, "
                "os.closerange): no server keeps its sockets",
                log_tail=tail,
            )
        raise AppFailed(
            "import_died",
            f"the process that imported {spec} ended before it was done, {describe_exit(code)}",
            log_tail=tail,
        )
    # the first answer counts: an app that forks while it is imported gives two
    decoded: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    if not decoded["ok"]:
        raise AppFailed(decoded["kind"], decoded["message"], decoded.get("traceback", ""))
    return decoded


def _of_budget(seconds: float) -> str:
    """Say where the time budget allowed no more; "" where it did."""
    if seconds >= BOOT_SECONDS:
        return ""
    return ", and the time budget has no more: if it only is slow, give a longer --time-budget"
