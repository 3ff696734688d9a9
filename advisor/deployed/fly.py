"""fly.toml: its processes, which replace the image's CMD.

Source: fly.io/docs/reference/configuration.
"""

from __future__ import annotations

import tomllib
from typing import Any

from pretune.advisor.deployed.procfile import SERVING
from pretune.advisor.deployed.toml_lines import line_of
from pretune.advisor.deployed.value import Command, Fact, Reading


def read(file: str, text: str) -> Reading:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return Reading(problems=(f"{file} is no TOML that is understood here",))
    environ = {
        name: (str(value), f"{file}:{line_of(text, name)}")
        for name, value in _table(document.get("env")).items()
        if not isinstance(value, dict | list)
    }
    facts = _facts(file, text, document)
    build = _table(document.get("build"))
    built, target = str(build.get("dockerfile") or "Dockerfile"), str(build.get("build-target", ""))
    processes = _table(document.get("processes"))
    service = _table(document.get("http_service")).get("processes")
    wanted = [str(name) for name in service] if isinstance(service, list) else list(SERVING)
    experimental = _table(document.get("experimental"))
    command = experimental.get("cmd")
    started = [(name, processes[name]) for name in wanted if isinstance(processes.get(name), str)]
    if not started and isinstance(command, str | list):
        started = [("cmd", command)]
    if not started:
        line = ((1, text.partition("\n")[0]),)
        return Reading(
            (Command(file, "", line, environ=environ, facts=facts, built=built, target=target),)
        )
    return Reading(
        tuple(
            Command(
                file,
                name,
                ((line_of(text, name), str(said)),),
                text=said if isinstance(said, str) else "",
                words=() if isinstance(said, str) else tuple(map(str, said)),
                environ=environ,
                facts=facts,
                built=built,
                target=target,
                replaces="CMD",
            )
            for name, said in started
        )
    )


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _facts(file: str, text: str, document: dict[str, Any]) -> tuple[Fact, ...]:
    machines = document.get("vm")
    for machine in machines if isinstance(machines, list) else [machines]:
        memory = _table(machine).get("memory_mb") or _table(machine).get("memory")
        if isinstance(memory, int) and memory > 0:
            return (Fact("memory limit", f"{memory}m", f"{file}:{line_of(text, 'memory')}"),)
    return ()
