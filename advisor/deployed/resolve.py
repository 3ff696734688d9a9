"""From one command in a file to the server it starts and every setting, in the server's own order.

Weaker first: the server's defaults, single variables of the environment, its configuration file,
``GUNICORN_CMD_ARGS``, the command line. What other files hold is asked of ``Project``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pretune.advisor.deployed import uwsgi_ini
from pretune.advisor.deployed.arguments import Said, parse, read
from pretune.advisor.deployed.grammar import GRAMMARS, SETTINGS, Grammar
from pretune.advisor.deployed.project import Project
from pretune.advisor.deployed.servers import Reached, Search
from pretune.advisor.deployed.shell import Surroundings, Word, expand, split
from pretune.advisor.deployed.value import Command, Deployed, Setting

_DEEPEST = 4  # uWSGI files that take in others
DEFAULT_CONF = "gunicorn.conf.py"
# of uWSGI
_YAML = frozenset({"yaml", "y", "json", "j"})
_OTHER_FORMATS = frozenset({"xml", "config", "x"})
_CALLED = re.compile(r"\(.*", re.DOTALL)  # shop:make(...): with what is not told


def resolve(command: Command, project: Project) -> tuple[tuple[Deployed, ...], tuple[str, ...]]:
    """The servers of a command; and, where it starts none, what could not be read of it."""
    search = Search(project)
    search.command(command)
    serving = [each for each in search.servers if not each.develops] or search.servers
    if not serving:
        return (), (*search.problems, *search.others)
    groups: dict[str, list[tuple[Reached, Deployed]]] = {}
    for each in serving:
        deployed = _settled(each, command, project)
        module = deployed.application.partition(":")[0]
        groups.setdefault(module, []).append((each, deployed))
    found = [deployed for group in groups.values() for deployed in _alternatives(group)]
    return tuple(
        replace(each, problems=tuple(dict.fromkeys((*search.problems, *each.problems))))
        for each in found
    ), ()


def _alternatives(group: list[tuple[Reached, Deployed]]) -> list[Deployed]:
    """Decide what starts one application: servers beside each other, or one by a condition."""
    if len(group) == 1 or not any(reached.by for reached, _ in group):
        return [deployed for _, deployed in group]
    by = tuple(dict.fromkeys(each for reached, _ in group for each in reached.by))
    decided = f"by {', '.join(by)}"
    first = group[0][1]
    servers = list(dict.fromkeys(deployed.server for _, deployed in group))
    if len(servers) > 1:
        said = f"{first.where} starts one of {' and '.join(servers)}, {decided}"
        return [replace(first, server="", settings={}, problems=(*first.problems, said))]
    settings = {}
    for name, setting in first.settings.items():
        values = [
            deployed.settings[name].value if name in deployed.settings else None
            for _, deployed in group
        ]
        shown = list(dict.fromkeys(map(str, values)))
        if len(shown) == 1:
            settings[name] = setting
        else:
            settings[name] = Setting(None, first.where, f"one of {' and '.join(shown)}, {decided}")
    return [replace(first, settings=settings)]


def _settled(seen: Reached, outer: Command, project: Project) -> Deployed:
    """All layers over each other."""
    grammar = GRAMMARS[seen.invocation.server]
    line = parse(grammar, seen.invocation.arguments, seen.command.place)
    layers: list[Mapping[str, Setting]] = [_variables(grammar, seen, outer)]
    unknown = [*line.unknown]
    problems: list[str] = []
    application = ""
    for said in _files(_Asked(grammar, line, seen, outer, project, problems)):
        layers.append(said.settings)
        unknown += said.unknown
        application = said.application or application
    layers.append(
        {
            name: replace(setting, note=_noted(setting.note, seen.rests))
            if setting.value is not None
            else setting
            for name, setting in line.settings.items()
        }
    )
    application = _CALLED.sub("(...)", _application(grammar, line) or application)
    settings = _layered(grammar, layers, line, _unread_files(line, seen))
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


def _unread_files(line: Said, seen: Reached) -> tuple[str, ...]:
    """Files of variables that were not read; uvicorn has one of its own."""
    own = line.other.get("env-file", "") if seen.invocation.server == "uvicorn" else ""
    return (*seen.command.unread, *((own,) if own else ()))


def _noted(note: str, rests: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys((*filter(None, (note,)), *rests)))


def _layered(
    grammar: Grammar,
    layers: Sequence[Mapping[str, Setting]],
    line: Said,
    unread: Sequence[str] = (),
) -> dict[str, Setting]:
    """``unread``: files of variables that were not read, and may say what no other does."""
    defaults = {
        name: Setting(value, f"{grammar.server}'s default")
        for name, value in grammar.defaults.items()
    }
    for name in ("WEB_CONCURRENCY",):  # platforms set it, as Heroku does
        if grammar.variables.get(name) == "workers":
            defaults["workers"] = (
                Setting(None, unread[0], "which was not read")
                if unread
                else replace(defaults["workers"], note=f"unless ${name} is set")
            )
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


def _variables(grammar: Grammar, seen: Reached, outer: Command) -> dict[str, Setting]:
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
    seen: Reached
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
    elif server in ("uwsgi", "hypercorn"):
        name = line.config.text if line.config else _positional(asked.grammar, line)
        if name is None:
            around = Surroundings(seen.variables, project.cores)
            for option in sorted(_YAML.intersection(line.other)):
                other = line.other[option]
                file = project.find(other, seen.command)
                text = project.text(file) if file is not None else None
                if file is None or text is None:
                    yield asked.missing(other)
                else:
                    yield uwsgi_ini.parse_yaml(file, text, around)
            for option in sorted(_OTHER_FORMATS.intersection(line.other)):
                other = line.other[option]
                yield asked.without(other, f"{other} is no ini file, and was not read")
            return
        file = project.find(name.partition(":")[0] or name, seen.command)
        text = project.text(file) if file is not None else None
        if file is None or text is None:
            yield asked.missing(name)
            return
        around = Surroundings(seen.variables, project.cores)
        if server == "uwsgi":
            yield from _uwsgi_files(asked, name, file, text, around, 0)
        else:
            yield _toml(file, text, around)


def _uwsgi_files(
    asked: _Asked, name: str, file: str, text: str, around: Surroundings, depth: int
) -> Iterator[Said]:
    """A section of an ini file, over the files that it takes in."""
    said = uwsgi_ini.parse(file, text, around, name.partition(":")[2] or "uwsgi")
    for option in ("ini", "inherit", "include"):
        more = said.other.get(option, "")
        base = more.partition(":")[0]
        if not more or depth > _DEEPEST:
            continue
        inner = asked.project.find(base, asked.seen.command) if base else file
        held = asked.project.text(inner) if inner is not None else None
        if inner is None or held is None:
            yield asked.missing(base)
        else:
            yield from _uwsgi_files(asked, more, inner, held, around, depth + 1)
    yield said


def _gunicorn(asked: _Asked) -> Iterator[Said]:
    seen, outer, project = asked.seen, asked.outer, asked.project
    ambient = Said()
    args = seen.variables.get("GUNICORN_CMD_ARGS")
    if args is not None:
        inside = outer.environ.get("GUNICORN_CMD_ARGS")
        where = inside[1] if inside else seen.command.place("GUNICORN_CMD_ARGS")
        try:
            words = [Word.from_marked(word) for word in split(expand(args, Surroundings(cores=1)))]
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
