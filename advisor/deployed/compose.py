"""A compose file: the command of each service, its environment, and what bounds it.

Sources: docs.docker.com/reference/compose-file (its "Merge" page for documents after the first and
the tags ``!reset`` and ``!override``). ``${NAME}`` is replaced by compose itself, from ``.env``
beside the file; ``$$`` is a ``$`` that the container's shell sees.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from pretune.advisor.deployed.procfile import SERVING
from pretune.advisor.deployed.shell import Surroundings, Word, expand
from pretune.advisor.deployed.value import AMOUNT, Command, Fact, Reading
from pretune.advisor.deployed.yaml_nodes import Node, NotUnderstood, parse

# where a service says it -> what it is, as information beside the settings
_FACTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("deploy", "replicas"), "replicas"),
    (("scale",), "replicas"),
    (("deploy", "resources", "limits", "memory"), "memory limit"),
    (("mem_limit",), "memory limit"),
    (("deploy", "resources", "limits", "cpus"), "CPU limit"),
    (("cpus",), "CPU limit"),
)
_DEEPEST = 8  # services that extend each other
# variables that say how it serves
_OF_SERVERS = ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "UVICORN_WORKERS")
_NOTHING = Node((), pairs={})
_DOLLAR = "\ue004"
# A plain scalar as compose's YAML decoder (gopkg.in/yaml.v3) takes it: `yes` and `on` are texts
# there, 017 is octal; numbers and booleans go into the environment as Go prints them.
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN = frozenset(("true", "True", "TRUE", "false", "False", "FALSE"))
_INTEGER = re.compile(r"[-+]?(?:0x[\da-fA-F]+|0b[01]+|0o?[0-7]+|[1-9]\d*|0)")
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d{1,3})?")
_LONGEST_NUMBER = 19  # digits of 64 bits


def read(file: str, text: str, dotenv: Mapping[str, str]) -> Reading:
    """``dotenv``: of ``.env``, which fills in ``${NAME}``. A service that is built and has no
    command of its own is told with no words: its Dockerfile's count."""
    try:
        document = reduce(merge, parse(text), _NOTHING)
    except NotUnderstood as error:
        return Reading(problems=(f"{file} is YAML that is not understood here: {error}",))
    services = document.get("services")
    if services is None or not services.pairs:
        return Reading()
    around = Surroundings(dotenv)
    extended = {name: _extended(name, services.pairs, 0) for name in services.pairs}
    # what a profile must be named for comes last, what is called like a server first
    nodes = sorted(
        extended.items(),
        key=lambda each: (each[1].get("profiles") is not None, each[0] not in SERVING),
    )
    commands = [_service(file, name, node, around) for name, node in nodes if node.pairs]
    problems = tuple(
        f"{file}:{node.line}: {name} extends another file's service, which is not followed"
        for name, node in services.pairs.items()
        if node.get("extends", "file") is not None
    )
    return Reading(tuple(commands), problems)


def _extended(name: str, services: Mapping[str, Node], depth: int) -> Node:
    """A service over the one of this file that it extends."""
    node = services[name]
    extends = node.get("extends")
    if extends is None or node.get("extends", "file") is not None or depth > _DEEPEST:
        return node
    base = extends.text if extends.text is not None else _text(extends.get("service"))
    if base not in services or node.pairs is None:
        return node
    return merge(_extended(base, services, depth + 1), node)


def merge(below: Node, above: Node) -> Node:
    """Two documents of a file as compose makes one of them: values of the later one count, maps are
    merged, ``!override`` replaces a map, and ``!reset`` takes a value away."""
    if above.pairs is None:
        return above
    pairs = dict(below.pairs or {}) if above.tag != "!override" else {}
    for name, node in above.pairs.items():
        if node.tag == "!reset":
            pairs.pop(name, None)
        elif name == "environment":
            pairs[name] = merge(_mapped(pairs.get(name, _NOTHING)), _mapped(node))
        else:
            pairs[name] = merge(pairs.get(name, _NOTHING), node)
    return replace(above, pairs=pairs)


def _mapped(node: Node) -> Node:
    """A list of NAME=VALUE as a map of texts; a name alone has none."""
    if node.items is None:
        return node
    pairs = {}
    for each in node.scalars():
        name, equals, value = (each.text or "").partition("=")
        pairs[name] = replace(each, text=value if equals else None, plain=False)
    return replace(node, items=None, pairs=pairs)


