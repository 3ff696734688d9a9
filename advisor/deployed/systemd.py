"""A systemd unit: ExecStart, Environment, WorkingDirectory, MemoryMax. Source: systemd.syntax(7).

systemd is no shell: it splits words, knows ``$NAME`` and ``${NAME}``, and writes ``%%`` for ``%``.
"""

from __future__ import annotations

import re
import shlex

from pretune.advisor.deployed.templates import filled
from pretune.advisor.deployed.value import AMOUNT, Command, Fact, Reading

_PREFIX = re.compile(r"[@:+!|-]+")
# what a unit may say of memory and processors, as information
_FACTS = {"MemoryMax": "memory limit", "MemoryHigh": "memory limit", "CPUQuota": "CPU quota"}


def read(file: str, text: str) -> Reading:
    environ: dict[str, tuple[str, str]] = {}
    facts: list[Fact] = []
    started: list[tuple[str, tuple[tuple[int, str], ...]]] = []
    directory = ""
    env_files: list[str] = []
    section = ""
    for lines, line in _logical(filled(text)):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if section != "Service" or not equals:
            continue
        if key == "ExecStart":
            started = [*started, (value, lines)] if value else []  # an empty one forgets the rest
        elif key == "Environment":
            environ |= _environment(value, f"{file}:{lines[0][0]}")
        elif key == "EnvironmentFile":
            env_files = [*env_files, value.lstrip("-")] if value else []
        elif key == "WorkingDirectory":
            directory = value.lstrip("-")
        elif key in _FACTS and AMOUNT.fullmatch(value):  # not infinity
            facts.append(Fact(_FACTS[key], value, f"{file}:{lines[0][0]}"))
    commands = tuple(
        Command(
            file,
            file.rpartition("/")[2].removesuffix(".j2").removesuffix(".service"),
            lines,
            text=_PREFIX.sub("", value, count=1).replace("%%", "%")
            if _PREFIX.match(value)
            else value.replace("%%", "%"),
            environ=environ,
            directory=directory,
            facts=tuple(facts),
            env_files=tuple(env_files),
        )
        for value, lines in started
    )
    return Reading(commands)


def _environment(value: str, where: str) -> dict[str, tuple[str, str]]:
    try:
        pairs = (word.partition("=") for word in shlex.split(value))
        return {name: (text, where) for name, equals, text in pairs if equals}
    except ValueError:
        return {}


def _logical(text: str) -> list[tuple[tuple[tuple[int, str], ...], str]]:
    """Each line with its continuations; comments may stand between them."""
    logical = []
    held: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(("#", ";")) or (not line.strip() and not held):
            continue
        held.append((number, line))
        if line.rstrip().endswith("\\"):
            continue
        joined = " ".join(part.strip().removesuffix("\\") for _, part in held)
        logical.append((tuple(held), joined.strip()))
        held = []
    return logical
