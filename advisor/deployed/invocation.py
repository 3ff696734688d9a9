"""Which server a command line starts, through the programs that people put before it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pretune.advisor.deployed.shell import ASSIGNMENT, Word

# program -> the server it is
PROGRAMS: Mapping[str, str] = {
    "gunicorn": "gunicorn",
    "gunicorn3": "gunicorn",
    "uvicorn": "uvicorn",
    "hypercorn": "hypercorn",
    "granian": "granian",
    "waitress-serve": "waitress",
    "uwsgi": "uwsgi",
    "pyuwsgi": "uwsgi",
    "mod_wsgi-express": "mod_wsgi",
}
# python -m MODULE -> the server it is
MODULES: Mapping[str, str] = {
    "gunicorn": "gunicorn",
    "gunicorn.app.wsgiapp": "gunicorn",
    "uvicorn": "uvicorn",
    "hypercorn": "hypercorn",
    "granian": "granian",
    "waitress": "waitress",
}
# Programs that run what stands behind their own options.
_WRAPPERS = """
    exec command nohup time env nice ionice sudo su-exec gosu setpriv chpst setuidgid runuser
    poetry pipenv uv pdm rye hatch conda micromamba mamba pixi dumb-init tini catchsegv timeout
    newrelic-admin ddtrace-run opentelemetry-instrument elastic-apm-run wait-for-it
    wait-for-it.sh wait-for wait-for.sh dockerize xvfb-run doppler chamber op aws-vault stdbuf
    numactl taskset jemalloc.sh tini-static catatonit s6-setuidgid with-contenv splunk-py-trace
    scout-apm
"""
WRAPPERS = frozenset(_WRAPPERS.split())
# What a wrapper may be told that does not run anything: `uv pip install gunicorn`.
_NO_RUN = frozenset({"install", "add", "remove", "show", "pip", "sync", "lock", "update", "which"})
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "busybox"})
# Names of scripts; what is called by a path may be one, too.
_SCRIPT = re.compile(r".*\.(sh|bash)|.*(entrypoint|entry-point|start|serve)[\w.-]*")
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
# words of a command -> what it starts, that nobody should deploy
_DEVELOPMENT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("manage.py", "runserver"), "starts Django's development server"),
    (("flask", "run"), "starts Flask's development server"),
    (("fastapi", "dev"), "starts FastAPI's development server"),
)
# Servers that are not measured here.
_FOREIGN = frozenset({"daphne", "unitd", "pserve", "sanic", "robyn", "twistd", "bjoern", "cherryd"})


@dataclass(frozen=True)
class Invocation:
    """A server and what stands behind its name."""

    server: str
    arguments: tuple[Word, ...]
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Script:
    """A file of the project that is run: the server may stand in it."""

    name: str
    arguments: tuple[Word, ...]


@dataclass(frozen=True)
class Shell:
    """A text for a shell: ``sh -c 'gunicorn ...'``."""

    text: str


@dataclass(frozen=True)
class Other:
    """A command that serves and is not understood: ``Procfile:1`` and then ``says``."""

    says: str


Found = Invocation | Script | Shell | Other


def locate(words: Sequence[Word]) -> Found | None:
    """Find what a simple command runs; None for what is no server and no script."""
    environ: dict[str, str] = {}
    while words and (pair := ASSIGNMENT.fullmatch(words[0].text)):
        environ[pair[1]] = pair[2]
        words = words[1:]
    if not words:
        return None
    texts = tuple(word.text for word in words)
    for pattern, says in _DEVELOPMENT:
        if any(_ends_with(texts[i : i + 2], pattern) for i in range(len(texts) - 1)):
            return Other(says)
    program = texts[0].rpartition("/")[2]
    if program in PROGRAMS:
        return Invocation(PROGRAMS[program], tuple(words[1:]), environ)
    if program == "fastapi" and texts[1:2] == ("run",):
        return Invocation("uvicorn", tuple(words[2:]), environ)
    if _PYTHON.fullmatch(program):
        return _of_python(words, environ)
    if program in _SHELLS:
        return _of_shell(words)
    if program in _FOREIGN:
        return Other(f"starts {program}, which is no server that is measured here")
    if program in WRAPPERS:
        return _wrapped(words, environ)
    if _SCRIPT.fullmatch(program) or texts[0].startswith(("./", "/")):
        return Script(texts[0], tuple(words[1:]))
    return None


def _ends_with(texts: Sequence[str], pattern: Sequence[str]) -> bool:
    return tuple(text.rpartition("/")[2] for text in texts) == tuple(pattern)


def _of_python(words: Sequence[Word], environ: Mapping[str, str]) -> Found | None:
    """``python -m gunicorn``, ``python /venv/bin/gunicorn``, or a program of the user's own."""
    rest = list(words[1:])
    while rest and rest[0].text.startswith("-"):
        option = rest.pop(0).text
        if option == "-m" and rest:
            server = MODULES.get(rest[0].text)
            return Invocation(server, tuple(rest[1:]), environ) if server else None
        if option in ("-c", "-"):
            return None
        if option in ("-X", "-W") and rest:
            rest.pop(0)
    name = rest[0].text.rpartition("/")[2] if rest else ""
    if name in PROGRAMS:
        return Invocation(PROGRAMS[name], tuple(rest[1:]), environ)
    if name.endswith(".py") and name != "manage.py":
        return Other(f"runs {name}: a server that it starts itself is not read")
    return None


def _of_shell(words: Sequence[Word]) -> Found | None:
    for i, word in enumerate(words[1:], 1):
        if word.text.startswith("-") and word.text.endswith("c") and word.text[1:2] != "-":
            return Shell(words[i + 1].text) if i + 1 < len(words) else None
        if not word.text.startswith(("-", "+")):
            return Script(word.text, tuple(words[i + 1 :]))
    return None


def _wrapped(words: Sequence[Word], environ: Mapping[str, str]) -> Found | None:
    """The first server, interpreter or shell behind a wrapper and its options."""
    for i, word in enumerate(words[1:], 1):
        name = word.text.rpartition("/")[2]
        if name in _NO_RUN:
            return None
        is_program = name in PROGRAMS or name in _SHELLS or name in _FOREIGN or name == "fastapi"
        is_program = is_program or name.endswith(".sh")
        if is_program or _PYTHON.fullmatch(name) or name in WRAPPERS:
            wrapped = locate(words[i:])
            if isinstance(wrapped, Invocation):
                before = {
                    pair[1]: pair[2]
                    for each in words[1:i]
                    if (pair := ASSIGNMENT.fullmatch(each.text))
                }
                return Invocation(
                    wrapped.server, wrapped.arguments, {**environ, **before, **wrapped.environ}
                )
            if wrapped is not None:
                return wrapped
    return None
