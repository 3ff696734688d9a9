"""From one command in a file to the server it starts and every setting, in the server's own order.

Weaker first: the server's defaults, single variables of the environment, its configuration file,
``GUNICORN_CMD_ARGS``, the command line. What other files hold is asked of ``Project``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pretune.advisor.deployed import uwsgi_ini
from pretune.advisor.deployed.arguments import Said, parse, read
from pretune.advisor.deployed.grammar import GRAMMARS, SETTINGS, Grammar
from pretune.advisor.deployed.invocation import Invocation, Other, Script, Shell, locate
from pretune.advisor.deployed.shell import Surroundings, Word, commands
from pretune.advisor.deployed.value import Command, Deployed, Setting

DEFAULT_CONF = "gunicorn.conf.py"
_OTHER_FORMATS = frozenset({"yaml", "json", "xml", "config", "y", "j", "x"})  # of uWSGI
_CALLED = re.compile(r"\(.*", re.DOTALL)  # shop:make(...): with what is not told
_DEEPEST = 3  # shells in scripts in shells


class Project(Protocol):
    """The files beside the one that is read. Names are as the deployment sees them."""

    cores: int

    def find(self, name: str, command: Command) -> str | None:
        """Find a file that a command names in the project; None if it does not lie there."""

    def text(self, file: str) -> str | None:
        """Read a file by the name that ``find`` gave."""

    def conf(self, place: str, command: Command, environ: Mapping[str, str]) -> Said | str:
        """Read a gunicorn.conf.py (or ``python:MODULE``); or say why that is not possible."""


@dataclass(frozen=True)
class _Seen:
    invocation: Invocation
    command: Command  # where it stands: the script, if it was in one
    variables: Mapping[str, str]

    @property
    def develops(self) -> bool:
        return any(word.text in ("--reload", "--debug") for word in self.invocation.arguments)


@dataclass
class _Found:
    seen: list[_Seen] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def resolve(command: Command, project: Project) -> tuple[Deployed | None, tuple[str, ...]]:
    """The server of a command, None where it starts none; and what could not be read."""
    result = _Found()
    environ = {name: value for name, (value, _) in command.environ.items()}
    around = Surroundings(environ, project.cores)
    if command.words:
        _take(
            [Word.from_marked(word) for word in command.words], command, around, project, result, 0
        )
    else:
        _search(command.text, command, around, project, result, 0)
    serving = [seen for seen in result.seen if not seen.develops] or result.seen
    if not serving:
        return None, (*result.problems, *result.others)
    deployed = _settled(serving[-1], command, project)
    return replace(deployed, problems=(*result.problems, *deployed.problems)), ()


def _search(
    text: str, command: Command, around: Surroundings, project: Project, result: _Found, depth: int
) -> None:
    try:
        for words, assigned in commands(text, around):
            here = replace(around, variables={**around.variables, **assigned})
            _take(words, command, here, project, result, depth)
    except ValueError as error:
        result.problems.append(f"{command.where} is not understood: {error}")


def _take(
    words: Sequence[Word],
    command: Command,
    around: Surroundings,
    project: Project,
    result: _Found,
    depth: int,
) -> None:
    what = locate(words)
    texts = [word.text for word in words]
    if isinstance(what, Invocation):
        variables = {**around.variables, **what.environ}
        result.seen.append(_Seen(what, command, variables))
    elif isinstance(what, Other):
        place = command.place("runserver" if "runserver" in texts else texts[0])
        result.others.append(f"{place} {what.says}")
    elif isinstance(what, Shell) and depth < _DEEPEST:
        _search(what.text, command, around, project, result, depth + 1)
    elif isinstance(what, Script) and depth < _DEEPEST:
        _script(what, command, around, project, result, depth)


def _script(
    script: Script,
    command: Command,
    around: Surroundings,
    project: Project,
    result: _Found,
    depth: int,
) -> None:
    """One level deep, and what it is given where it runs that: ``exec "$@"``."""
    file = project.find(script.name, command)
    text = project.text(file) if file is not None else None
    before = len(result.seen)
    if file is not None and text is not None and not text.startswith("\x7fELF"):
        lines = tuple(enumerate(text.splitlines(), 1))
        inner = replace(command, file=file, lines=lines, text="", words=())
        given = replace(around, arguments=tuple(word.text for word in script.arguments))
        _search(text, inner, given, project, result, _DEEPEST)
        result.seen[before:] = [_placed(seen, command) for seen in result.seen[before:]]
    if len(result.seen) == before and script.arguments:
        # an entrypoint of the base image, or one that was not understood, runs its arguments
        _take(script.arguments, command, around, project, result, depth + 1)
    elif len(result.seen) == before and file is None and script.name.endswith(".sh"):
        result.problems.append(f"{command.where} runs {script.name}, which is not in the project")


def _placed(seen: _Seen, outer: Command) -> _Seen:
    """Its lines begin where the server's name stands; what came as ``$@`` stands outside."""
    lines = seen.command.lines
    names = ("gunicorn", "uvicorn", "hypercorn", "granian", "waitress", "uwsgi", "mod_wsgi")
    for i, (_, line) in enumerate(lines):
        if seen.invocation.server in names and seen.invocation.server in line.partition("#")[0]:
            return replace(seen, command=replace(seen.command, lines=lines[i:]))
    return replace(seen, command=outer)


