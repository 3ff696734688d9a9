"""supervisord.conf: the command of each program. Source: supervisord.org/configuration.html.

It is no shell: words are split, and ``%(ENV_NAME)s`` is the manager's environment.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from pretune.advisor.deployed.ini import sections
from pretune.advisor.deployed.value import Command, Reading

PATTERNS = ("supervisord.conf", "supervisor.conf", "supervisor*.conf", "supervisor*/*.conf",
            "supervisor*.ini", "supervisor*/*.ini")  # fmt: skip
_OURS = re.compile(r"%\(ENV_(\w+)\)s")
_PAIR = re.compile(r"(\w+)\s*=\s*(\"[^\"]*\"|'[^']*'|[^,]*)")


def read(file: str, text: str) -> Reading:
    around: dict[str, tuple[str, str]] = {}
    commands: list[Command] = []
    includes: list[str] = []
    for section in sections(text):
        pairs, lines = section.pairs, section.lines
        environ = _environment(pairs.get("environment", ""), file, lines.get("environment", ()))
        if section.name == "supervisord":
            around = environ
        elif section.name == "include":
            includes += pairs.get("files", "").split()
        elif section.name.startswith(("program:", "fcgi-program:")) and pairs.get("command"):
            command = _OURS.sub(r"${\1}", pairs["command"]).replace("%%", "%")
            commands.append(
                Command(
                    file,
                    section.name.partition(":")[2].strip(),
                    lines["command"],
                    text=f"exec {command}" if _is_plain(command) else command,
                    environ=environ,
                    directory=_OURS.sub(r"${\1}", pairs.get("directory", "")),
                )
            )
    found = tuple(_with(command, around) for command in commands)
    return Reading(found, includes=tuple(includes))


def _is_plain(command: str) -> bool:
    """Not for a shell, which it would name."""
    return not re.search(r"[;&|<>`]", command)


def _with(command: Command, around: Mapping[str, tuple[str, str]]) -> Command:
    return Command(
        command.file, command.name, command.lines, text=command.text,
        environ={**around, **command.environ}, directory=command.directory,
    )  # fmt: skip


def _environment(
    value: str, file: str, lines: tuple[tuple[int, str], ...]
) -> dict[str, tuple[str, str]]:
    """``A="1",B='2'``."""
    where = f"{file}:{lines[0][0]}" if lines else file
    found = {}
    for name, said in _PAIR.findall(value):
        try:
            words = shlex.split(_OURS.sub(r"${\1}", said))
        except ValueError:
            continue
        found[name] = (" ".join(words), where)
    return found
