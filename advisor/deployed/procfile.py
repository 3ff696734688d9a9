"""Procfile: a line for each process, of which ``web`` takes the requests."""

from __future__ import annotations

import re

from pretune.advisor.deployed.value import Command, Reading

_LINE = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(.+)")
# Names under which people run what serves; any other is a queue, a release, a clock.
SERVING = ("web", "www", "server", "app", "api", "django", "flask", "backend", "http")


def read(file: str, text: str) -> Reading:
    lines = [
        (number, match[1], match[2])
        for number, line in enumerate(text.splitlines(), 1)
        if (match := _LINE.fullmatch(line.strip()))
    ]
    if not lines and text.strip():
        return Reading(problems=(f"{file} has no line like web: gunicorn app",))
    serving = [line for name in SERVING for line in lines if line[1] == name]
    return Reading(
        tuple(Command(file, name, ((number, text),), text=text) for number, name, text in serving)
    )
