"""``bootstrap.py inspect TARGET``: import an application, say what it is in one JSON object.

Runs in a child of the tool, in the app's interpreter. What the app prints while it is imported
goes to stderr; the object goes to ``--out-fd`` (default: the stdout this process began with).

    {"ok": true, "interface", "framework", "callable", "file", "python_version", "executable",
     "boot_s", "versions": {}, "routes": [see probes/routes/route.py], "host", "headers": {},
     "settings": {}, "databases": [see probes/configuration.py],
     "left_open": [see probes/left_open.py],
     "boot_memory": {see probes/import_cost.py, "returned_bytes": see below}}
    {"ok": false, "kind", "message", "traceback", "missing"}

``kind`` is module_missing, no_callable, import_error, factory_error or routes_error; ``missing``
names the module a failed import asked for, or is null. Exit status 0 or 1 accordingly.
``returned_bytes`` is what collector and allocator give back after all is imported: garbage of the
import, which a worker carries with it too, and which is no fragmentation by traffic.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import platform
import sys
from typing import Any

from pretune.server.clock import Clock
from pretune.server.probes import configuration, left_open, reclaimable
from pretune.server.probes.import_cost import ImportCost
from pretune.server.probes.routes import readers
from pretune.server.process.importing import (
    DESCRIPTORS_CLOSED,
    Loaded,
    TargetBroken,
    TargetError,
    load,
    user_traceback,
)


def inspect(target: str, chdir: str = ".") -> dict[str, Any]:
    """The object described above. Imports the target into this process."""
    before = left_open.look()
    scales = ImportCost()
    scales.install()
    began = Clock.perf_counter()
    try:
        loaded = load(target, chdir)
    except TargetError as error:
        return _failure(kind_of(error), str(error), error.traceback, error.__cause__)
    boot_s = Clock.perf_counter() - began
    remaining = left_open.find(before, chdir)
    app, framework = readers.unwrap(loaded.app)
    try:
        routes = readers.read(loaded.app)
        scales.remove()
        described = configuration.describe(app, framework)
    except (Exception, SystemExit) as error:
        # A Django URLconf is imported here for the first time: the user's code.
        message = f"reading the routes failed: {type(error).__name__}: {error}"
        return _failure("routes_error", message, user_traceback(error), error)
    reclaimed = reclaimable.reclaim()
    return {
        "ok": True,
        "interface": loaded.interface,
        "framework": framework,
        "callable": f"{loaded.module}:{loaded.name}",
        "file": _file(loaded),
        "python_version": platform.python_version(),
        "executable": sys.executable,
        "boot_s": boot_s,
        "versions": configuration.versions(),
        "routes": routes,
        "left_open": remaining,
        "boot_memory": {
            **scales.describe(),
            "returned_bytes": reclaimed["before"] - reclaimed["trimmed"],
        },
        **described,
    }


def kind_of(error: TargetError) -> str:
    """Which of the four ways a target can fail to be imported."""
    message = str(error)
    if isinstance(error, TargetBroken):
        return "factory_error" if message.startswith("calling ") else "import_error"
    absent = message.startswith("there is no ") or " is neither a module" in message
    return "module_missing" if absent or " is not module, " in message else "no_callable"


def _failure(
    kind: str, message: str, traceback: str, cause: BaseException | None
) -> dict[str, Any]:
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    return {
        "ok": False,
        "kind": kind,
        "message": message,
        "traceback": traceback,
        "missing": missing,
    }


def _file(loaded: Loaded) -> str | None:
    name = getattr(sys.modules.get(loaded.module), "__file__", None)
    return os.path.abspath(name) if name else None


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="inspect", description="Describe an application as JSON.")
    parser.add_argument("target")
    parser.add_argument("--chdir", default=".")
    parser.add_argument("--out-fd", type=int)
    options = parser.parse_args(argv)

    out = os.dup(1) if options.out_fd is None else options.out_fd
    os.set_inheritable(out, False)
    os.dup2(2, 1)
    os.chdir(options.chdir)
    answer = inspect(options.target, os.getcwd())
    try:
        with open(out, "w", encoding="utf-8", closefd=True) as file:
            json.dump(answer, file, default=str)
            file.write("\n")
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        os._exit(DESCRIPTORS_CLOSED)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and exit handlers the app has started must not keep the tool waiting.
    os._exit(0 if answer["ok"] else 1)