def _settled(seen: _Seen, outer: Command, project: Project) -> Deployed:
    """All layers over each other."""
    grammar = GRAMMARS[seen.invocation.server]
    line = parse(grammar, seen.invocation.arguments, seen.command.place)
    layers: list[Mapping[str, Setting]] = [_variables(grammar, seen, outer)]
    unknown = [*line.unknown]
    problems: list[str] = []
    application = ""
    for layer in _files(_Asked(grammar, line, seen, outer, project, problems)):
        layers.append(layer.settings)
        unknown += layer.unknown
        application = layer.application or application
    layers.append(line.settings)
    application = _CALLED.sub("(...)", _application(grammar, line) or application)
    settings = _layered(grammar, layers, line)
    return Deployed(
        server=grammar.server,
        where=seen.command.where,
        application=application,
        settings=settings,
        unknown=tuple(dict.fromkeys(unknown)),
        facts=outer.facts,
        problems=tuple(problems),
        develops=seen.develops,
    )


def _layered(
    grammar: Grammar, layers: Sequence[Mapping[str, Setting]], line: Said
) -> dict[str, Setting]:
    defaults = {
        name: Setting(value, f"{grammar.server}'s default")
        for name, value in grammar.defaults.items()
    }
    for name in ("WEB_CONCURRENCY",):  # platforms set it, as Heroku does
        if grammar.variables.get(name) == "workers":
            defaults["workers"] = replace(defaults["workers"], note=f"unless ${name} is set")
    settings = dict(defaults)
    for layer in layers:
        settings.update(layer)
    if grammar.server == "granian":
        settings = _granian(settings, line)
    if grammar.server == "uwsgi" and "max_requests_jitter" in settings:
        settings = _uwsgi(settings)
    return {name: settings[name] for name in SETTINGS if name in settings}


