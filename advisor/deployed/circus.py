"""circus.ini: the command of each watcher. Source: circus.readthedocs.io, Configuration."""

from __future__ import annotations

import re

from pretune.advisor.deployed.ini import sections
from pretune.advisor.deployed.value import Command, Fact, Reading

PATTERNS = ("circus.ini", "circus*.ini", "circus/*.ini")
_OURS = re.compile(r"\$\(circus\.env\.(\w+)\)")


def read(file: str, text: str) -> Reading:
    parts = list(sections(text))
    environ: dict[str, dict[str, tuple[str, str]]] = {}
    for section in parts:
        if section.name.startswith("env"):
            for name in (section.name.partition(":")[2] or "*").split(","):
                environ.setdefault(name.strip(), {}).update(
                    {
                        key: (_OURS.sub(r"${\1}", value), f"{file}:{section.lines[key][0][0]}")
                        for key, value in section.pairs.items()
                    }
                )
    commands = []
    for section in parts:
        pairs = section.pairs
        if not section.name.startswith("watcher:") or not pairs.get("cmd"):
            continue
        name = section.name.partition(":")[2].strip()
        count = pairs.get("numprocesses", "1")
        where = f"{file}:{section.lines.get('numprocesses', section.lines['cmd'])[0][0]}"
        lines = section.lines["cmd"] + section.lines.get("args", ())
        commands.append(
            Command(
                file,
                name,
                lines,
                text=_OURS.sub(r"${\1}", f"{pairs['cmd']} {pairs.get('args', '')}".strip()),
                environ={**environ.get("*", {}), **environ.get(name, {})},
                directory=pairs.get("working_dir", ""),
                facts=(Fact("processes", count, where),) if count != "1" else (),
            )
        )
    return Reading(tuple(commands))
