"""Finds the deployment files of a project and says which of them is today's.

From the target's directory up to the repository's root, and in a few folders of each where people
keep such files. A command counts when it starts the target; of several, the one whose kind of file
stands first in ``KINDS``, then the one nearest to the target.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pretune.advisor.deployed import compose, dockerfile, procfile, systemd, uwsgi_ini
from pretune.advisor.deployed.files import Files, Place
from pretune.advisor.deployed.resolve import DEFAULT_CONF, resolve, standing_alone
from pretune.advisor.deployed.shell import Surroundings
from pretune.advisor.deployed.value import Command, Deployed, Look, Reading
from pretune.advisor.hooks import HookError, parse_env

FOLDERS = ("deploy", "deployment", "docker", ".docker", "config", "conf", "etc", "systemd", "ops",
           "infra", "compose", "scripts", "bin")  # fmt: skip
MOST_FILES = 40
MOST_DIRECTORIES = 8  # up to the root


Reader = Callable[[Files, str, str], tuple[list[Deployed], tuple[str, ...]]]


@dataclass(frozen=True)
class Kind:
    """Files of these names. ``read``: what one of them starts, and what could not be read."""

    patterns: tuple[str, ...]
    read: Reader


def _commands(reader: Callable[[str, str], Reading]) -> Reader:
    def read(files: Files, file: str, text: str) -> tuple[list[Deployed], tuple[str, ...]]:
        return _resolved(files, reader(file, text))

    return read


def _resolved(files: Files, reading: Reading) -> tuple[list[Deployed], tuple[str, ...]]:
    found, problems = [], list(reading.problems)
    for command in reading.commands:
        deployed, said = resolve(command, files)
        problems += said
        if deployed is not None:
            found.append(deployed)
    return found, tuple(problems)


def _composed(files: Files, file: str, text: str) -> tuple[list[Deployed], tuple[str, ...]]:
    """A service that is built begins with what its Dockerfile says."""
    near = files.text((PurePosixPath(file).parent / ".env").as_posix()) or ""
    try:
        dotenv = parse_env(near, ".env")
    except HookError:
        dotenv = {}
    reading = compose.read(file, text, dotenv)
    return _resolved(files, replace(reading, commands=tuple(_built(files, reading.commands))))


def _built(files: Files, commands: tuple[Command, ...]) -> Iterator[Command]:
    for command in commands:
        image = files.find("Dockerfile", command) if command.built else None
        text = files.text(image) if image is not None else None
        inside = dockerfile.read(image, text).commands if image and text is not None else ()
        if not inside:
            yield command
            continue
        (made,) = inside
        environ = {**made.environ, **command.environ}
        directory = command.directory or made.directory
        if command.words or command.text:
            yield replace(command, environ=environ, directory=directory)
        else:
            yield replace(
                made, name=command.name, environ=environ, directory=directory, facts=command.facts
            )


def _ini(files: Files, file: str, text: str) -> tuple[list[Deployed], tuple[str, ...]]:
    if "[uwsgi]" not in text:
        return [], ()
    said = uwsgi_ini.parse(file, text, Surroundings({}, files.cores))
    return [standing_alone(file, "uwsgi", said)], ()


def _conf(files: Files, file: str, text: str) -> tuple[list[Deployed], tuple[str, ...]]:
    said = files.conf(file, Command(file, "", ()), {})
    if isinstance(said, str):
        return [], (said,)
    return [standing_alone(file, "gunicorn", said)], ()


KINDS: tuple[Kind, ...] = (
    Kind(("Procfile", "Procfile.prod", "Procfile.production"), _commands(procfile.read)),
    Kind(("*.service",), _commands(systemd.read)),
    Kind(("compose.prod*.y*ml", "compose.production.y*ml", "docker-compose.prod*.y*ml",
          "compose.y*ml", "docker-compose.y*ml"), _composed),
    Kind(("Dockerfile", "Dockerfile.prod*", "prod.Dockerfile", "Containerfile"),
         _commands(dockerfile.read)),
    Kind(("uwsgi.ini", "*uwsgi*.ini"), _ini),
    Kind((DEFAULT_CONF, "gunicorn_conf.py", "gunicorn_config.py"), _conf),
)  # fmt: skip


def look(place: Place) -> Look:
    """Never raises for what files hold."""
    directories = _directories(place)
    files = Files(place, directories[-1])
    found: list[tuple[tuple[bool, int, int], Deployed]] = []
    problems: list[str] = []
    for number, kind in enumerate(KINDS):
        if number >= len(KINDS) - 2 and any(not key[0] for key, _ in found):
            break  # a file of settings counts by itself only where no command is known
        for distance, file in _files(directories, kind, files):
            text = files.text(file)
            if text is None:
                problems.append(f"{file} is too large, or cannot be read")
                continue
            several, said = kind.read(files, file, text)
            problems += said
            for deployed in several:
                if not _is_ours(deployed, place.names):
                    app = deployed.application
                    problems.append(f"{deployed.where} starts another application, {app}")
                    continue
                found.append(((deployed.develops, number, distance), deployed))
    found.sort(key=lambda each: each[0])
    if not found:
        return Look(None, tuple(files.read), tuple(dict.fromkeys(problems)))
    (key, chosen), *rest = found
    if key[0]:
        problems.append(f"{chosen.where} reloads the source: it is not taken for a deployment")
        return Look(None, tuple(files.read), tuple(dict.fromkeys(problems)))
    others = tuple(dict.fromkeys(_says(other) for _, other in rest if _differs(other, chosen)))
    chosen = replace(
        chosen, others=others, problems=tuple(dict.fromkeys((*chosen.problems, *problems)))
    )
    return Look(chosen, tuple(files.read), chosen.problems)


def _directories(place: Place) -> list[Path]:
    """The target's directory first, the repository's root last; without a repository no further
    than where the app runs."""
    start, chdir = place.directory.resolve(), place.chdir.resolve()
    above = [start, *start.parents][:MOST_DIRECTORIES]
    for i, directory in enumerate(above):
        if (directory / ".git").exists():
            return above[: i + 1]
    for i, directory in enumerate(above):
        if directory == chdir:
            return above[: i + 1]
    return [start]


def _files(directories: list[Path], kind: Kind, files: Files) -> Iterator[tuple[int, str]]:
    """(distance, name) of those of a kind, the nearest first."""
    count = 0
    for distance, directory in enumerate(directories):
        for folder in (directory, *(directory / name for name in FOLDERS)):
            try:
                names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
            except OSError:
                continue
            for pattern in kind.patterns:
                for name in fnmatch.filter(names, pattern):
                    count += 1
                    if count > MOST_FILES:
                        return
                    yield distance, files.shown(folder / name)


def _is_ours(deployed: Deployed, names: tuple[str, ...]) -> bool:
    """Whether it starts the target, or may: what names no app, or leaves it to run time, may."""
    module = (
        deployed.application.partition(":")[0].removesuffix(".py").strip("./").replace("/", ".")
    )
    if not module or "$" in module:
        return True
    return any(
        module == name
        or name.endswith(f".{module}")
        or module.endswith(f".{name}")
        or ("." in module and "." in name and module.rpartition(".")[0] == name.rpartition(".")[0])
        for name in names
    )


_COMPARED = ("workers", "threads", "worker_class")


def _differs(one: Deployed, other: Deployed) -> bool:
    if one.server != other.server:
        return True
    values = [
        [(d.settings[n].value if n in d.settings else None) for n in _COMPARED]
        for d in (one, other)
    ]
    return values[0] != values[1]


def _says(deployed: Deployed) -> str:
    """``Dockerfile:9 starts gunicorn with 4 workers``."""
    said = []
    for name in ("workers", "threads"):
        setting = deployed.settings.get(name)
        if setting is not None:
            shown = setting.place.partition(", ")[2] if setting.value is None else setting.value
            said.append(f"{shown} {name}" if setting.value is not None else f"{name} {shown}")
    return f"{deployed.where} starts {deployed.server} with {', '.join(said)}"