def _service(file: str, name: str, node: Node, around: Surroundings) -> Command:
    entrypoint, command = node.get("entrypoint"), node.get("command")
    parts = [part for part in (entrypoint, command) if part is not None and _given(part)]
    lines = tuple(line for part in parts for line in part.lines) or node.lines
    words: tuple[str, ...] = ()
    text = ""
    if entrypoint is not None and _given(entrypoint):
        words = _words(entrypoint, around)
        words += _words(command, around) if command is not None else ()
    elif command is not None and command.text is not None:
        text = _interpolated(command.text, around)
    elif command is not None:
        words = _words(command, around)
    directory = node.get("working_dir")
    return Command(
        file,
        name,
        lines,
        text,
        words,
        _environment(file, node.get("environment"), around),
        directory.text or "" if directory is not None else "",
        _facts(file, node, around),
        built=_dockerfile(node, around),
        target=Word.from_marked(_interpolated(_text(node.get("build", "target")), around)).text,
        env_files=tuple(
            Word.from_marked(_interpolated(name, around)).text
            for name in _env_files(node.get("env_file"))
        ),
        replaces="CMD" if entrypoint is None else "both",
        arguments={
            key: Word.from_marked(_interpolated(_text(each), around)).text
            for key, each in (_mapped(node.get("build", "args") or _NOTHING).pairs or {}).items()
        },
        unread=tuple(
            f"{file}:{each.line}"
            for key, each in (_mapped(node.get("environment") or _NOTHING).pairs or {}).items()
            if key in _OF_SERVERS and _decoded(each) is None  # the host's
        ),
    )


def _env_files(node: Node | None) -> list[str]:
    """A name, or a list of names and of maps with a ``path``; a later one is stronger."""
    if node is None:
        return []
    given = [node] if node.text is not None else list(node.items or ())
    paths = [each.get("path") if each.pairs is not None else each for each in given]
    return [each.text for each in paths if each is not None and each.text]


def _dockerfile(node: Node, around: Surroundings) -> str:
    """Return the Dockerfile of a service that is built, relative to the compose file."""
    build = node.get("build")
    if build is None:
        return ""
    context = build.text if build.text is not None else _text(build.get("context")) or "."
    name = _text(build.get("dockerfile")) or "Dockerfile"
    return Word.from_marked(_interpolated(f"{context}/{name}", around)).text


def _text(node: Node | None) -> str:
    return (node.text or "") if node is not None else ""


def _given(node: Node) -> bool:
    return bool(node.text or node.items)


def _words(node: Node, around: Surroundings) -> tuple[str, ...]:
    if node.text is not None:
        try:
            return tuple(shlex.split(_interpolated(node.text, around)))
        except ValueError:
            return (node.text,)
    return tuple(_interpolated(each.text or "", around) for each in node.scalars())


def _interpolated(text: str, around: Surroundings) -> str:
    """As compose does it; what it does not find stays as it is, for the container's shell."""
    return expand(text.replace("$$", _DOLLAR), around).replace(_DOLLAR, "$")


def _environment(file: str, node: Node | None, around: Surroundings) -> dict[str, tuple[str, str]]:
    """Name -> (value, place); a name alone comes from the host and is not listed."""
    if node is None:
        return {}
    return {
        name: (_interpolated(value, around), f"{file}:{each.line}")
        for name, each in (_mapped(node).pairs or {}).items()
        if (value := _decoded(each)) is not None
    }


def _decoded(node: Node) -> str | None:
    """A value of the environment as compose hands it on; None: the host's, or none."""
    text = node.text
    if text is None or not node.plain:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return text.lower()
    digits = text.replace("_", "")
    if len(digits) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(digits):
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        return str(int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0))
    if _FLOAT.fullmatch(digits):
        return repr(float(digits)).removesuffix(".0")
    return text


def _facts(file: str, node: Node, around: Surroundings) -> tuple[Fact, ...]:
    facts: dict[str, Fact] = {}
    for path, name in _FACTS:
        value = node.get(*path)
        if value is not None and value.text:
            word = Word.from_marked(_interpolated(value.text or "", around))
            usable = word.unknown or AMOUNT.fullmatch(word.text)
            if usable and word.text != "0":  # no limit
                facts.setdefault(name, Fact(name, word.text, f"{file}:{value.line}"))
    return tuple(facts.values())
