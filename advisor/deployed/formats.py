"""The formats of deployment files, in their order of precedence: a table.

What overrides stands before what is overridden: a platform's file replaces the command of the image
that it starts, a manager's file says what the image's ``supervisord`` starts, a compose file
replaces the CMD of what it builds.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pretune.advisor.deployed import (
    circus,
    compose,
    dockerfile,
    fly,
    kubernetes,
    nixpacks,
    procfile,
    railway,
    run_script,
    supervisor,
    systemd,
    uwsgi_ini,
    yaml_services,
)
from pretune.advisor.deployed.files import Files
from pretune.advisor.deployed.resolve import DEFAULT_CONF, resolve, standing_alone
from pretune.advisor.deployed.shell import Surroundings
from pretune.advisor.deployed.value import Command, Deployed, Reading, Started
from pretune.advisor.workspace.hooks import HookError, parse_env

MOST_COMMANDS = 100  # of a file
_MOST_ENV_FILES = 10  # of a command
Reader = Callable[[Files, str, str], Started]


@dataclass(frozen=True)
class Format:
    """Files of these names, or of these ends of a path. ``read``: what one of them starts.

    ``replaces``: where its command is not understood, no weaker format says what starts.
    ``alone``: a file of settings, that counts by itself only where no command is known.
    ``several``: of files that differ the run's command decides which is applied.
    ``marker``: what a file of so general a name holds, else it is none of them.
    """

    patterns: tuple[str, ...]
    read: Reader
    replaces: bool = False
    alone: bool = False
    several: bool = False
    marker: re.Pattern[str] | None = None


def _commands(reader: Callable[[str, str], Reading], *, serving: bool = False) -> Reader:
    return lambda files, file, text: _resolved(files, reader(file, text), serving)


def _resolved(files: Files, reading: Reading, serving: bool = False) -> Started:
    """``serving``: its processes take requests, so that one without a server is not understood."""
    found: list[Deployed] = []
    beside: list[str] = []
    open_ = bool(reading.problems) and not reading.commands
    for command in reading.commands[:MOST_COMMANDS]:
        made, problems = _made(files, _with_env_files(files, command))
        beside += problems
        if made is None:
            open_ = open_ or bool(problems)
            continue
        files.keep({name: value for name, (value, _) in made.environ.items()})
        deployed, said = resolve(made, files)
        beside += said
        found += deployed
        if not deployed and (said or serving or command.name in procfile.SERVING):
            open_ = open_ or bool(said) or serving
            image = files.dockerfile(command) if command.built else None
            if image is not None and (command.words or command.text):
                files.overridden.add(image)
    return Started(tuple(found), reading.problems, tuple(beside), open_ and not found)


def _with_env_files(files: Files, command: Command) -> Command:
    environ: dict[str, tuple[str, str]] = {}
    unread = [*command.unread]
    for name in command.env_files[:_MOST_ENV_FILES]:
        file = files.find(name, command)
        text = files.text(file) if file is not None else None
        if file is None or text is None:
            unread.append(name)
            continue
        try:
            pairs = parse_env(text, file)
        except HookError:
            unread.append(file)
            continue
        environ |= {key: (value, file) for key, value in pairs.items()}
    return replace(command, environ={**environ, **command.environ}, unread=tuple(unread))


def _made(files: Files, command: Command) -> tuple[Command | None, tuple[str, ...]]:
    """Put a command over its image's; None where neither is known."""
    if not command.built:
        return command, ()
    image = files.dockerfile(command)
    text = files.text(image) if image is not None else None
    inside = (
        dockerfile.read(image, text, command.target, command.arguments)
        if image and text is not None
        else None
    )
    given = bool(command.words or command.text)
    if inside is None or not inside.commands:
        problems = inside.problems if inside is not None else ()
        return (command, ()) if given else (None, problems)
    (made,) = inside.commands
    environ = {**made.environ, **command.environ}
    directory = command.directory or made.directory
    if not given:
        return replace(
            made, name=command.name, environ=environ, directory=directory, facts=command.facts,
            unread=command.unread, open=False,
        ), ()  # fmt: skip
    if command.replaces == "CMD" and made.entrypoint:
        words = command.words or _split(command.text)
        return replace(
            command, words=(*made.entrypoint, *words), text="", environ=environ, directory=directory
        ), ()
    return replace(command, environ=environ, directory=directory), ()


def _split(text: str) -> tuple[str, ...]:
    """As compose and fly do; what needs a shell is given to one, as it is meant."""
    if not re.search(r"[;&|<>$`]", text):
        try:
            return tuple(shlex.split(text))
        except ValueError:
            pass
    return ("/bin/sh", "-c", text)


