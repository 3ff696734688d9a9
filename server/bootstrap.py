"""Start the server in any interpreter, with nothing installed there.

Run as a script: ``python .../server/bootstrap.py serve TARGET ...``, or one of the others. It
makes ``pretune.server`` importable, and nothing else of pretune: the folder this file lies in must
not stay on ``sys.path``, or a user's ``cli`` or ``events`` module would be ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types

OLDEST = (3, 10)

# subcommand -> the module whose main(argv) runs it
COMMANDS = {
    "serve": "pretune.server.cli",
    "gunicorn": "pretune.server.hosted.under_gunicorn",
    "inspect": "pretune.server.inspection",
    "configured": "pretune.server.config.conffile_report",
}


def make_importable(directory: str) -> None:
    """Give this interpreter a package ``pretune`` that holds ``pretune.server`` only."""
    package = types.ModuleType("pretune")
    package.__path__ = []
    spec = importlib.util.spec_from_file_location(
        "pretune.server",
        os.path.join(directory, "__init__.py"),
        submodule_search_locations=[directory],
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no server in {directory}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretune"] = package
    sys.modules["pretune.server"] = module
    spec.loader.exec_module(module)
    package.server = module  # type: ignore[attr-defined]


def main() -> int:
    if sys.version_info < OLDEST:
        print("pretune needs Python 3.10 or newer to run an application", file=sys.stderr)
        return 2
    directory = os.path.dirname(os.path.abspath(__file__))
    # Python put this script's folder first, unless it was told not to (-P, -I).
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.realpath(directory):
        del sys.path[0]
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: bootstrap.py {'|'.join(COMMANDS)} TARGET ...", file=sys.stderr)
        return 2
    make_importable(directory)
    command = importlib.import_module(COMMANDS[sys.argv[1]])
    code: int = command.main(sys.argv[2:])
    return code


if __name__ == "__main__":
    sys.exit(main())
