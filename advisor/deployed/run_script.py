"""A ``run`` script of s6 or runit: what it executes. Sources: skarnet.org/software/s6, smarden.org.

s6-overlay's ``type`` and ``dependencies.d`` say nothing of how it serves.
"""

from __future__ import annotations

from pretune.advisor.deployed.value import Command, Reading

PATTERNS = ("services.d/*/run", "s6-rc.d/*/run", "service/*/run", "sv/*/run", "s6/*/run",
            "services/*/run", "runit/*/run", "runit/*/*/run")  # fmt: skip


def read(file: str, text: str) -> Reading:
    lines = tuple(enumerate(text.splitlines(), 1))
    name = file.split("/")[-2] if "/" in file else ""
    if not text.startswith("#!") or "python" in text.partition("\n")[0]:
        return Reading()
    if "execlineb" in text.partition("\n")[0]:
        # a chain of programs that each run the rest: no line ends it
        body = " ".join(line for _, line in lines[1:] if not line.lstrip().startswith("#"))
        return Reading((Command(file, name, lines[1:], text=f"exec {body}"),))
    started = [i for i, (_, line) in enumerate(lines) if line.lstrip().startswith("exec ")]
    return Reading((Command(file, name, lines[started[-1] if started else 0 :], text=text),))
