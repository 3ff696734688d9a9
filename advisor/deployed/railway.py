"""railway.json, railway.toml: the start command of the service. Source: docs.railway.com."""

from __future__ import annotations

import json
import tomllib

from pretune.advisor.deployed.toml_lines import line_of
from pretune.advisor.deployed.value import Command, Reading


def read(file: str, text: str) -> Reading:
    try:
        document = json.loads(text) if file.endswith(".json") else tomllib.loads(text)
    except (ValueError, RecursionError):
        return Reading(problems=(f"{file} is not understood",))
    deploy = document.get("deploy") if isinstance(document, dict) else None
    build = document.get("build") if isinstance(document, dict) else None
    started = deploy.get("startCommand") if isinstance(deploy, dict) else None
    named = build.get("dockerfilePath") if isinstance(build, dict) else None
    if not isinstance(started, str) or not started.strip():
        if not isinstance(named, str):
            return Reading()
        return Reading((Command(file, "", ((line_of(text, "dockerfilePath"), ""),), built=named),))
    line = line_of(text, "startCommand")
    held = text.splitlines()[line - 1] if text else ""
    return Reading((Command(file, "", ((line, held),), text=started,
                            built=str(named or "Dockerfile")),))  # fmt: skip
