"""The reverse proxy that ``--front`` asks for: its program, and the directories it will serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.advisor.failure import Refused
from pretune.server.adapters import nginx, nginx_conf
from pretune.server.adapters.nginx_conf import Static

NAMES = (nginx_conf.NAME,)


@dataclass(frozen=True)
class Installed:
    """``statics``: what it serves without asking the app."""

    binary: Path
    version: str
    statics: tuple[Static, ...] = ()
    name: str = nginx_conf.NAME

    @property
    def label(self) -> str:
        return f"{self.name} {self.version}".strip()


def find_installed(asked: str | None, statics: tuple[Static, ...]) -> Installed | None:
    """Finds nginx; None where no ``--front`` was asked for. Raises Refused without a program."""
    if asked is None:
        return None
    binary = nginx.find()
    if binary is None:
        raise Refused(f"--front {asked}: nginx is not installed; {nginx_conf.INSTALL}")
    return Installed(binary, nginx.version(binary), statics)


def choose_statics(inspected: Mapping[str, Any], given: tuple[Static, ...]) -> tuple[Static, ...]:
    """The static directories nginx serves: the user's, else those of the app's settings that exist.

    ``inspected``: the inspection's answer. An empty directory is left to the app. Of two at one
    address the first counts, as in the app: nginx would not start with both.
    """
    if given:
        return given
    statics: dict[str, Static] = {}
    for entry in inspected.get("statics", ()):
        directory = Path(entry["directory"])
        try:
            static = Static(entry["url"], str(directory))
            full = any(directory.iterdir())
        except (ValueError, OSError):
            continue
        if full:
            statics.setdefault(static.url, static)
    return tuple(statics.values())
