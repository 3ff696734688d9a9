"""Dockerfile: what the image starts. Sources: docs.docker.com/reference/dockerfile.

The named stage counts, else the last one, with the stages that it is made from. ENTRYPOINT and CMD
together are the command: the CMD is the ENTRYPOINT's arguments where that is in the exec form, and
nothing where it is in the shell form.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pretune.advisor.deployed.shell import Surroundings, Word, expand
from pretune.advisor.deployed.value import Command, Reading

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_FLAG = re.compile(r"--[\w-]+(=\S*)?\s+")
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")
# stages that nobody deploys
_DEVELOPS = re.compile(
    r"(^|[-_.])(dev|devel|development|tests?|testing|ci|debug|lint|docs)($|[-_.])"
)
_MOST_INSTRUCTIONS = 2000

Lines = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class _Started:
    """``words`` of the exec form, else ``text`` of the shell form."""

    text: str
    words: tuple[str, ...]
    lines: Lines


@dataclass(frozen=True)
class _Stage:
    environ: dict[str, tuple[str, str]] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    directory: str = ""
    entrypoint: _Started | None = None
    cmd: _Started | None = None
    cmd_is_own: bool = False  # not of the stage it is made from
    base: str = ""


def read(file: str, text: str, target: str = "", given: Mapping[str, str] | None = None) -> Reading:
    """``target``: the stage that is built; "": the last one, or the one before where the last is
    for tests or development and is made from it. ``given``: the build's arguments."""
    stages: dict[str, _Stage] = {}
    stage = _Stage()
    here = ""
    has_stage = False
    for number, (name, rest, lines) in enumerate(_instructions(text)):
        if number == _MOST_INSTRUCTIONS:
            return Reading(problems=(f"{file} is too long to be read",))
        if name == "FROM":
            has_stage = True
            words = [w for w in rest.split() if not w.startswith("--")] or [""]
            stage = stages.get(words[0].lower(), _Stage(base=words[0]))
            stage = replace(stage, cmd_is_own=False)
            if len(words) == 3 and words[1].lower() == "as":
                stages[words[2].lower()] = stage
            here = words[2].lower() if len(words) == 3 else ""
        elif has_stage:
            stage = _after(stage, name, rest, lines, file, given or {})
            if here:
                stages[here] = stage
    if not has_stage:
        return Reading(problems=(f"{file} has no FROM",) if text.strip() else ())
    if target:
        if target.lower() not in stages:
            return Reading(problems=(f"{file} has no stage {target}",))
        stage = stages[target.lower()]
    elif here and _DEVELOPS.search(here):
        others = [name for name in stages if not _DEVELOPS.search(name)]
        serving = [name for name in others if stages[name].cmd or stages[name].entrypoint]
        stage = stages[serving[-1]] if serving else stage
    command = _command(file, stage)
    if command is None and any(name in stage.base for name in ("gunicorn", "uvicorn", "uwsgi")):
        sentence = f"{file} starts what its base image {stage.base} starts, which was not read"
        return Reading(problems=(sentence,))
    return Reading((command,) if command else ())


def _after(
    stage: _Stage, name: str, rest: str, lines: Lines, file: str, build: Mapping[str, str]
) -> _Stage:
    if name == "ENV":
        pairs = {
            key: (value, _place(file, lines, key)) for key, value in _pairs(rest, stage).items()
        }
        return replace(stage, environ={**stage.environ, **pairs})
    if name == "ARG":
        key, equals, value = rest.strip().partition("=")
        given = {key: value.strip("\"'")} if equals else {}
        given |= {key: build[key]} if key in build else {}
        return replace(stage, arguments={**stage.arguments, **given})
    if name == "WORKDIR":
        directory = _expanded(rest.strip().strip("\"'"), stage)
        joined = directory if directory.startswith("/") else f"{stage.directory}/{directory}"
        return replace(stage, directory=joined.rstrip("/") or "/")
    if name == "ENTRYPOINT":
        # an ENTRYPOINT takes the CMD of its base image away
        cmd = stage.cmd if stage.cmd_is_own else None
        return replace(stage, entrypoint=_started(rest, lines), cmd=cmd)
    if name == "CMD":
        return replace(stage, cmd=_started(rest, lines), cmd_is_own=True)
    return stage


def _place(file: str, lines: Lines, word: str) -> str:
    return f"{file}:{next((n for n, line in lines if word in line), lines[0][0])}"


def _expanded(text: str, stage: _Stage) -> str:
    variables = {**stage.arguments, **{name: value for name, (value, _) in stage.environ.items()}}
    return Word.from_marked(expand(text, Surroundings(variables))).text


def _pairs(rest: str, stage: _Stage) -> dict[str, str]:
    """``ENV A=1 B="2 3"``, or the old ``ENV A 1``."""
    first = rest.split(None, 1)
    if first and "=" not in first[0]:
        return {first[0]: _expanded(first[1].strip(), stage)} if len(first) == 2 else {}
    try:
        words = shlex.split(rest)
    except ValueError:
        return {}
    pairs = (word.partition("=") for word in words)
    return {key: _expanded(value, stage) for key, equals, value in pairs if equals}


def _started(rest: str, lines: Lines) -> _Started:
    rest = rest.strip()
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except (ValueError, RecursionError):
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return _Started("", tuple(words), lines)
    return _Started(rest, (), lines)  # what is no JSON array is a text for the shell


def _command(file: str, stage: _Stage) -> Command | None:
    entrypoint, cmd = stage.entrypoint, stage.cmd
    started = entrypoint or cmd
    if started is None:
        return None
    made = Command(
        file, "", started.lines, started.text, started.words, stage.environ, stage.directory
    )
    if entrypoint is None or not entrypoint.words:
        return made
    made = replace(made, entrypoint=entrypoint.words, open=cmd is None)
    if cmd is None:
        return made
    more = cmd.words or ("/bin/sh", "-c", cmd.text)
    return replace(made, words=(*entrypoint.words, *more), lines=(*entrypoint.lines, *cmd.lines))


def _instructions(text: str) -> list[tuple[str, str, Lines]]:
    """(name, the rest in one line, its lines), comments and heredocs left out."""
    instructions = []
    held: list[tuple[int, str]] = []
    until = ""
    escape = "`" if re.match(r"(?i)\s*#\s*escape\s*=\s*`", text) else "\\"
    for number, line in enumerate(text.splitlines(), 1):
        if until:
            until = "" if line.strip() == until else until
            continue
        if line.lstrip().startswith("#") or (held and not line.strip()):
            continue
        held.append((number, line))
        if line.rstrip().endswith(escape):
            continue
        joined = " ".join(part.rstrip().removesuffix(escape) for _, part in held)
        if matched := _INSTRUCTION.fullmatch(joined):
            name, rest = matched[1].upper(), matched[2]
            if name in ("RUN", "COPY", "ADD") and (heredoc := _HEREDOC.search(rest)):
                until = heredoc[1]
            while name not in ("ENV", "ARG", "CMD", "ENTRYPOINT") and (flag := _FLAG.match(rest)):
                rest = rest[flag.end() :]
            instructions.append((name, rest, tuple(held)))
        held = []
    return instructions