def _granian(settings: dict[str, Setting], line: Said) -> dict[str, Setting]:
    """Its defaults follow from each other: as many requests in a worker as its part of the backlog,
    half as many threads under WSGI."""
    workers, backlog = settings["workers"].value, settings["backlog"].value
    if workers is None or backlog is None:
        return settings
    where = "granian's default"
    default = Setting(max(1, max(128, backlog) // max(1, workers)), where)
    connections = settings.setdefault("worker_connections", default).value
    if line.other.get("interface", "").lower() == "wsgi" and connections is not None:
        settings.setdefault("threads", Setting(max(1, connections // 2), where))
    return settings


def _uwsgi(settings: dict[str, Setting]) -> dict[str, Setting]:
    """max-requests-delta is added once for each worker's number: the last one has the jitter."""
    jitter, workers = settings["max_requests_jitter"], settings["workers"].value
    if jitter.value and workers:
        settings["max_requests_jitter"] = replace(jitter, value=jitter.value * workers)
    return settings


def _variables(grammar: Grammar, seen: _Seen, outer: Command) -> dict[str, Setting]:
    settings = {}
    for name, setting in grammar.variables.items():
        if (value := seen.variables.get(name)) is not None:
            inside = outer.environ.get(name)
            same = inside is not None and inside[0] == value
            where = inside[1] if inside is not None and same else seen.command.place(name)
            settings[setting] = read(grammar, setting, Word.from_marked(value), where)
    return settings


@dataclass(frozen=True)
class _Asked:
    """The search for configuration files; ``problems`` takes what was not read."""

    grammar: Grammar
    line: Said
    seen: _Seen
    outer: Command
    project: Project
    problems: list[str]

    def without(self, name: str, problem: str) -> Said:
        """Return what is known where a file was not read."""
        self.problems.append(problem)
        return _unread(self.grammar, name)

    def missing(self, name: str) -> Said:
        where = self.seen.command.where
        return self.without(name, f"{where} names {name}, which is not in the project")


def _files(asked: _Asked) -> Iterator[Said]:
    """Yield what configuration files say, and GUNICORN_CMD_ARGS, the weakest first."""
    server, line, seen, project = asked.grammar.server, asked.line, asked.seen, asked.project
    if server == "gunicorn":
        yield from _gunicorn(asked)
    elif server in _READERS:
        name = line.config.text if line.config else _positional(asked.grammar, line)
        if name is None:
            for option in _OTHER_FORMATS.intersection(line.other):
                other = line.other[option]
                yield asked.without(other, f"{other} is no ini file, and was not read")
            return
        file = project.find(name.partition(":")[0] or name, seen.command)
        text = project.text(file) if file is not None else None
        if file is None or text is None:
            yield asked.missing(name)
            return
        around = Surroundings(seen.variables, project.cores)
        yield _READERS[server](file, text, around)


def _gunicorn(asked: _Asked) -> Iterator[Said]:
    seen, outer, project = asked.seen, asked.outer, asked.project
    ambient = Said()
    args = seen.variables.get("GUNICORN_CMD_ARGS")
    if args is not None:
        inside = outer.environ.get("GUNICORN_CMD_ARGS")
        where = inside[1] if inside else seen.command.place("GUNICORN_CMD_ARGS")
        try:
            words = [w for each, _ in commands(args, Surroundings(cores=1)) for w in each]
            ambient = parse(asked.grammar, words, lambda flag: where)
        except ValueError as error:
            asked.problems.append(f"{where}: GUNICORN_CMD_ARGS is not understood: {error}")
    config = asked.line.config or ambient.config
    name = config.text if config is not None else DEFAULT_CONF
    place: str | None = name
    if not name.startswith("python:"):
        # the default is looked for where the server runs, not beside the script that starts it
        asking = seen.command if config is not None else outer
        place = project.find(name.removeprefix("file:"), asking)
    if place is not None:
        layer = project.conf(place, seen.command, seen.variables)
        yield layer if isinstance(layer, Said) else asked.without(place, layer)
    elif config is not None:
        yield asked.missing(name)
    yield ambient


def _unread(grammar: Grammar, name: str) -> Said:
    """Mark what the command line leaves out as unknown: an unread file may set it."""
    return Said({each: Setting(None, name, "which was not read") for each in grammar.defaults})


def _positional(grammar: Grammar, line: Said) -> str | None:
    """uWSGI takes its file also without an option."""
    if grammar.server != "uwsgi":
        return None
    return next((p for p in line.positional if p.endswith(".ini")), None)


def _toml(file: str, text: str, around: Surroundings) -> Said:
    """hypercorn's file of settings."""
    grammar = GRAMMARS["hypercorn"]
    names = {
        flag[2:].replace("-", "_"): setting
        for flag, setting in grammar.valued.items()
        if setting and flag.startswith("--")
    } | {"keep_alive_timeout": "keepalive"}
    try:
        pairs = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Said(unknown=(f"{file} is no TOML: {error}",))
    lines = {
        line.partition("=")[0].strip(): number for number, line in enumerate(text.splitlines(), 1)
    }
    return Said(
        {
            setting: read(grammar, setting, Word(str(pairs[key])), f"{file}:{lines.get(key, 1)}")
            for key, setting in names.items()
            if key in pairs
        }
    )


_READERS: Mapping[str, Callable[[str, str, Surroundings], Said]] = {
    "uwsgi": uwsgi_ini.parse,
    "hypercorn": _toml,
}


def _application(grammar: Grammar, line: Said) -> str:
    """As it is named there; uWSGI says module and name apart."""
    named = line.application
    if grammar.server == "uwsgi":
        name = line.other.get("callable")
        return f"{named}:{name}" if named and name and ":" not in named else named
    if grammar.server == "mod_wsgi":
        behind = line.positional[1:] if line.positional[:1] == ("start-server",) else ()
        return behind[0] if behind else ""
    return named or (line.positional[0] if line.positional else "")


def standing_alone(file: str, server: str, command_line: Said) -> Deployed:
    """A configuration file that no command names: the server with nothing else said."""
    grammar = GRAMMARS[server]
    settings = _layered(grammar, [command_line.settings], command_line)
    name = command_line.other.get("callable")
    application = command_line.application
    if server == "uwsgi" and application and name and ":" not in application:
        application = f"{application}:{name}"
    return Deployed(server, file, application, settings, command_line.unknown)
