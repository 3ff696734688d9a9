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

from pretune.advisor.confidential import hide
from pretune.advisor.deployed import compose, dockerfile, procfile, systemd, uwsgi_ini
from pretune.advisor.deployed.files import FOLDERS, Files, Place
from pretune.advisor.deployed.resolve import DEFAULT_CONF, resolve, standing_alone
from pretune.advisor.deployed.shell import Surroundings
from pretune.advisor.deployed.value import Command, Deployed, Look, Reading, Started
from pretune.advisor.workspace.hooks import HookError, parse_env

MOST_FILES = 40
MOST_COMMANDS = 100  # of a file
MOST_DIRECTORIES = 8  # up to the root

Reader = Callable[[Files, str, str], Started]


@dataclass(frozen=True)
class Kind:
    """Files of these names. ``read``: what one of them starts."""

    patterns: tuple[str, ...]
    read: Reader


def _commands(reader: Callable[[str, str], Reading]) -> Reader:
    return lambda files, file, text: _resolved(files, reader(file, text))


def _resolved(files: Files, reading: Reading) -> Started:
    deployments: list[Deployed] = []
    beside: list[str] = []
    for command in reading.commands[:MOST_COMMANDS]:
        files.keep({name: value for name, (value, _) in command.environ.items()})
        deployed, problems = resolve(command, files)
        beside += problems
        if deployed is not None:
            deployments.append(deployed)
    return Started(tuple(deployments), reading.problems, tuple(beside))


def _composed(files: Files, file: str, text: str) -> Started:
    """A service that is built begins with what its Dockerfile says."""
    near = files.text((PurePosixPath(file).parent / ".env").as_posix()) or ""
    try:
        dotenv = parse_env(near, ".env")
    except HookError:
        dotenv = {}
    files.keep(dotenv)
    reading = compose.read(file, text, dotenv)
    commands = tuple(_built(files, reading.commands[:MOST_COMMANDS]))
    return _resolved(files, replace(reading, commands=commands))


def _built(files: Files, commands: tuple[Command, ...]) -> Iterator[Command]:
    read: dict[str, tuple[Command, ...]] = {}
    for command in commands:
        image = files.dockerfile(command) if command.built else None
        if image is not None and image not in read:
            text = files.text(image)
            read[image] = dockerfile.read(image, text).commands if text is not None else ()
        inside = read.get(image or "", ())
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


def _ini(files: Files, file: str, text: str) -> Started:
    if "[uwsgi]" not in text:
        return Started()
    settings = uwsgi_ini.parse(file, text, Surroundings({}, files.cores))
    return Started((standing_alone(file, "uwsgi", settings),))


def _conf(files: Files, file: str, text: str) -> Started:
    settings = files.conf(file, Command(file, "", ()), {})
    if isinstance(settings, str):
        return Started(problems=(settings,))
    return Started((standing_alone(file, "gunicorn", settings),))


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


def find_deployment(place: Place) -> Look:
    """Never raises for what files hold, and tells no password of theirs."""
    directories = _directories(place)
    files = Files(place, directories[-1])
    result = _looked(directories, files)
    secrets = tuple(files.secrets)
    deployed = _hidden(result.deployed, secrets) if result.deployed is not None else None
    return replace(result, deployed=deployed, problems=tuple(hide(result.problems, secrets)))


def _hidden(deployed: Deployed, secrets: tuple[str, ...]) -> Deployed:
    settings = {
        name: replace(setting, note=hide(setting.note, secrets))
        for name, setting in deployed.settings.items()
    }
    return replace(
        deployed,
        application=hide(deployed.application, secrets),
        settings=settings,
        unknown=tuple(hide(deployed.unknown, secrets)),
        others=tuple(hide(deployed.others, secrets)),
        problems=tuple(hide(deployed.problems, secrets)),
    )


def _looked(directories: list[Path], files: Files) -> Look:
    ranked: list[tuple[tuple[int, ...], Deployed]] = []
    problems: list[str] = []
    beside: list[str] = []
    for number, kind in enumerate(KINDS):
        if number >= len(KINDS) - 2 and any(not deployed.develops for _, deployed in ranked):
            break  # a file of settings counts by itself only where no command is known
        for distance, file in _files(directories, kind, files):
            text = files.text(file)
            if text is None:
                problems.append(f"{file} leads out of the project, is too large, or cannot be read")
                continue
            started = kind.read(files, file, text)
            problems += started.problems
            beside += started.beside
            for deployed in started.servers:
                doubt = _doubt(deployed, files.place.names)
                if doubt is None:
                    sentence = (
                        f"{deployed.where} starts another application, {deployed.application}"
                    )
                    beside.append(sentence)
                else:
                    ranked.append(((deployed.develops, doubt, number, distance), deployed))
    ranked.sort(key=lambda each: each[0])
    chosen = ranked[0][1] if ranked else None
    if chosen is not None and chosen.develops:
        beside.append(f"{chosen.where} reloads on changes, so it is not taken as a deployment")
        chosen = None
    if chosen is None:
        return Look(None, tuple(files.read), tuple(dict.fromkeys((*problems, *beside))))
    others = tuple(_says(other) for _, other in ranked[1:] if _differs(other, chosen))
    problems = list(dict.fromkeys((*chosen.problems, *problems)))
    chosen = replace(chosen, others=tuple(dict.fromkeys(others)), problems=tuple(problems))
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
                names = sorted(os.listdir(folder))
            except OSError:
                continue
            for pattern in kind.patterns:
                for name in fnmatch.filter(names, pattern):
                    if not os.path.isfile(folder / name):
                        continue
                    count += 1
                    if count > MOST_FILES:
                        return
                    yield distance, files.shown(folder / name)


def _doubt(deployed: Deployed, names: tuple[str, ...]) -> int | None:
    """Rate the doubt that it starts the target: 0 none, 1 some (it names no app, or one beside it),
    None where it starts another.
    """
    module = deployed.application.partition(":")[0].removesuffix(".py").removeprefix("./")
    module = module.strip("/").replace("/", ".")
    if not module or "$" in module:
        return 1
    if any(
        f".{a}".endswith(f".{b}") for name in names for a, b in ((name, module), (module, name))
    ):
        return 0
    packages = {name.rpartition(".")[0] for name in names} - {""}
    return 1 if module.rpartition(".")[0] in packages else None


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
    sentences = []
    for name in ("workers", "threads"):
        setting = deployed.settings.get(name)
        if setting is not None:
            shown = setting.place.partition(", ")[2] if setting.value is None else setting.value
            sentences.append(f"{shown} {name}" if setting.value is not None else f"{name} {shown}")
    return f"{deployed.where} starts {deployed.server} with {', '.join(sentences)}"
