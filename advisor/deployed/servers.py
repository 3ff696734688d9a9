"""Finds the servers that a command starts: through shells, scripts, programs and managers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pretune.advisor.deployed import python_program
from pretune.advisor.deployed.invocation import (
    PROGRAMS,
    Invocation,
    Manager,
    Other,
    Program,
    Script,
    Shell,
    locate,
)
from pretune.advisor.deployed.managers import managed
from pretune.advisor.deployed.project import Project
from pretune.advisor.deployed.script import Way, follow
from pretune.advisor.deployed.shell import Surroundings, Word
from pretune.advisor.deployed.value import Command

_DEEPEST = 4  # shells in scripts in managers
_MOST_SERVERS = 64  # of a command
# what asks a server for something else than to serve
_NOT_SERVING = frozenset({"--check-config", "--version", "--help", "--print-config", "-h", "-v"})
_DETACHES = frozenset({"--daemon", "-D", "--daemonize"})


@dataclass(frozen=True)
class Reached:
    """A server's invocation. ``command``: where it stands, such as the script's line; ``by``: what
    decides at run time that it is reached; ``rests``: on what else it rests."""

    invocation: Invocation
    command: Command
    variables: Mapping[str, str]
    by: tuple[str, ...] = ()
    rests: tuple[str, ...] = ()
    background: bool = False

    @property
    def develops(self) -> bool:
        return any(word.text in ("--reload", "--debug") for word in self.invocation.arguments)


@dataclass
class Search:
    """``problems``: what was not understood; ``others``: what serves and is not measured here."""

    project: Project
    servers: list[Reached] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def command(self, command: Command) -> None:
        environ = {name: value for name, (value, _) in command.environ.items()}
        around = Surroundings(environ, self.project.cores)
        if command.words:
            words = tuple(Word.from_marked(word) for word in command.words)
            self.servers += self._taken(words, command, around, 0)
        else:
            self.servers += self._text(command.text, command, around, 0)
        if len(self.servers) > _MOST_SERVERS:
            self.servers = []
            self.problems.append(f"{command.where} starts more than {_MOST_SERVERS} servers")

    def _text(self, text: str, command: Command, around: Surroundings, depth: int) -> list[Reached]:
        def sourced(name: str) -> str | None:
            file = self.project.find(name, command)
            held = self.project.text(file) if file is not None else None
            if held is None:
                self.problems.append(f"{command.where} reads {name}, which is not in the project")
            return held

        if not self.project.spend(len(text)):
            self.problems.append(f"{command.where} is not read: there is too much before it")
            return []
        try:
            ways = follow(text, around, sourced, _blocks)
        except ValueError as error:
            self.problems.append(f"{command.where} is not understood: {error}")
            return []
        found: list[Reached] = []
        for way in ways:
            found += self._way(way, command, around, depth)
        return found if len(ways) == 1 else _without_condition(found)

    def _way(self, way: Way, command: Command, around: Surroundings, depth: int) -> list[Reached]:
        found: list[Reached] = []
        for run in way.runs:
            here = replace(around, variables=run.variables)
            for each in self._taken(run.words, command, here, depth):
                detaches = any(word.text in _DETACHES for word in each.invocation.arguments)
                found.append(
                    replace(
                        each,
                        by=tuple(dict.fromkeys((*way.by, *each.by))),
                        rests=tuple(dict.fromkeys((*way.rests, *each.rests))),
                        background=each.background or run.background or detaches,
                    )
                )
            if any(not each.background and each.by == way.by for each in found):
                break  # it serves: what stands behind it is not reached
        return found

    def _taken(
        self, words: Sequence[Word], command: Command, around: Surroundings, depth: int
    ) -> list[Reached]:
        what = locate(words)
        if isinstance(what, Invocation):
            if _NOT_SERVING.intersection(word.text for word in what.arguments):
                return []
            return [Reached(what, command, {**around.variables, **what.environ})]
        if isinstance(what, Other):
            texts = [word.text for word in words]
            place = command.place("runserver" if "runserver" in texts else texts[0])
            self.others.append(f"{place} {what.says}")
        elif depth >= _DEEPEST:
            return []
        elif isinstance(what, Shell):
            given = tuple(word.text for word in what.arguments)
            inner = replace(around, arguments=given)
            return self._text(what.text, command, inner, depth + 1)
        elif isinstance(what, Script):
            return self._script(what, command, around, depth)
        elif isinstance(what, Program):
            return self._program(what, command, around)
        elif isinstance(what, Manager):
            return self._managed(what, command, around, depth)
        return []

    def _script(
        self, script: Script, command: Command, around: Surroundings, depth: int
    ) -> list[Reached]:
        """And what it is given where it runs that: ``exec "$@"``."""
        file = self.project.find(script.name, command)
        text = self.project.text(file) if file is not None else None
        found: list[Reached] = []
        before = len(self.problems)
        if file is not None and text is not None and not text.startswith("\x7fELF"):
            if text.startswith("#!") and "python" in text.partition("\n")[0]:
                return self._program(Program(script.name, script.arguments), command, around)
            lines = tuple(enumerate(text.splitlines(), 1))
            inner = replace(command, file=file, lines=lines, text="", words=(), open=False)
            given = tuple(word.text for word in script.arguments)
            inside = replace(around, arguments=given, open=command.open and not depth)
            reached = self._text(text, inner, inside, depth + 1)
            found = [_placed(each, command, file) for each in reached]
        if not found and len(self.problems) == before and script.arguments:
            # an entrypoint of the base image, or one that was not understood, runs its arguments,
            # perhaps behind options of its own
            words = script.arguments
            words = words if locate(words) is not None else (Word("exec"), *words)
            return self._taken(words, command, around, depth + 1)
        if not found and file is None and ("/" in script.name or script.name.endswith(".sh")):
            said = f"{command.where} runs {script.name}, which is not in the project"
            self.problems.append(said)
        return found

    def _program(self, program: Program, command: Command, around: Surroundings) -> list[Reached]:
        name = program.name
        names = (name,) if name.endswith(".py") else (f"{name}.py", f"{name}/__main__.py", name)
        file = next((f for n in names if (f := self.project.find(n, command)) is not None), None)
        text = self.project.text(file) if file is not None else None
        shown = name.rpartition("/")[2]
        if file is None or text is None:
            if name.endswith(".py"):
                self.others.append(f"{command.where} runs {shown}, which is not in the project")
            return []
        module = file.removesuffix(".py").replace("/", ".")
        try:
            calls = python_program.read(text, module, around)
        except ValueError as error:
            self.problems.append(f"{file} is not understood: {error}")
            return []
        if not calls:
            self.others.append(f"{command.where} runs {shown}: no server is seen in it")
        lines = tuple(enumerate(text.splitlines(), 1))
        found = []
        for call in calls:
            what = locate(call.words) if not call.server else Invocation(
                call.server, call.words, {}
            )  # fmt: skip
            if isinstance(what, Invocation):
                inner = replace(command, file=file, lines=lines[call.line - 1 :])
                by = (call.by,) if call.by else ()
                found.append(Reached(what, inner, around.variables, by))
        return found

    def _managed(
        self, manager: Manager, command: Command, around: Surroundings, depth: int
    ) -> list[Reached]:
        """Its processes inherit what the manager has."""
        reading = managed(manager, command, self.project)
        self.problems += reading.problems
        found: list[Reached] = []
        for each in reading.commands:
            own = {name: value for name, (value, _) in each.environ.items()}
            inner = replace(
                each,
                environ={**command.environ, **each.environ},
                directory=each.directory or command.directory,
                facts=command.facts,
                built=command.built,
                unread=(*command.unread, *each.unread),
            )
            here = replace(around, variables={**around.variables, **own}, arguments=None)
            if each.words:
                words = tuple(Word.from_marked(word) for word in each.words)
                found += self._taken(words, inner, here, depth + 1)
            else:
                found += self._text(each.text, inner, here, depth + 1)
        return [replace(each, background=True) for each in found]


def _blocks(words: tuple[Word, ...]) -> bool:
    """Return whether a command stays: a server in front, or what runs one."""
    what = locate(words)
    if not isinstance(what, Invocation):
        return isinstance(what, Manager)
    texts = {word.text for word in what.arguments}
    return not texts & (_NOT_SERVING | _DETACHES)


def _without_condition(found: list[Reached]) -> list[Reached]:
    """Merge equal servers of several ways: they keep the conditions of all of them."""
    kept: list[Reached] = []
    for each in found:
        same = [
            i
            for i, other in enumerate(kept)
            if other.invocation == each.invocation
            and other.variables == each.variables
            and other.command == each.command
        ]
        if same:
            other = kept[same[0]]
            by = tuple(b for b in other.by if b in each.by)
            kept[same[0]] = replace(other, by=by)
        else:
            kept.append(each)
    return kept


def _placed(reached: Reached, outer: Command, file: str) -> Reached:
    """Its lines begin where the server's name stands; what came as ``$@`` stands outside."""
    if reached.command.file != file:
        return reached
    lines = reached.command.lines
    server = reached.invocation.server
    words = [w.text for w in reached.invocation.arguments if len(w.text) > 1]
    names = [name for name, each in PROGRAMS.items() if each == server] + ["fastapi run"]
    stand = [
        i
        for i, (_, line) in enumerate(lines)
        if any(name in line.partition("#")[0] for name in names)
    ]
    if not stand:
        return replace(reached, command=replace(outer, file=outer.file))
    # of several lines the one that holds most of the words
    best = max(stand, key=lambda i: sum(w in " ".join(x for _, x in lines[i : i + 8]) and
                                        w in lines[i][1] for w in words))  # fmt: skip
    return replace(reached, command=replace(reached.command, lines=lines[best:]))
