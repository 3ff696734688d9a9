"""The processes that a process manager starts, from its own files: supervisord, circus, honcho, s6,
runit. One row a manager."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pretune.advisor.deployed import circus, procfile, run_script, supervisor
from pretune.advisor.deployed.invocation import Manager
from pretune.advisor.deployed.project import Project
from pretune.advisor.deployed.shell import Word
from pretune.advisor.deployed.value import Command, Reading

_MOST_FILES = 20


@dataclass(frozen=True)
class _Row:
    """``options``: those that name the file; ``usual``: where it is looked for, as patterns;
    ``every``: all files count, not the nearest."""

    read: Callable[[str, str], Reading]
    options: tuple[str, ...]
    usual: tuple[str, ...]
    every: bool = False
    positional: str = ""  # how a file that needs no option ends


_RUN_SCRIPTS = _Row(run_script.read, (), run_script.PATTERNS, every=True)
_ROWS = {
    "supervisord": _Row(supervisor.read, ("-c", "--configuration"), supervisor.PATTERNS),
    "circusd": _Row(circus.read, (), circus.PATTERNS, positional=".ini"),
    "honcho": _Row(procfile.read, ("-f", "--procfile"), ("Procfile",)),
    "foreman": _Row(procfile.read, ("-f", "--procfile"), ("Procfile",)),
    "s6-svscan": _RUN_SCRIPTS,
    "init": _RUN_SCRIPTS,
    "runsvdir": _RUN_SCRIPTS,
}


def managed(manager: Manager, command: Command, project: Project) -> Reading:
    row = _ROWS[manager.name]
    named = _named(row, manager.arguments)
    if named is not None:
        file = project.find(named, command)
        if file is None:
            said = f"{command.where} names {named}, which is not in the project"
            return Reading(problems=(said,))
        files: tuple[str, ...] = (file,)
    else:
        found = [f for pattern in row.usual for f in project.matching(pattern, command)]
        files = tuple(dict.fromkeys(found))[: _MOST_FILES if row.every else 1]
    if not files:
        return Reading(problems=(f"{command.where} runs {manager.name}, whose file is not here",))
    commands: list[Command] = []
    problems: list[str] = []
    queue = list(files)
    for file in queue:
        text = project.text(file)
        project.follow(file)
        if text is None:
            problems.append(f"{file} leads out of the project, is too large, or cannot be read")
            continue
        reading = row.read(file, text)
        commands += reading.commands
        problems += reading.problems
        for pattern in reading.includes:
            more = project.matching(pattern, Command(file, "", ()))
            queue += [each for each in more if each not in queue][: _MOST_FILES - len(queue)]
    wanted = [w.text for w in manager.arguments if not w.text.startswith("-")]
    if manager.name in ("honcho", "foreman") and (wanted := [w for w in wanted if w != "start"]):
        commands = [each for each in commands if each.name in wanted] or commands
    return Reading(tuple(commands), tuple(problems))


def _named(row: _Row, arguments: tuple[Word, ...]) -> str | None:
    texts = [word.text for word in arguments]
    for i, text in enumerate(texts):
        for option in row.options:
            if text == option and i + 1 < len(texts):
                return texts[i + 1]
            if text.startswith(f"{option}=") or (len(option) == 2 and text.startswith(option)
                                                 and len(text) > 2):  # fmt: skip
                return text.removeprefix(option).removeprefix("=")
        if row.positional and text.endswith(row.positional):
            return text
    return None
