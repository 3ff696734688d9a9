"""The command of each server of the field, as people type it, with our guest for the app."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pretune.server.adapters import catalogue, hosted
from pretune.server.adapters.hosted import APPLICATION, Command
from pretune.server.adapters.launch import Launch, ServerKind
from pretune.server.adapters.process import ServerProcess, address

APACHE_USER = "www-data"  # of the daemons, when we are root: Apache does not run them as root
# pyuwsgi is uWSGI as a module of the interpreter that imports it.
_UWSGI = "import sys, pyuwsgi; sys.argv[0] = 'uwsgi'; sys.exit(pyuwsgi.run())"


def _module(launch: Launch, name: str) -> list[str]:
    return [str(launch.python), "-m", name]


def _uvicorn(launch: Launch, where: tuple[str, int]) -> list[str]:
    line = [*_module(launch, "uvicorn"), APPLICATION]
    line += ["--host", where[0], "--port", str(where[1]), "--no-access-log"]
    line += ["--forwarded-allow-ips", launch.forwarded_allow_ips]
    return [*line, *catalogue.UVICORN.flags(launch.settings)]


def _hypercorn(launch: Launch, where: tuple[str, int]) -> list[str]:
    line = [*_module(launch, "hypercorn"), "--bind", address(where)]
    return [*line, *catalogue.HYPERCORN.flags(launch.settings), APPLICATION]


def _waitress(launch: Launch, where: tuple[str, int]) -> list[str]:
    line = _module(launch, "waitress")
    # This parser takes a value only with its name.
    line += [
        f"--{option}={value}"
        for option, value in [
            ("listen", address(where)),
            *catalogue.WAITRESS.options(launch.settings),
        ]
    ]
    return [*line, APPLICATION]


def _granian(launch: Launch, where: tuple[str, int]) -> list[str]:
    line = [*_module(launch, "granian"), "--interface", launch.settings.interface]
    line += ["--host", where[0], "--port", str(where[1])]
    return [*line, *catalogue.GRANIAN.flags(launch.settings), APPLICATION]


def _uwsgi(launch: Launch, where: tuple[str, int]) -> list[str]:
    line = [str(launch.python), "-c", _UWSGI, "--http-socket", address(where)]
    # On reload it executes itself again, by default as the interpreter that a venv's is a link to.
    line += ["--binary-path", str(launch.python)]
    return [*line, *catalogue.UWSGI.flags(launch.settings), "--module", APPLICATION]


def _mod_wsgi(launch: Launch, where: tuple[str, int]) -> list[str]:
    """Apache's files lie beside the rings, in the run's own directory; its daemons write there."""
    place = launch.telemetry or launch.log.parent
    root = place / "apache"
    root.mkdir(exist_ok=True)
    line = [str(launch.python.parent / "mod_wsgi-express"), "start-server"]
    line += ["--application-type", "module", "--server-root", str(root), "--log-to-terminal"]
    line += ["--host", where[0], "--port", str(where[1]), "--working-directory", str(launch.chdir)]
    line += ["--python-path", str(hosted.IMPORTABLE)]
    if os.getuid() == 0:
        line += ["--user", APACHE_USER, "--group", APACHE_USER]
        if launch.telemetry is not None:
            shutil.chown(launch.telemetry, APACHE_USER)
    return [*line, *catalogue.MOD_WSGI.flags(launch.settings), APPLICATION.partition(":")[0]]


def hindrance(name: str, python: Path) -> str:
    """Why a server that is installed could not run this interpreter, "" when it can."""
    check = _HINDRANCES.get(name)
    return check(python) if check is not None else ""


def _apache_hindrance(python: Path) -> str:
    return _other_library(python) or _forbidden(python)


def _forbidden(python: Path) -> str:
    """Apache's daemons run as another user, when we are root."""
    if os.getuid() != 0:
        return ""
    try:
        subprocess.run(
            [python, "-c", "import mod_wsgi"], cwd="/", user=APACHE_USER, group=APACHE_USER,
            extra_groups=[], env={}, capture_output=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, LookupError, subprocess.SubprocessError):
        return f"its daemons run as {APACHE_USER}, who cannot run {python}"
    return ""


# Prints the shared library of this interpreter ("" for one that is linked statically) and the
# modules of mod_wsgi that it would give to Apache, a line each.
_LIBRARIES = """
import glob, importlib.util, os, sysconfig
get = sysconfig.get_config_var
shared = os.path.join(get("LIBDIR") or "", get("INSTSONAME") or "")
print(shared if get("Py_ENABLE_SHARED") else "")
for root in importlib.util.find_spec("mod_wsgi").submodule_search_locations:
    print(*glob.glob(glob.escape(root) + "/server/mod_wsgi-py*.so"), sep="\\n")
"""
_LINKED = re.compile(r"(libpython\S+) => (not found|\S+)")


def _other_library(python: Path) -> str:
    """mod_wsgi is linked with the library of one interpreter; pip installs a wheel that it built
    for another of the same version, and the daemons then miss the standard library's modules."""
    library, modules, linked = "", [""], None
    try:
        library, *modules = _output(python, "-c", _LIBRARIES).splitlines()
        linked = _LINKED.search(_output("ldd", *filter(None, modules)))
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""  # nothing is known; the start says what there is
    if linked is None or not library:
        return ""  # either has its Python inside
    if os.path.realpath(linked[2]) == os.path.realpath(library):
        return ""
    linked_with = linked[1] + ", which is not found" if linked[2] == "not found" else linked[2]
    return (
        f"its module is linked with {linked_with}, and {python} runs on {library}; build it again: "
        f"{python} -m pip install --no-cache-dir --force-reinstall mod_wsgi"
    )


def _output(*command: str | Path) -> str:
    return subprocess.run(
        command, cwd="/", env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        capture_output=True, text=True, timeout=20, check=True,
    ).stdout  # fmt: skip


COMMANDS: Mapping[str, Command] = {
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "waitress": _waitress,
    "granian": _granian,
    "uwsgi": _uwsgi,
    "mod_wsgi": _mod_wsgi,
}


def start(name: str, launch: Launch) -> ServerProcess:
    """Start a server of ``catalogue.SERVERS`` and return at once. Raises KeyError for another."""
    server = catalogue.SERVERS[name]
    kind = ServerKind(name, server.signals_of(launch.settings), server.refusals)
    return hosted.start(launch, COMMANDS[name], kind)


_HINDRANCES: Mapping[str, Callable[[Path], str]] = {"mod_wsgi": _apache_hindrance}
STARTS = {name: partial(start, name) for name in catalogue.SERVERS}