def _composed(files: Files, file: str, text: str) -> Started:
    near = files.text((PurePosixPath(file).parent / ".env").as_posix()) or ""
    try:
        dotenv = parse_env(near, ".env")
    except HookError:
        dotenv = {}
    files.keep(dotenv)
    return _resolved(files, compose.read(file, text, dotenv))


def _of_procfile(files: Files, file: str, text: str) -> Started:
    """app.json beside it holds the platform's variables."""
    near = (PurePosixPath(file).parent / "app.json").as_posix()
    environ: dict[str, tuple[str, str]] = {}
    try:
        document = json.loads(files.text(near) or "{}")
        for name, value in document.get("env", {}).items():
            said = value.get("value") if isinstance(value, dict) else value
            if isinstance(said, str):
                environ[name] = (said, near)
    except (ValueError, AttributeError, RecursionError):
        environ = {}
    reading = procfile.read(file, text)
    commands = tuple(replace(each, environ=environ) for each in reading.commands)
    return _resolved(files, replace(reading, commands=commands), serving=True)


def _unit(files: Files, file: str, text: str) -> Started:
    """Drop-ins of the unit come after it."""
    reading = systemd.read(file, text)
    for name in files.matching(f"{file.rpartition('/')[2]}.d/*.conf", Command(file, "", ())):
        held = files.text(name) or ""
        dropped = systemd.read(name, held).commands
        commands = tuple(
            replace(each, environ={**base.environ, **each.environ},
                    directory=each.directory or base.directory,
                    env_files=(*base.env_files, *each.env_files))
            for base in reading.commands[:1]
            for each in dropped
        )  # fmt: skip
        if not commands and "Environment" in held:
            commands = tuple(replace(e, unread=(*e.unread, name)) for e in reading.commands)
        reading = replace(reading, commands=commands or reading.commands)
    return _resolved(files, reading)


def _manifest(files: Files, file: str, text: str) -> Started:
    """Helm's templates take the chart's values."""
    folder = PurePosixPath(file).parent
    values = files.text((folder.parent / "values.yaml").as_posix()) if "{{" in text else None
    held = kubernetes.values_of(values) if values is not None else None
    return _resolved(files, kubernetes.read(file, text, held))


def _dockerfiles(files: Files, file: str, text: str) -> Started:
    if file in files.overridden:
        return Started(beside=(f"{file} is started with another command, not understood",),
                       open=True)  # fmt: skip
    return _resolved(files, dockerfile.read(file, text))


def _ini(files: Files, file: str, text: str) -> Started:
    if "[uwsgi]" not in text:
        return Started()
    said = uwsgi_ini.parse(file, text, Surroundings({}, files.cores))
    return Started((standing_alone(file, "uwsgi", said),))


def _conf(files: Files, file: str, text: str) -> Started:
    said = files.conf(file, Command(file, "", ()), {})
    if isinstance(said, str):
        return Started(problems=(said,))
    if not said.settings:  # a module that happens to have the name of one
        return Started()
    return Started((standing_alone(file, "gunicorn", said),))


FORMATS: tuple[Format, ...] = (
    Format(("fly.toml", "fly.prod*.toml"), _commands(fly.read, serving=True), replaces=True),
    Format(("railway.json", "railway.toml"), _commands(railway.read, serving=True), replaces=True),
    Format(("render.yaml", "app.yaml", "app.yml", "heroku.yml"),
           _commands(yaml_services.read, serving=True), replaces=True),
    Format(("nixpacks.toml",), _commands(nixpacks.read, serving=True), replaces=True),
    Format(("*.yaml", "*.yml"), _manifest, replaces=True, several=True, marker=kubernetes.MARKER),
    Format(("Procfile", "Procfile.prod", "Procfile.production"), _of_procfile, replaces=True),
    Format(("*.service", "*.service.j2"), _unit),
    Format(supervisor.PATTERNS, _commands(supervisor.read)),
    Format(circus.PATTERNS, _commands(circus.read)),
    Format(run_script.PATTERNS, _commands(run_script.read)),
    Format(("compose.prod*.y*ml", "compose.production.y*ml", "docker-compose.prod*.y*ml",
            "compose.y*ml", "docker-compose.y*ml"), _composed),
    Format(("Dockerfile", "Dockerfile.prod*", "prod.Dockerfile", "Containerfile",
            "Dockerfile.web", "web.Dockerfile", "Dockerfile.app", "app.Dockerfile"), _dockerfiles),
    Format(("uwsgi.ini", "*uwsgi*.ini"), _ini, alone=True),
    Format((DEFAULT_CONF, "gunicorn_conf.py", "gunicorn_config.py"), _conf, alone=True),
)  # fmt: skip
