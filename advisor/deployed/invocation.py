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
    scout-apm uvx pipx envdir softlimit nix-shell direnv dotenv infisical bws sentry-run
    setarch unbuffer start-stop-daemon with
"""
WRAPPERS = frozenset(_WRAPPERS.split())
# What a wrapper may be told that does not run anything: `uv pip install gunicorn`.
# Options of wrappers that take a value, which may be called like a server: `uvx --from gunicorn`.
_TAKES_WORDS = """
    --from --with --python -p --extra --group --project --directory --env-file --package --only
    --index --with-requirements --with-editable --spec -u -g -e -C --config --chuid
"""
_TAKES = frozenset(_TAKES_WORDS.split())
_NO_RUN = frozenset({"install", "add", "remove", "show", "pip", "sync", "lock", "update", "which"})
# Python's own modules, and tools that serve nothing.
_NO_PROGRAM_WORDS = """
    pip venv http compileall pytest alembic celery flask django build json site rq dramatiq
    ensurepip timeit unittest debugpy
"""
_NO_PROGRAM = frozenset(_NO_PROGRAM_WORDS.split())
_VERSIONED = re.compile(r"([a-z][\w.-]*)@[\w.]+")
_BEFORE_PATHS = frozenset({"--", "exec", "run"})
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "busybox"})
# Names of scripts.
_SCRIPT = re.compile(r".*\.(sh|bash)|.*(entrypoint|entry-point|start|serve)[\w.-]*")
_PATH = re.compile(r"[\w.~${}+-]*/[\w./~${}+-]+")  # what is called by a path may be one, too
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
# words of a command -> what it starts, that nobody should deploy
_DEVELOPMENT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("manage.py", "runserver"), "starts Django's development server"),
    (("flask", "run"), "starts Flask's development server"),
    (("fastapi", "dev"), "starts FastAPI's development server"),
)
# What starts the processes of a file of its own.
_MANAGERS = {
    "supervisord": "supervisord",
    "circusd": "circusd",
    "honcho": "honcho",
    "foreman": "foreman",
    "forego": "foreman",
    "goreman": "foreman",
    "hivemind": "foreman",
    "s6-svscan": "s6-svscan",
    "runsvdir": "runsvdir",
    "runsvdir-start": "runsvdir",
    "runit": "runsvdir",
    "my_init": "runsvdir",
}
_INITS = ("/init", "/sbin/my_init", "/sbin/runit-init")
# What runs a task of a file that is not read here.
_RUNNERS = frozenset({"make", "just", "task", "invoke", "inv", "npm", "yarn", "pnpm", "nox", "poe"})
_WITH_TASKS = frozenset({"poetry", "pipenv", "uv", "pdm", "rye", "hatch", "pixi"})
_SILENT = frozenset({"python", "celery", "alembic", "pytest", "flask", "rq", "dramatiq", "arq",
                     "huey", "manage.py", "env", "sh", "bash"})  # fmt: skip
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
    arguments: tuple[Word, ...] = ()  # $1 and on: the first word behind the text is $0


@dataclass(frozen=True)
class Program:
    """A Python program of the project: its path, or its module's name with slashes."""

    name: str
    arguments: tuple[Word, ...]


@dataclass(frozen=True)
class Manager:
    """A process manager, and what stands behind its name."""

    name: str
    arguments: tuple[Word, ...]


@dataclass(frozen=True)
class Other:
    """A command that serves and is not understood: ``Procfile:1`` and then ``says``."""

    says: str


Found = Invocation | Script | Shell | Program | Manager | Other


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
    if program in _MANAGERS:
        return Manager(_MANAGERS[program], tuple(words[1:]))
    if texts[0] in _INITS:
        if len(words) > 1:
            return locate(words[1:])
        return Manager("init", ())
    if program in _FOREIGN:
        return Other(f"starts {program}, which is no server that is measured here")
    if program in _RUNNERS:
        return Other(f"runs {program}, whose tasks are not read")
    if program in WRAPPERS:
        found = _wrapped(words, environ)
        if found is None and program in _WITH_TASKS and texts[1:2] == ("run",):
            task = next((text for text in texts[2:] if not text.startswith("-")), "")
            if task and task not in _SILENT:
                return Other(f"runs {program} run {_begin(task)}, which is not read")
        return found
    if _SCRIPT.fullmatch(program) or _PATH.fullmatch(texts[0]):
        return Script(texts[0], tuple(words[1:]))
    return None


def _begin(text: str) -> str:
    """A name, without what may be written behind it."""
    found = re.match(r"[\w.-]{1,40}", text)
    return found[0] if found else "..."


def _ends_with(texts: Sequence[str], pattern: Sequence[str]) -> bool:
    return tuple(text.rpartition("/")[2] for text in texts) == tuple(pattern)


def _of_python(words: Sequence[Word], environ: Mapping[str, str]) -> Found | None:
    """``python -m gunicorn``, ``python /venv/bin/gunicorn``, or a program of the user's own."""
    rest = list(words[1:])
    while rest and rest[0].text.startswith("-"):
        option = rest.pop(0).text
        if option == "-m" and rest:
            module = rest[0].text
            if module in MODULES:
                return Invocation(MODULES[module], tuple(rest[1:]), environ)
            if module.partition(".")[0] in _NO_PROGRAM:
                return None
            known = locate([Word(module), *rest[1:]]) if module in _FOREIGN else None
            return known or Program(module.replace(".", "/"), tuple(rest[1:]))
        if option in ("-c", "-"):
            return None
        if option in ("-X", "-W") and rest:
            rest.pop(0)
    name = rest[0].text.rpartition("/")[2] if rest else ""
    if name in PROGRAMS:
        return Invocation(PROGRAMS[name], tuple(rest[1:]), environ)
    if name == "manage.py" and rest[1:] and rest[1].text in ("run_gunicorn", "gunicorn"):
        return Invocation("gunicorn", tuple(rest[2:]), environ)
    if name.endswith(".py") and name != "manage.py":
        return Program(rest[0].text, tuple(rest[1:]))
    return None


def _of_shell(words: Sequence[Word]) -> Found | None:
    for i, word in enumerate(words[1:], 1):
        if word.text.startswith("-") and word.text.endswith("c") and word.text[1:2] != "-":
            return Shell(words[i + 1].text, tuple(words[i + 3 :])) if i + 1 < len(words) else None
        if not word.text.startswith(("-", "+")):
            return Script(word.text, tuple(words[i + 1 :]))
    return None


def _wrapped(words: Sequence[Word], environ: Mapping[str, str]) -> Found | None:
    """The first server, interpreter or shell behind a wrapper and its options."""
    for i, word in enumerate(words[1:], 1):
        if words[i - 1].text in _TAKES:
            continue
        if (versioned := _VERSIONED.fullmatch(word.text)) is not None:  # uvx gunicorn@23.0.0
            word = word.rest(versioned[1])
        name = word.text.rpartition("/")[2]
        if name in _NO_RUN:
            return None
        known = name in PROGRAMS or name in _SHELLS or name in _FOREIGN or name == "fastapi"
        known = known or name.endswith((".sh", ".py")) or name in _MANAGERS
        known = known or bool(_PATH.fullmatch(word.text) and words[i - 1].text in _BEFORE_PATHS)
        if known or _PYTHON.fullmatch(name) or name in WRAPPERS:
            wrapped = locate([word, *words[i + 1 :]])
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
