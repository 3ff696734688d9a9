"""nixpacks.toml: the start command. Source: nixpacks.com/docs/configuration/file."""

from __future__ import annotations

import tomllib

from pretune.advisor.deployed.toml_lines import line_of
from pretune.advisor.deployed.value import Command, Reading


def read(file: str, text: str) -> Reading:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return Reading(problems=(f"{file} is no TOML that is understood here",))
    start, variables = document.get("start"), document.get("variables")
    command = start.get("cmd") if isinstance(start, dict) else None
    if not isinstance(command, str):
        return Reading()
    line = line_of(text, "cmd")
    environ = {
        name: (str(value), f"{file}:{line_of(text, name)}")
        for name, value in (variables if isinstance(variables, dict) else {}).items()
    }
    held = text.splitlines()[line - 1] if text else ""
    return Reading((Command(file, "", ((line, held),), text=command, environ=environ),))
