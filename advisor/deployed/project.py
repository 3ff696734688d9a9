"""The files beside the one that is read, as the readers ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.value import Command


class Project(Protocol):
    """Names are as the deployment sees them."""

    cores: int

    def find(self, name: str, command: Command) -> str | None:
        """Find a file that a command names; None if the project has none."""

    def matching(self, pattern: str, command: Command) -> tuple[str, ...]:
        """The files whose paths end with what ``pattern`` matches, the nearest first."""

    def text(self, file: str) -> str | None:
        """Return a file's text, by the name that ``find`` gave."""

    def conf(self, place: str, command: Command, environ: Mapping[str, str]) -> Said | str:
        """Ask what a gunicorn.conf.py (or ``python:MODULE``) says, or why that is not known."""

    def spend(self, characters: int) -> bool:
        """Return whether so much more of shell text may be followed."""

    def follow(self, file: str) -> None:
        """A file that a command names says nothing by itself any more."""
