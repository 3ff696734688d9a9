"""Asks the app's own interpreter what a gunicorn.conf.py says: it is Python, and runs there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.value import Setting
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.interpreter import BOOTSTRAP, read_within

SECONDS = 20.0
_CLASS = "worker_class = "


def ask(
    place: str,
    shown: str,
    *,
    chdir: Path,
    python: Path,
    environ: Mapping[str, str],
    cores: int,
    workspace: Workspace,
) -> Said | str:
    """``place``: a path or ``python:MODULE``; ``shown``: its name in reports. The answer, or a
    sentence that says why there is none. Raises TimeoutError with one when it did not end."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as answer:
        process = subprocess.Popen(
            [
                str(python), str(BOOTSTRAP), "configured", place, "--chdir", str(chdir),
                "--cores", str(cores), "--out-fd", str(write),
            ],
            cwd=chdir,
            env=workspace.marked(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write,),
            start_new_session=True,
        )  # fmt: skip
        workspace.spawned(process.pid)
        os.close(write)
        text = read_within(process, answer, SECONDS)
    workspace.forget_if_empty(process.pid)
    if text is None:
        raise TimeoutError(f"{shown} did not end within {SECONDS:.0f} s and was not read")
    try:
        # the first answer counts: a file that forks gives two
        decoded: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        return f"{shown} ended the process that read it"
    if not decoded["ok"]:
        last = [line for line in str(decoded["message"]).splitlines() if line.strip()][-1:]
        return f"{shown} cannot be used: {(last or [''])[0].strip()}"
    return read_answer(decoded, shown, cores)


def read_answer(answer: Mapping[str, Any], shown: str, cores: int) -> Said:
    """The child's answer by gunicorn's names."""
    lines = answer["lines"]

    def where(name: str) -> str:
        return f"{shown}:{lines[name]}" if name in lines else shown

    settings = {
        name: Setting(value, where(name), _rests(answer["rests"].get(name, {}), cores))
        for name, value in answer["settings"].items()
        if name != "wsgi_app"
    }
    unknown = [f"{name} ({where(name)})" for name in answer["unknown"]]
    for text in answer["foreign"]:
        if text.startswith(_CLASS):
            why = f"{text.removeprefix(_CLASS)} is not understood"
            settings["worker_class"] = Setting(None, where("worker_class"), why)
        else:
            unknown.append(f"{text.partition(' ')[0]} ({where(text.partition(' ')[0])})")
    application = str(answer["settings"].get("wsgi_app") or "")
    return Said(settings, tuple(unknown), (), application)


def _rests(on: Mapping[str, Any], cores: int) -> str:
    conditions = [f"on {cores} core{'s' * (cores != 1)}"] if on.get("cores") else []
    conditions += [f"unless ${name} is set" for name in on.get("missed", ())]
    return ", ".join(conditions)
