"""Values that a deployment gives, and where it gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """``value`` None: it is not known here, ``note`` says why. ``where``: ``Procfile:1``, or whose
    default it is. ``note``: what the value rests on."""

    value: Any
    where: str
    note: str = ""

    @property
    def place(self) -> str:
        """``Procfile:1, unless $WEB_CONCURRENCY is set``."""
        return f"{self.where}, {self.note}" if self.note else self.where


@dataclass(frozen=True)
class Fact:
    """Something around the server that a file says, such as a memory limit, as it stands there."""

    name: str
    value: str
    where: str


AMOUNT = re.compile(r"\d+(\.\d+)? ?[A-Za-z%]{0,9}")  # of a fact: 512m, 1.5, 80%


@dataclass(frozen=True)
class Command:
    """A command line in a file. ``text`` is for a shell to split, ``words`` are split already.

    ``lines``: (number, text) of where it stands. ``environ``: name -> (value, place), of the same
    file. ``directory``: where it runs, in the container or on the host; "" where nothing says so.
    ``open``: arguments may be added at run time, as to an ENTRYPOINT without a CMD. ``unread``:
    files of variables that were not read. ``entrypoint``: the words of an image's, that stay when
    its CMD is replaced.
    """

    file: str
    name: str  # of the process or service, "" where there is one
    lines: tuple[tuple[int, str], ...]
    text: str = ""
    words: tuple[str, ...] = ()
    environ: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    directory: str = ""
    facts: tuple[Fact, ...] = ()
    built: str = ""  # the Dockerfile that makes it, relative to the file's directory; "": none
    target: str = ""  # the stage of that Dockerfile; "": its last
    open: bool = False
    unread: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)  # of the build, for its ARGs
    entrypoint: tuple[str, ...] = ()
    replaces: str = "both"  # of an image: "both" ENTRYPOINT and CMD, or "CMD" alone

    @property
    def where(self) -> str:
        return f"{self.file}:{self.lines[0][0]}" if self.lines else self.file

    def place(self, word: str) -> str:
        """The line that holds ``word``, else the first."""
        pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![A-Za-z_-])")
        for number, line in self.lines:
            if word and pattern.search(line):
                return f"{self.file}:{number}"
        return self.where


@dataclass(frozen=True)
class Reading:
    """The commands that a reader got out of one file; ``problems`` are sentences, ``includes``
    patterns of files that it takes in."""

    commands: tuple[Command, ...] = ()
    problems: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployed:
    """Today's server. ``settings``: all that it has, said or by default, by gunicorn's names.

    ``unknown``: options that we do not understand, with their places. ``others``: what other files
    say, where they differ. ``problems``: what could not be read. ``server`` "": which of several
    is decided at run time, and ``problems`` say by what.
    """

    server: str
    where: str
    application: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    others: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    develops: bool = False  # it reloads the source: what a developer runs


@dataclass(frozen=True)
class Started:
    """The servers of a file. ``beside``: what other commands of it could not be read, which matters
    only where no server is found at all. ``open``: a command of it, that replaces what weaker files
    say, was not understood."""

    servers: tuple[Deployed, ...] = ()
    problems: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    open: bool = False


@dataclass(frozen=True)
class Look:
    """``deployed`` None: no file that was read starts a server we know."""

    deployed: Deployed | None = None
    read: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
